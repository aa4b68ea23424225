"""The whole of a config file, and what must hold between its parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_lib.settings.base import PathText, Settings, setting
from pipeline_lib.settings.learning import AugmentSettings, BCELoss, TargetSettings, TrainingSettings
from pipeline_lib.settings.networks import NetworkSettings, ResidualSymmetricUNet
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, InferenceSettings, SegmentationSettings
from pipeline_lib.settings.volumes import ArrayVolume, NISBVolume, SyntheticVolume, VolumeSettings

BlockStage = Literal["import", "predict", "label", "segment", "sweep", "evaluate"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Project(Settings):
    """One experiment: volumes, and how they are learned, segmented and scored."""

    project: str = setting(description="Name of the folder under `results`.")
    results: PathText = setting("results", "Folder of all results.", execution=True)
    blocks_per_job: dict[BlockStage, Annotated[int, setting(ge=1)]] = setting(
        {},
        "How many blocks of a volume one job computes, for the stages import, predict, label, segment, sweep and evaluate; "
        "default: all. A volume gets at most 500 jobs, which may then have more blocks.",
        execution=True,
    )
    seed: int = setting(0, "Of weights, sampling and augmentation.", ge=0)
    volumes: dict[str, VolumeSettings] = setting(description="Named volumes.", min_length=1)
    targets: TargetSettings = Field(default_factory=TargetSettings, description="What the network predicts.")
    augment: AugmentSettings = Field(default_factory=AugmentSettings, description="Random changes of training patches.")
    network: NetworkSettings = Field(default_factory=ResidualSymmetricUNet, description="The network.")
    loss: BCELoss = Field(default_factory=BCELoss, description="What training minimises.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="Optimisation.")
    inference: InferenceSettings = Field(default_factory=InferenceSettings, description="Prediction.")
    segmentation: SegmentationSettings = Field(default_factory=SegmentationSettings, description="Agglomeration.")
    choice: ChoiceSettings = Field(default_factory=ChoiceSettings, description="Choice of the threshold on val.")
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings, description="Scores.")

    @field_validator("project")
    @classmethod
    def _usable_as_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected letters, digits, '_', '.' or '-', got {name!r}")
        return name

    @field_validator("volumes")
    @classmethod
    def _usable_names(cls, volumes: dict[str, VolumeSettings]) -> dict[str, VolumeSettings]:
        for name in volumes:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a volume's name may hold letters, digits, '_', '.' and '-', got {name!r}")
        return volumes

    @model_validator(mode="after")
    def _volumes_suffice(self) -> Project:
        train = self.volumes_of("train")
        if not train:
            raise ValueError("volumes: none has split train, so there is nothing to learn from")
        for name in (*train, *self.volumes_of("val")):
            if not has_labels(self.volumes[name]):
                raise ValueError(f"volumes.{name}: split {self.volumes[name].split} needs labels")
        if not self.volumes_of("val", "test"):
            raise ValueError("volumes: none has split val or test, so there is nothing to segment")
        if self.segmentation.threshold is None and not self.volumes_of("val"):
            raise ValueError("no volume has split val, so no threshold can be chosen: add one, or give segmentation.threshold")
        for name, volume in self.volumes.items():
            if volume.split == "test" and not has_labels(volume):
                if self.evaluation.voxel_metrics:
                    raise ValueError(f"evaluation.voxel_metrics: volume {name} has no labels")
                if self.evaluation.skeleton_metrics and not has_skeletons(volume):
                    raise ValueError(
                        f"evaluation.skeleton_metrics: volume {name} has neither skeletons nor labels to make them from"
                    )
        return self

    @model_validator(mode="after")
    def _metric_to_choose_by(self) -> Project:
        by, scores = self.choice.by, self.evaluation
        off = scores.voxel_metrics is False if by == "voi_voxels" else scores.skeleton_metrics is False
        if self.segmentation.threshold is None and off:
            raise ValueError(f"choice.by is {by}, but evaluation switches that metric off")
        if self.choice.thresholds == "all" and not self.segmentation.only_components:
            raise ValueError(
                "choice.thresholds: all is exact for components and a size filter only: give a list, or leave out "
                "segmentation.grow_vox, flood and dust: give"
            )
        return self

    @model_validator(mode="after")
    def _patches_fit_the_network(self) -> Project:
        self.network.check_patch(self.training.patch_vox)
        self.network.check_patch(self.inference_patch_vox)
        return self

    @property
    def inference_patch_vox(self) -> tuple[int, int, int]:
        return self.inference.patch_vox or self.training.patch_vox

    def volumes_of(self, *splits: str) -> list[str]:
        """Names of the volumes of these splits, in the order of the config."""
        return [name for name, volume in self.volumes.items() if volume.split in splits]


class Ensemble(Project):
    """A run that averages the affinities which several others predict, its members. Its volumes are those of split test.

    It learns nothing. Its threshold is chosen on what each member predicts of its own val volumes.
    """

    members: tuple[Project, ...] = Field(exclude=True)

    @model_validator(mode="after")
    def _volumes_suffice(self) -> Ensemble:
        return self

    @classmethod
    def of(cls, members: Sequence[Project]) -> Ensemble:
        """All members must have the same test volumes, and more than these."""
        first = members[0]
        told = {name: getattr(first, name) for name in Project.model_fields}
        tests = {name: first.volumes[name] for name in first.volumes_of("test")}
        return cls(**{**told, "volumes": tests}, members=tuple(members))


def has_labels(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> bool:
    return not isinstance(volume, ArrayVolume) or volume.labels is not None


def has_skeletons(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> bool:
    """Whether skeletons are given; where there are labels, import makes them otherwise."""
    return not isinstance(volume, ArrayVolume) or volume.skeletons is not None
