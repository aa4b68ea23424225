"""Names of results that follow from their content: readable, plus eight hex digits of a digest.

Two runs that agree on everything that decides a result share it; a change gives a new name and leaves the old result alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from pipeline_lib.settings.project import Ensemble, Project
from pipeline_lib.settings.stages import import_stage, predict_stage, science, sweep_stage, train_stage

# Raise a stage's number when it computes other results from the same settings.
ALGORITHM_VERSIONS = {"import": 2, "train": 1, "predict": 1, "average": 1, "sweep": 3, "segment": 2, "evaluate": 3}


def digest(*parts: Any) -> str:
    """Eight hex digits of plain JSON values; equal values give equal digits whatever the order of keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _once_for_each_project(identity: Callable[..., str]) -> Callable[..., str]:
    """Settings do not change, but cannot be hashed either; of a sweep hundreds are asked for the same ids many times."""
    found: dict[tuple[Any, ...], tuple[Project, str]] = {}

    @wraps(identity)
    def remembered(project: Project, *arguments: str) -> str:
        key = (id(project), *arguments)
        if key not in found:
            found[key] = (project, identity(project, *arguments))  # the project, so that none takes its place in memory
        return found[key][1]

    return remembered


@_once_for_each_project
def volume_id(project: Project, name: str) -> str:
    """Covers the source and its reading, not the split."""
    return f"{name}-{digest(ALGORITHM_VERSIONS['import'], science(import_stage(project, name)))}"


@_once_for_each_project
def model_id(project: Project) -> str:
    """Covers all that training reads, val volumes too: their loss chooses the checkpoint."""
    train = [volume_id(project, name) for name in project.volumes_of("train")]
    val = [volume_id(project, name) for name in project.volumes_of("val")]
    return f"{project.network.name}-{digest(ALGORITHM_VERSIONS['train'], train, val, science(train_stage(project)))}"


@_once_for_each_project
def prediction_id(project: Project) -> str:
    if isinstance(project, Ensemble):
        members = [prediction_id(member) for member in project.members]
        return f"mean-{digest(ALGORITHM_VERSIONS['average'], members)}"
    checkpoint = project.inference.checkpoint
    return f"{checkpoint}-{digest(ALGORITHM_VERSIONS['predict'], model_id(project), science(predict_stage(project)))}"


@_once_for_each_project
def sweep_id(project: Project) -> str:
    """Covers what decides the choice of the threshold, the val volumes among it: of an ensemble those of its members."""
    if isinstance(project, Ensemble):
        members = [sweep_id(member) for member in project.members]
        return f"folds-{digest(ALGORITHM_VERSIONS['sweep'], prediction_id(project), members)}"
    val = [volume_id(project, name) for name in project.volumes_of("val")]
    parts = [ALGORITHM_VERSIONS["sweep"], prediction_id(project), val, science(sweep_stage(project))]
    return f"{project.segmentation.method}-{digest(*parts)}"


@_once_for_each_project
def segmentation_id(project: Project) -> str:
    """Covers the sweep that chooses the threshold, or the threshold that is given."""
    given = project.segmentation.threshold
    source = sweep_id(project) if given is None else prediction_id(project)
    name = "chosen" if given is None else f"t{given:g}"
    return f"{name}-{digest(ALGORITHM_VERSIONS['segment'], source, science(project.segmentation))}"


@_once_for_each_project
def evaluation_id(project: Project) -> str:
    parts = [ALGORITHM_VERSIONS["evaluate"], segmentation_id(project), science(project.evaluation)]
    return f"{segmentation_id(project)}-{digest(*parts)}"
