"""Where each result of a project lies: the last file of each, whose presence says that the result is complete."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline_lib.settings import identity
from pipeline_lib.settings.project import Ensemble, Project, has_labels, has_skeletons
from pipeline_lib.settings.stages import science


@dataclass(frozen=True)
class Paths:
    """The results of one project; a volume is named as in its config."""

    project: Project

    @property
    def folder(self) -> str:
        return f"{self.project.results}/{self.project.project}"

    @property
    def report(self) -> str:
        return f"{self.folder}/report/index.html"

    @property
    def model_folder(self) -> str:
        return f"{self.folder}/models/{identity.model_id(self.project)}"

    @property
    def prediction_folder(self) -> str:
        return f"{self.folder}/predictions/{identity.prediction_id(self.project)}"

    @property
    def sweep_folder(self) -> str:
        return f"{self.folder}/sweeps/{identity.sweep_id(self.project)}"

    @property
    def segmentation_folder(self) -> str:
        return f"{self.folder}/segmentations/{identity.segmentation_id(self.project)}"

    @property
    def evaluation_folder(self) -> str:
        return f"{self.folder}/evaluations/{identity.evaluation_id(self.project)}"

    def volume(self, name: str) -> str:
        return f"{self.folder}/volumes/{identity.volume_id(self.project, name)}/volume.json"

    def volumes(self, split: str) -> list[str]:
        return [self.volume(name) for name in self.project.volumes_of(split)]

    def checkpoint(self, step: int) -> str:
        return f"{self.model_folder}/segments/{step}/checkpoint.ckpt"

    @property
    def members(self) -> list[Paths]:
        """Those of the runs that an ensemble averages; none for any other run."""
        return [Paths(member) for member in self.project.members] if isinstance(self.project, Ensemble) else []

    def checkpoints(self) -> list[str]:
        if self.members:
            return []
        return [self.checkpoint(step) for step in self.project.training.segment_ends]

    def checkpoint_before(self, step: int) -> list[str]:
        """What a segment of training continues: nothing for the first."""
        ends = self.project.training.segment_ends
        return [self.checkpoint(before) for before, end in pairwise(ends) if end == step]

    def network(self) -> str:
        """The choice of the best checkpoint, or the last checkpoint itself."""
        if self.project.inference.checkpoint == "best" and self.project.volumes_of("val"):
            return f"{self.model_folder}/best.json"
        return self.checkpoint(self.project.training.steps)

    def prediction(self, name: str) -> str:
        return f"{self.prediction_folder}/{identity.volume_id(self.project, name)}/complete.json"

    def curves(self) -> list[str]:
        """What the threshold is chosen from."""
        if self.members:
            return list(dict.fromkeys(curve for member in self.members for curve in member.curves()))
        val = self.project.volumes_of("val")
        return [f"{self.sweep_folder}/{identity.volume_id(self.project, name)}/curve.json" for name in val]

    def choice(self) -> list[str]:
        """The choice of the threshold, unless the settings give one."""
        return [f"{self.sweep_folder}/choice.json"] if self.project.segmentation.threshold is None else []

    def components(self, name: str) -> list[str]:
        """How the components of blocks join, where a volume is segmented in blocks."""
        folder = f"{self.segmentation_folder}/{identity.volume_id(self.project, name)}"
        return [f"{folder}/components/complete.json"] if self.project.segmentation.by_blocks else []

    def segmentation(self, name: str) -> str:
        return f"{self.segmentation_folder}/{identity.volume_id(self.project, name)}/complete.json"

    def segmentations(self) -> list[str]:
        return [self.segmentation(name) for name in self.project.volumes_of("val", "test")]

    def scored(self) -> list[str]:
        """Names of the val and test volumes that have a truth to be scored against."""
        volumes = self.project.volumes
        return [n for n in self.project.volumes_of("val", "test") if has_labels(volumes[n]) or has_skeletons(volumes[n])]

    def metrics(self) -> list[str]:
        return [f"{self.evaluation_folder}/{identity.volume_id(self.project, name)}/metrics.json" for name in self.scored()]

    def by_stage(self) -> dict[str, list[str]]:
        """The last file of everything that a run makes, but for the report, by the stage that makes it."""
        return {
            "import": [self.volume(name) for name in self.project.volumes],
            "train": self.checkpoints(),
            "choose checkpoint": [] if self.members or self.network() in self.checkpoints() else [self.network()],
            "average" if self.members else "predict": [self.prediction(n) for n in self.project.volumes_of("val", "test")],
            "sweep": self.curves() if self.choice() else [],
            "choose threshold": self.choice(),
            "label": [file for name in self.project.volumes_of("val", "test") for file in self.components(name)],
            "segment": self.segmentations(),
            "evaluate": self.metrics(),
        }

    def last_files(self) -> list[str]:
        return [file for files in self.by_stage().values() for file in files]

    def against(self, volume_id: str) -> list[str]:
        """What the evaluation of a volume is compared with, as far as the settings name another run."""
        folder = self.project.evaluation.against
        return [f"{folder}/{volume_id}/metrics.json"] if folder else []

    def report_contents(self) -> dict[str, Any]:
        """What the report of a run shows, as plain JSON values."""
        project = self.project
        return {
            "project": project.project,
            "volumes": {
                name: {"split": volume.split, "folder": self.volume(name).rpartition("/")[0]}
                for name, volume in project.volumes.items()
            },
            "model": self.prediction_folder if self.members else self.model_folder,
            "segments": [] if self.members else [str(step) for step in project.training.segment_ends],
            "prediction": self.prediction_folder,
            "sweep": self.sweep_folder if self.choice() else None,
            "segmentation": self.segmentation_folder,
            "evaluation": self.evaluation_folder,
            "settings": science(project),
        }
