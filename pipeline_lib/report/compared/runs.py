"""The runs of a sweep, and what the artefacts of each say about its volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import read_json
from pipeline_lib.errors import UserError
from pipeline_lib.metrics import SkeletonTable
from pipeline_lib.report.contents import ReportContents, VolumePart, has_truth, read_choice, read_rows
from pipeline_lib.report.costs import read_costs
from pipeline_lib.volumes import Volume

SPLITS = ("val", "test")


@dataclass(frozen=True)
class ComparedRun:
    """One run of a sweep.

    name: by what varies, such as "learning_rate=0.001 seed=2". changed: what the sweep sets in this run, dotted path -> plain
    JSON value; keys can differ between runs. repeats: runs with the same text repeat one another, that is they differ in the
    seed or the fold only. page: link to the run's own report, relative to the page of the comparison.
    """

    name: str
    changed: dict[str, Any]
    repeats: str
    page: str
    contents: ReportContents


@dataclass(frozen=True)
class ScoredVolume:
    """A segmented volume of one run. metrics: of metrics.json, None without truth. skeletons: None where none are scored."""

    name: str
    split: str
    id: str
    n_segments: int
    metrics: Mapping[str, Any] | None
    skeletons: SkeletonTable | None

    def scores(self, kind: str) -> dict[str, Any]:
        """kind: "skeletons" or "voxels"; empty where the volume has no such scores."""
        found = dict((self.metrics or {}).get(kind) or {})
        if {"voi_split", "voi_merge"} <= found.keys():
            found.setdefault("voi_sum", found["voi_split"] + found["voi_merge"])
        return found


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """stages: of each stage that left a record, its name and the record.

    intervals: by split and key of a measure, of the mean over several volumes.
    """

    run: ComparedRun
    volumes: tuple[ScoredVolume, ...]
    choice: Mapping[str, Any]
    stages: tuple[tuple[str, Mapping[str, Any]], ...]
    intervals: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.name

    def of_split(self, split: str) -> list[ScoredVolume]:
        return [volume for volume in self.volumes if volume.split == split]

    def wall_s(self, *stages: str) -> float | None:
        """Of the stages named, or of all; None where none left a record."""
        found = [record["wall_s"] for stage, record in self.stages if not stages or stage in stages]
        return sum(found) if found else None


def read_run(run: ComparedRun) -> ScoredRun:
    """A file that is missing or cannot be read is a UserError that names it."""
    parts = [part for part in run.contents.volumes if part.split in SPLITS]
    costs = read_costs(run.contents)
    return ScoredRun(
        run,
        tuple(_read_volume(run.contents, part) for part in sorted(parts, key=lambda part: SPLITS.index(part.split))),
        read_choice(run.contents),
        tuple((cost.stage, cost.record) for cost in costs if cost.record),
    )


def _read_volume(contents: ReportContents, part: VolumePart) -> ScoredVolume:
    name = part.folder.name
    n_segments = int(read_json(contents.segmentation / name / "complete.json")["n_segments"])
    if not has_truth(Volume.open(part.folder)):
        return ScoredVolume(part.name, part.split, name, n_segments, None, None)
    metrics = read_json(contents.evaluation / name / "metrics.json")
    table = None
    if metrics["skeletons"]:
        tolerance = float(metrics["skeletons"]["merge_tolerance"])
        table = _read_skeletons(contents.evaluation / name / "skeletons.csv", tolerance)
    return ScoredVolume(part.name, part.split, name, n_segments, metrics, table)


def _read_skeletons(path: Path, merge_tolerance: float) -> SkeletonTable:
    if not path.exists():
        raise UserError(f"cannot read {path}: there is no such file; run that evaluation again")
    try:
        return SkeletonTable.from_rows(read_rows(path), merge_tolerance=merge_tolerance)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no table of scored skeletons ({error}); run that evaluation again") from error
