"""A small volume, a small checkpoint and the affinities that prediction must write for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.inference.blending import Forward, blend_whole
from pipeline_lib.network import build_network
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import ResidualSymmetricUNet
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array
from pipeline_lib.volumes.affinities import open_affinities

PATCH = (32, 32, 16)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (4, 0, -3))
SPEC = ResidualSymmetricUNet(width=(2, 2), input_kernel=(1, 3, 3), output_kernel=(1, 1, 1))


def settings(block: tuple[int, int, int] = (128, 128, 128), **inference: Any) -> PredictStage:
    return PredictStage(inference=InferenceSettings(block_vox=block, **inference), patch_vox=PATCH)


def make_volume(folder: Path, shape: tuple[int, int, int]) -> Volume:
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    volume = Volume(folder, "val", shape, (30.0, 8.0, 8.0))
    create_array(folder / volume.image_path, shape, "uint8", attributes={})[:] = image
    volume.save()
    return volume


def make_checkpoint(path: Path) -> Path:
    torch.manual_seed(0)
    module = build_network("rsunet", in_channels=1, out_channels=4, **SPEC.model_dump(exclude={"name"}))
    targets = TargetSettings(offsets_vox=OFFSETS).model_dump(mode="json")
    content = {"network": SPEC.model_dump(mode="json"), "targets": targets, "state_dict": module.state_dict()}
    torch.save({**content, "in_channels": 1, "precision": "float32", "step": 10}, path)
    return path


def read(folder: Path) -> np.ndarray:
    return open_affinities(folder / "affinities.zarr" / "0").array[:]


def expected_affinities(volume: Volume, forward: Forward) -> np.ndarray:
    """Blending of the whole volume, 0 where an edge leads out of it, rounded to nearest."""
    whole = blend_whole(volume.image()[:], forward, patch_vox=PATCH, n_channels=4)
    for channel, offset in enumerate(OFFSETS):
        for axis, step in enumerate(offset):
            size = volume.shape_vox[axis]
            out = slice(max(0, size - step), size) if step > 0 else slice(0, -step)
            np.moveaxis(whole[channel], axis, 0)[out] = 0
    return np.rint(np.float32(255) * whole).astype(np.uint8)


def quick_forward(patch: Tensor) -> Tensor:
    """In place of a network: four channels that depend on the image and on the place in the patch."""
    place = torch.linspace(0, 1, PATCH[0])[:, None, None] * torch.linspace(0.3, 1, PATCH[1])[:, None]
    return torch.cat([(patch + shift * place).remainder(1) for shift in (0, 0.3, 0.6, 0.9)], dim=1)
