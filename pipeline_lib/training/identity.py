"""What tells one training from another, without torch: the launcher asks on a login node."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.stages import TrainStage, science
from pipeline_lib.volumes import Volume


def settings_digest(settings: TrainStage, train_volumes: Sequence[Volume], val_volumes: Sequence[Volume]) -> str:
    """Stands for all that decides the weights; execution settings have no part in it. Checks that no volume has changed."""
    volumes = [[[v.folder.name, v.name, v.state()] for v in part] for part in (train_volumes, val_volumes)]
    return digest("train", ALGORITHM_VERSIONS["train"], volumes, science(settings))
