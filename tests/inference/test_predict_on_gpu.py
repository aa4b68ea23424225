"""Prediction on a GPU: that of a processor but for rounding, and the same to the bit however it is cut into blocks and jobs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_prediction import make_checkpoint, make_volume, read, settings

from pipeline_lib.artefacts import Budget, Run, Step
from pipeline_lib.errors import UserError
from pipeline_lib.inference import predict_volume

pytestmark = pytest.mark.gpu
RUN = Run(Budget(memory_mb=8000, threads=2))
SHAPE = (150, 140, 40)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint.ckpt")


@pytest.mark.parametrize("flips", [False, True])
def test_the_affinities_are_those_of_a_processor(checkpoint: Path, tmp_path: Path, flips: bool) -> None:
    volume = make_volume(tmp_path / "v", SHAPE)
    for device in ("cuda", "cpu"):
        predict_volume(settings(test_time_flips=flips), checkpoint, volume, tmp_path / device, run=RUN, device=device)
    on_gpu, on_cpu = read(tmp_path / "cuda").astype(int), read(tmp_path / "cpu").astype(int)
    assert on_cpu.std() > 10
    assert np.abs(on_gpu - on_cpu).max() <= 2
    assert (on_gpu != on_cpu).mean() < 0.1


def test_blocks_and_jobs_change_nothing(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", SHAPE)
    predict_volume(settings((256, 256, 256)), checkpoint, volume, tmp_path / "one", run=RUN, device="cuda")
    for step in ("plan", "0/2", "1/2", "finish/2"):
        run = Run(RUN.budget, Step.parse(step))
        predict_volume(settings((128, 128, 128)), checkpoint, volume, tmp_path / "jobs", run=run, device="cuda")
    assert (tmp_path / "jobs" / "complete.json").exists()
    np.testing.assert_array_equal(read(tmp_path / "jobs"), read(tmp_path / "one"))


def test_a_patch_larger_than_the_gpu_is_told(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", SHAPE)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e6 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(UserError, match=r"^predicting with inference.patch_vox \[32, 32, 16\] takes more than the"):
            predict_volume(settings(), checkpoint, volume, tmp_path / "p", run=RUN, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", run=RUN, device="cuda")
