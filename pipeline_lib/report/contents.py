"""What a report is made of: the folders of one run, and what they say about each volume."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import read_json
from pipeline_lib.errors import UserError
from pipeline_lib.volumes import Volume


@dataclass(frozen=True)
class VolumePart:
    """One volume of the run; its folder's name is its id in all other folders."""

    name: str
    split: str
    folder: Path


@dataclass(frozen=True)
class ReportContents:
    """The folders of everything that the report of a run shows.

    segments: last steps of the training segments. sweep: None where the settings give the threshold.
    settings: all science settings, plain JSON values.
    """

    project: str
    volumes: tuple[VolumePart, ...]
    model: Path
    segments: tuple[str, ...]
    prediction: Path
    sweep: Path | None
    segmentation: Path
    evaluation: Path
    settings: dict[str, Any]

    @classmethod
    def from_json(cls, text: str) -> ReportContents:
        """From the JSON that the workflow passes; a key that is missing or of another type is a UserError."""
        try:
            told = json.loads(text)
            volumes = [VolumePart(name, part["split"], Path(part["folder"])) for name, part in told["volumes"].items()]
            return cls(
                project=told["project"],
                volumes=tuple(volumes),
                model=Path(told["model"]),
                segments=tuple(str(step) for step in told["segments"]),
                prediction=Path(told["prediction"]),
                sweep=Path(told["sweep"]) if told["sweep"] is not None else None,
                segmentation=Path(told["segmentation"]),
                evaluation=Path(told["evaluation"]),
                settings=dict(told["settings"]),
            )
        except KeyError as error:
            raise UserError(f"the contents of a report lack the key {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"the contents of a report are one JSON object of names and folders; {error}") from error


@dataclass(frozen=True)
class VolumeResult:
    """A segmented volume. metrics: the content of metrics.json, None where the volume has no truth.

    errors, skeletons, objects: the rows of errors.csv, skeletons.csv and objects.csv, empty where there are none.
    """

    name: str
    split: str
    volume: Volume
    affinities: Path
    segmentation: Path
    n_segments: int
    metrics: dict[str, Any] | None
    errors: tuple[dict[str, str], ...]
    skeletons: tuple[dict[str, str], ...]
    objects: tuple[dict[str, str], ...]

    @property
    def skeleton_scores(self) -> dict[str, Any] | None:
        return self.metrics["skeletons"] if self.metrics else None

    @property
    def voxel_scores(self) -> dict[str, Any] | None:
        return self.metrics["voxels"] if self.metrics else None


def read_results(contents: ReportContents) -> list[VolumeResult]:
    """All segmented volumes, test before val, and in each group scored ones before those without truth.

    A volume without labels and skeletons has no scores; of any other a missing metrics.json is a UserError.
    """
    results = [_read_result(contents, part) for part in contents.volumes if part.split in ("test", "val")]
    return sorted(results, key=lambda result: (result.split != "test", result.metrics is None))


def read_choice(contents: ReportContents) -> dict[str, Any]:
    """The content of choice.json; of a threshold that the settings give, its value alone."""
    if contents.sweep is not None:
        return dict(read_json(contents.sweep / "choice.json"))
    return {"threshold": contents.settings["segmentation"]["threshold"], "by": "settings", "warning": None}


def read_if_present(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file; a file that cannot be read is a UserError."""
    return dict(read_json(path)) if path.exists() else None


def read_rows(path: Path) -> tuple[dict[str, str], ...]:
    """The rows of a CSV file by the names of its header; none where there is no such file."""
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def has_truth(volume: Volume) -> bool:
    """Whether the volume is scored."""
    return volume.labels_path is not None or volume.skeletons_path is not None


def _read_result(contents: ReportContents, part: VolumePart) -> VolumeResult:
    volume, name = Volume.open(part.folder), part.folder.name
    complete = read_json(contents.segmentation / name / "complete.json")
    evaluation = contents.evaluation / name
    scored = has_truth(volume)
    return VolumeResult(
        name=part.name,
        split=part.split,
        volume=volume,
        affinities=contents.prediction / name / "affinities.zarr" / "0",
        segmentation=contents.segmentation / name / "segmentation.zarr" / "0",
        n_segments=int(complete["n_segments"]),
        metrics=dict(read_json(evaluation / "metrics.json")) if scored else None,
        errors=read_rows(evaluation / "errors.csv") if scored else (),
        skeletons=read_rows(evaluation / "skeletons.csv") if scored else (),
        objects=read_rows(evaluation / "objects.csv") if scored else (),
    )
