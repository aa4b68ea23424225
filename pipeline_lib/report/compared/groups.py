"""Repeated runs as one, and which setting is the best: decided on val, never on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipeline_lib.report.compared.measures import (
    NERL,
    VOI_NODES,
    VOI_VOXELS,
    Estimate,
    Measure,
    estimate_of_run,
    over_repetitions,
)
from pipeline_lib.report.compared.runs import ScoredRun
from pipeline_lib.report.compared.swept import swept_paths, told, value_of

_BY = {"nerl": NERL, "voi_skeletons": VOI_NODES, "voi_voxels": VOI_VOXELS}


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that repeat one another. settings: swept path -> value, without the seed or fold that the repetitions differ in."""

    name: str
    runs: tuple[ScoredRun, ...]
    settings: Mapping[str, Any]

    def estimate(self, split: str, measure: Measure) -> Estimate | None:
        """Over the repetitions; None where one of them has no such score."""
        found = [estimate_of_run(run, split, measure) for run in self.runs]
        told = [estimate for estimate in found if estimate is not None]
        return over_repetitions(told) if told and len(told) == len(found) else None

    def values(self, split: str, measure: Measure) -> list[float]:
        """Of the single runs that have the score."""
        found = (estimate_of_run(run, split, measure) for run in self.runs)
        return [estimate.value for estimate in found if estimate is not None]

    def wall_s(self, *stages: str) -> float | None:
        """Mean over the runs."""
        found = [seconds for run in self.runs if (seconds := run.wall_s(*stages)) is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Sweep:
    """All groups of a sweep, best first.

    decided_by: the score on val that orders them, None where no val volume is scored; those without it stand last.
    swept: the settings that vary between groups. repeated: those that vary within them, a seed or a fold.
    """

    project: str
    base: Mapping[str, Any]
    groups: tuple[Group, ...]
    decided_by: Measure | None
    swept: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def runs(self) -> list[ScoredRun]:
        return [run for group in self.groups for run in group.runs]

    @property
    def best(self) -> Group | None:
        """None where nothing decides."""
        if self.decided_by is None or not self.groups:
            return None
        return self.groups[0] if self.groups[0].estimate("val", self.decided_by) is not None else None

    @property
    def has_repetitions(self) -> bool:
        return any(len(group.runs) > 1 for group in self.groups)


def grouped(project: str, base: Mapping[str, Any], runs: Sequence[ScoredRun]) -> Sweep:
    by_text: dict[str, list[ScoredRun]] = {}
    for run in runs:
        by_text.setdefault(run.run.repeats, []).append(run)
    members = [[one.run for one in group] for group in by_text.values()]
    repeated = tuple(dict.fromkeys(path for group in members for path in swept_paths(group, base)))
    swept = tuple(path for path in swept_paths([run.run for run in runs], base) if path not in repeated)
    groups = [
        Group(
            name=(text or "all runs") if len(group) > 1 else group[0].name,
            runs=tuple(group),
            settings={path: value_of(group[0].run, path, base) for path in swept},
        )
        for text, group in by_text.items()
    ]
    measure = deciding_measure(groups)
    return Sweep(project, base, tuple(ordered(groups, measure)), measure, swept, repeated)


def deciding_measure(groups: Sequence[Group]) -> Measure | None:
    """What the thresholds were chosen by, if all agree, or else NERL, VOI at nodes, VOI in voxels: the first that most have.

    NERL decides only where all runs are scored at one merge tolerance.
    """
    runs = [run for group in groups for run in group.runs]
    chosen_by = {str(run.choice["by"]) for run in runs}
    first = [_BY[by] for by in chosen_by if by in _BY] if len(chosen_by) == 1 else []
    candidates = list(dict.fromkeys([*first, *_BY.values()]))
    if len(tolerances(runs)) > 1:
        candidates.remove(NERL)
    n_scored = [sum(group.estimate("val", measure) is not None for group in groups) for measure in candidates]
    most = max(n_scored, default=0)
    return candidates[n_scored.index(most)] if most else None


def tolerances(runs: Sequence[ScoredRun]) -> set[str]:
    """The merge tolerances of all scores on skeletons."""
    found = (volume.scores("skeletons").get("merge_tolerance") for run in runs for volume in run.volumes)
    return {told(tolerance) for tolerance in found if tolerance is not None}


def ordered(groups: Sequence[Group], measure: Measure | None) -> list[Group]:
    """Best first; equal ones, and those without the score, as they came."""

    def rank(group: Group) -> tuple[bool, float]:
        found = group.estimate("val", measure) if measure else None
        if found is None or measure is None:
            return (True, 0.0)
        return (False, -found.value if measure.more_is_better else found.value)

    return sorted(groups, key=rank)
