"""What tells that a source was edited."""

import os

import numpy as np
import pytest

from pipeline_lib.settings.sources import source_state
from pipeline_lib.settings.volumes import ArrayVolume
from pipeline_lib.volumes import create_array, open_array


@pytest.fixture
def volume(tmp_path):
    create_array(tmp_path / "image.zarr", (20, 130, 130), "uint8", attributes={})[:] = 3
    (tmp_path / "labels.h5").write_bytes(b"labels")
    return ArrayVolume(
        split="val", image={"path": str(tmp_path / "image.zarr")}, labels={"path": str(tmp_path / "labels.h5"), "array": "l"}
    )


def test_it_stays_as_long_as_nothing_is_written(volume, tmp_path):
    before = source_state(volume)
    assert np.all(open_array(tmp_path / "image.zarr")[:] == 3)
    assert source_state(volume) == before


def test_a_file_that_is_replaced_by_an_older_one_shows(volume, tmp_path):
    before = source_state(volume)
    (tmp_path / "labels.h5").write_bytes(b"LABELS")
    os.utime(tmp_path / "labels.h5", (1, 1))
    assert source_state(volume) != before


def test_a_shard_that_is_written_anew_or_removed_shows(volume, tmp_path):
    states = {source_state(volume)}
    shard = next(path for path in (tmp_path / "image.zarr" / "c").rglob("*") if path.is_file())
    (shard.parent / "aside").write_bytes(shard.read_bytes())
    (shard.parent / "aside").replace(shard)
    states.add(source_state(volume))
    shard.unlink()
    states.add(source_state(volume))
    assert len(states) == 3
