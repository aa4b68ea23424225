from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_prediction import OFFSETS, expected_affinities, make_checkpoint, make_volume, read, settings

from pipeline_lib.artefacts import Budget, Run
from pipeline_lib.inference import predict_volume
from pipeline_lib.inference.checkpoint import load_trained_network
from pipeline_lib.inference.flips import average_flips

RUN = Run(Budget(memory_mb=8000, threads=1))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint.ckpt")


@pytest.mark.parametrize("shape", [(150, 40, 20), (5, 170, 9)])
def test_the_array_holds_whole_volume_blending_of_the_network(
    checkpoint: Path, tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    volume = make_volume(tmp_path / "v", shape)
    predict_volume(settings(logit_scale=0.5), checkpoint, volume, tmp_path / "p", run=RUN)
    expected = expected_affinities(volume, load_trained_network(checkpoint).forward(logit_scale=0.5))
    assert expected.std() > 10
    np.testing.assert_array_equal(read(tmp_path / "p"), expected)


def test_flips_are_averaged_on_demand(checkpoint: Path, tmp_path: Path) -> None:
    volume = make_volume(tmp_path / "v", (30, 40, 20))
    predict_volume(settings(test_time_flips=True), checkpoint, volume, tmp_path / "p", run=RUN)
    forward = load_trained_network(checkpoint).forward(logit_scale=0.2)
    expected = expected_affinities(volume, average_flips(forward, OFFSETS))
    assert (expected != expected_affinities(volume, forward)).mean() > 0.1
    np.testing.assert_array_equal(read(tmp_path / "p"), expected)


def test_the_number_of_threads_is_set(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    volume = make_volume(tmp_path / "v", (30, 30, 10))
    predict_volume(settings(), checkpoint, volume, tmp_path / "p", run=Run(Budget(8000, threads=3)))
    assert seen == [3]
