"""Small volumes on disk, and a network small enough to train in a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_lib.settings.stages import TrainStage
from pipeline_lib.volumes import Volume, create_array


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_volume(tmp_path) -> Callable[..., Volume]:
    def make(
        name: str,
        image: np.ndarray,
        labels: np.ndarray | None,
        mask: np.ndarray | None = None,
        voxel_size_nm: tuple[float, float, float] = (10.0, 10.0, 10.0),
    ) -> Volume:
        folder = tmp_path / "volumes" / name
        paths: dict[str, str] = {}
        for kind, array in (("image", image), ("labels", labels), ("mask", mask)):
            if array is not None:
                paths[f"{kind}_path"] = f"{kind}.zarr"
                create_array(folder / f"{kind}.zarr", array.shape, str(array.dtype), attributes={})[:] = array
        volume = Volume(folder, name, image.shape, voxel_size_nm, **paths)
        volume.save()
        return volume

    return make


@pytest.fixture
def stripes(make_volume) -> Callable[..., Volume]:
    """Dark membranes between slabs that cross z, a few voxels wide: can be learned in a few steps."""

    def make(name: str, shape: tuple[int, int, int] = (20, 24, 28), period: int = 8, seed: int = 0) -> Volume:
        _, y, x = np.indices(shape)
        position = (y + x // 2) % period
        labels = ((y + x // 2) // period + 1).astype(np.uint32)
        noise = np.random.default_rng(seed).normal(0, 12, shape)
        image = np.clip(np.where(position % (period - 1) == 0, 60, 180) + noise, 0, 255).astype(np.uint8)
        return make_volume(name, image, labels)

    return make


@pytest.fixture
def make_settings() -> Callable[..., TrainStage]:
    def make(
        *, seed: int = 3, network: dict[str, Any] | None = None, targets: Any = None, augment: Any = None, **training: Any
    ):
        defaults = {
            "patch_vox": (8, 8, 8),
            "steps": 12,
            "warmup_steps": 3,
            "precision": "float32",
            "validate_every_steps": 4,
            "validation_patches": 3,
            "log_every_steps": 3,
            "workers": 0,
            "save_every_s": 1000.0,
        }
        return TrainStage(
            seed=seed,
            targets=targets or {"offsets_vox": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 3, 0]]},
            augment=augment or {},
            network=network or {"name": "rsunet", "width": [4, 8], "input_kernel": [1, 3, 3], "output_kernel": [1, 3, 3]},
            loss={},
            training={**defaults, **training},
        )

    return make


@pytest.fixture
def model_folder(tmp_path) -> Path:
    return tmp_path / "model"
