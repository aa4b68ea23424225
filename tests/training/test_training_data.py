"""Batches come in their order whoever draws them, and errors of workers read like errors of ours."""

import contextlib
import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.settings.learning import AugmentSettings, TargetSettings
from pipeline_lib.training.data import BatchStream, collate
from pipeline_lib.training.sampling import PatchSampler


@pytest.fixture
def sampler(stripes):
    return PatchSampler([stripes("a")], patch_vox=(6, 8, 10), targets=TargetSettings(), augmentation=AugmentSettings(), seed=1)


def test_step_s_has_the_samples_from_s_times_the_batch_size(sampler):
    stream = BatchStream(sampler, batch_size=3, start_step=2, end_step=5, workers=0)
    batches = list(stream)
    assert len(stream) == len(batches) == 3
    for step, batch in zip((2, 3, 4), batches, strict=True):
        expected = collate([sampler[i] for i in range(3 * step, 3 * step + 3)])
        for tensor, other in zip(batch, expected, strict=True):
            assert torch.equal(tensor, other)
    assert batches[0].image.shape == (3, 1, 6, 8, 10)
    assert batches[0].image.dtype == torch.float32
    assert batches[0].target.shape == batches[0].valid.shape == (3, 6, 6, 8, 10)
    assert batches[0].target.dtype == batches[0].valid.dtype == torch.bool


def test_torchs_random_state_is_left_alone(sampler):
    before = torch.get_rng_state()
    list(BatchStream(sampler, batch_size=1, start_step=0, end_step=2, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_obey_the_trainer_alone(sampler):
    """Others send signals to whole groups of processes; a worker that ends by itself would take the trainer with it."""
    stream = BatchStream(sampler, batch_size=1, start_step=0, end_step=1000, workers=1)
    batches = iter(stream)
    next(batches)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        subprocess.run([sys.executable, "-c", f"import os; os.kill({worker.pid}, {int(number)})"], check=True)
    for _ in range(20):
        next(batches)
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=20)
    assert not worker.is_alive()
    with contextlib.suppress(RuntimeError):  # torch noticed
        stream.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_is_one_line_wherever_it_is_raised(make_volume, workers):
    shape = (12, 12, 12)
    volume = make_volume("torn", np.zeros(shape, np.uint8), np.ones(shape, np.uint32))
    (chunk,) = [p for p in (volume.folder / "labels.zarr").rglob("*") if p.is_file() and p.name != "zarr.json"]
    chunk.write_bytes(chunk.read_bytes()[:-20])
    sampler = PatchSampler([volume], patch_vox=(4, 4, 4), targets=TargetSettings(), augmentation=None, seed=1)
    with pytest.raises(UserError) as caught:
        list(BatchStream(sampler, batch_size=1, start_step=0, end_step=2, workers=workers))
    assert str(caught.value).startswith("cannot read the labels of volume torn")
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()
