"""The scores by which runs are compared, and what each run and each group of repeated runs has of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

from pipeline_lib.report.compared.runs import ScoredRun, ScoredVolume
from pipeline_lib.report.units import decimal, interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Measure:
    """kind, name: where it stands in metrics.json. counted: volumes are added up instead of averaged."""

    kind: str
    name: str
    title: str
    more_is_better: bool = False
    counted: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}.{self.name}"

    @property
    def direction(self) -> str:
        return "more is better" if self.more_is_better else "less is better"

    @property
    def digits(self) -> int:
        """After the point, of a mean."""
        return 1 if self.counted else 3

    def interval(self, ends: Interval) -> str:
        """As it is read, without what no score can be."""
        most = 1.0 if self in (NERL, RAND_ERROR) else math.inf
        kept = [min(max(end, 0.0), most) for end in ends]
        return interval(kept, lambda end: decimal(end, self.digits))

    def of(self, volume: ScoredVolume) -> float | None:
        value = volume.scores(self.kind).get(self.name)
        return None if value is None else float(value)


NERL = Measure("skeletons", "nerl", "NERL", more_is_better=True)
VOI_NODES = Measure("skeletons", "voi_sum", "VOI at nodes")
SPLIT_ERRORS = Measure("skeletons", "n_splits", "splits", counted=True)
MERGE_ERRORS = Measure("skeletons", "n_non0_mergers", "mergers", counted=True)
VOI_VOXELS = Measure("voxels", "voi_sum", "VOI in voxels")
RAND_ERROR = Measure("voxels", "adapted_rand_error", "adapted Rand error")
MAIN = (NERL, VOI_NODES, SPLIT_ERRORS, MERGE_ERRORS, VOI_VOXELS, RAND_ERROR)
ALL = (
    NERL,
    Measure("skeletons", "voi_split", "VOI split at nodes"),
    Measure("skeletons", "voi_merge", "VOI merge at nodes"),
    VOI_NODES,
    SPLIT_ERRORS,
    MERGE_ERRORS,
    Measure("voxels", "voi_split", "VOI split in voxels"),
    Measure("voxels", "voi_merge", "VOI merge in voxels"),
    VOI_VOXELS,
    RAND_ERROR,
)


@dataclass(frozen=True)
class Estimate:
    """A score. ci95: of a run, over skeletons drawn anew; of n > 1 repeated runs, the t-interval of their mean. sd: theirs."""

    value: float
    ci95: Interval | None = None
    sd: float | None = None
    n: int = 1


def estimate_of_run(run: ScoredRun, split: str, measure: Measure) -> Estimate | None:
    """Over the volumes of a split that have the score; None where none has."""
    volumes = [volume for volume in run.of_split(split) if measure.of(volume) is not None]
    values = [value for volume in volumes if (value := measure.of(volume)) is not None]
    if not values:
        return None
    value = sum(values) if measure.counted else fmean(values)
    ends = run.intervals.get((split, measure.key))
    if len(volumes) == 1:
        ends = volumes[0].scores(measure.kind).get(f"{measure.name}_ci95")
    return Estimate(value, (float(ends[0]), float(ends[1])) if ends else None)


def over_repetitions(estimates: Sequence[Estimate]) -> Estimate:
    """Mean, standard deviation and t-interval of the mean of repeated runs; a single run is left as it is."""
    if len(estimates) == 1:
        return estimates[0]
    values, n = [estimate.value for estimate in estimates], len(estimates)
    mean, sd = fmean(values), stdev(values)
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    return Estimate(mean, (mean - half, mean + half), sd, n)
