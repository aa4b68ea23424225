"""What each stage is told: its part of the science settings, and beside it how to run.

Science settings are a rule's parameter, so that a change re-runs the stage. Execution settings travel apart and never do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from pipeline_lib.errors import UserError
from pipeline_lib.settings.base import Settings, is_execution
from pipeline_lib.settings.learning import AugmentSettings, BCELoss, TargetSettings, TrainingSettings
from pipeline_lib.settings.load import parse
from pipeline_lib.settings.networks import NetworkSettings
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, InferenceSettings, SegmentationSettings
from pipeline_lib.settings.volumes import PositiveTriple, VolumeSettings


class ImportStage(Settings):
    name: str
    volume: VolumeSettings


class TrainStage(Settings):
    seed: int
    targets: TargetSettings
    augment: AugmentSettings
    network: NetworkSettings
    loss: BCELoss
    training: TrainingSettings


class PredictStage(Settings):
    inference: InferenceSettings
    patch_vox: PositiveTriple


class SweepStage(Settings):
    segmentation: SegmentationSettings
    choice: ChoiceSettings
    evaluation: EvaluationSettings


class SegmentStage(Settings):
    segmentation: SegmentationSettings


class EvaluateStage(Settings):
    name: str
    split: str
    evaluation: EvaluationSettings


Stage = TypeVar("Stage", bound=Settings)


def import_stage(project: Project, volume: str) -> ImportStage:
    """The same for every split: what was imported as val today serves as test tomorrow."""
    return ImportStage(name=volume, volume=project.volumes[volume].model_copy(update={"split": "train"}))


def train_stage(project: Project) -> TrainStage:
    return TrainStage(**{name: getattr(project, name) for name in TrainStage.model_fields})


def predict_stage(project: Project) -> PredictStage:
    inference = project.inference.model_copy(update={"patch_vox": None})  # resolved beside it
    return PredictStage(inference=inference, patch_vox=project.inference_patch_vox)


def sweep_stage(project: Project) -> SweepStage:
    """Without what a sweep does not use: a given threshold, and what is told of a scored segmentation beside its scores."""
    scores = project.evaluation.model_copy(update={"worst_errors": EvaluationSettings().worst_errors, "against": None})
    method = project.segmentation.model_copy(update={"threshold": None})
    return SweepStage(segmentation=method, choice=project.choice, evaluation=scores)


def segment_stage(project: Project) -> SegmentStage:
    return SegmentStage(segmentation=project.segmentation)


def evaluate_stage(project: Project, volume: str) -> EvaluateStage:
    return EvaluateStage(name=volume, split=project.volumes[volume].split, evaluation=project.evaluation)


def science(settings: BaseModel) -> dict[str, Any]:
    """Everything that decides results, as plain JSON values."""
    return _part(settings, execution=False)


def execution(settings: BaseModel) -> dict[str, Any]:
    """Everything that decides only how results are computed."""
    return _part(settings, execution=True)


def flattened(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values of nested settings by their dotted paths; a list is one value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flattened(value, f"{above}{key}.") if isinstance(value, Mapping) and value else {f"{above}{key}": value}
    return flat


def science_json(settings: BaseModel) -> str:
    return json.dumps(science(settings), sort_keys=True)


def execution_json(settings: BaseModel) -> str:
    return json.dumps(execution(settings), sort_keys=True)


def load_stage(stage: type[Stage], science_text: str, execution_text: str = "{}") -> Stage:
    """The settings of a stage from its two JSON texts; execution settings of other stages are left aside."""
    try:
        content, how = json.loads(science_text), json.loads(execution_text)
    except ValueError as error:
        raise UserError(f"the settings of a stage are JSON; {error}") from error
    for name in stage.model_fields:
        if isinstance(how.get(name), dict) and isinstance(content.get(name), dict):
            content[name] = {**content[name], **how[name]}
    return parse(stage, content, where=f"settings of {stage.__name__}")


def _part(settings: BaseModel, *, execution: bool) -> dict[str, Any]:
    values = settings.model_dump(mode="json")
    part: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        if field.exclude:
            continue
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            below = _part(value, execution=execution)
            if below:
                part[name] = below
        elif is_execution(field) or execution:
            if is_execution(field) and execution:
                part[name] = values[name]
        elif isinstance(value, dict) and all(isinstance(v, BaseModel) for v in value.values()):
            part[name] = {key: _part(v, execution=False) for key, v in value.items()}
        else:
            part[name] = values[name]
    return part
