"""Blockwise inference against its own forward passes and against whole-volume inference, on random voxels; prints JSON.

forward_calls_ratio: passes of blockwise over those of whole-volume inference, for the given shape and block.
wall_ratio: wall time of prediction to disk over the sum of its forward passes. They are timed in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.geometry import BlockGrid
from pipeline_lib.inference.columns import columns_of, count_calls
from pipeline_lib.inference.patches import count_patches
from pipeline_lib.inference.predict import predict_volume
from pipeline_lib.network import network_from_settings
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import ResidualSymmetricUNet
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array

COMMON_SHAPE = (512, 1024, 1024)  # its passes are counted, not run
Triple = tuple[int, int, int]


def calls_ratio(shape: Triple, block: Triple, patch: Triple) -> float:
    columns = columns_of(BlockGrid(shape, block), patch)
    return sum(count_calls(column.box, shape, patch) for column in columns) / count_patches(shape, patch)


def untrained_checkpoint(path: Path, precision: str) -> Path:
    settings, targets = ResidualSymmetricUNet(), TargetSettings()
    module = network_from_settings(settings, out_channels=len(targets.offsets_vox))
    content = {"network": settings.model_dump(mode="json"), "targets": targets.model_dump(mode="json"), "in_channels": 1}
    torch.save({**content, "state_dict": module.state_dict(), "precision": precision, "step": 0}, path)
    return path


def random_volume(folder: Path, shape: Triple) -> Volume:
    volume = Volume(folder, "random", shape, (20.0, 20.0, 20.0))
    image = create_array(folder / volume.image_path, shape, "uint8", attributes={})
    image[:] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    volume.save()
    return volume


class Timed(torch.nn.Module):
    """Replaces every forward pass of a network by a timed one."""

    seconds = 0.0
    calls = 0

    def install(self) -> None:
        from pipeline_lib.inference import checkpoint

        original = checkpoint.TrainedNetwork.forward
        timer = self

        def forward(self: checkpoint.TrainedNetwork, **options: object) -> object:
            run = original(self, **options)

            def timed(patch: Tensor) -> Tensor:
                start = time.perf_counter()
                values = run(patch)
                timer.seconds += time.perf_counter() - start
                timer.calls += 1
                return values

            return timed
