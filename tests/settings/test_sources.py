"""What tells that a source was edited, and which sources are refused before any job starts."""

import os
import re

import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.settings.jobs import shape_of
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.sources import check_sources, source_state
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


def test_the_shape_of_a_zarr_array_is_read_from_its_metadata(tmp_path):
    create_array(tmp_path / "v3.zarr" / "image", (20, 130, 140), "uint8", attributes={})
    zarr.create_array(tmp_path / "v2.zarr", shape=(140, 130, 20, 1), chunks=(9, 9, 9, 1), dtype="uint8", zarr_format=2)
    image = {"path": str(tmp_path / "v3.zarr"), "array": "image"}
    assert shape_of(ArrayVolume(split="val", image=image)) == (20, 130, 140)
    assert shape_of(ArrayVolume(split="val", image={"path": str(tmp_path / "v2.zarr")}, axes="xyzc")) == (20, 130, 140)


@pytest.mark.parametrize("zarr_format", [2, 3, None])
@pytest.mark.parametrize("array", [None, "groups"])
def test_a_folder_that_is_no_zarr_array_is_named(tmp_path, zarr_format, array):
    """A group of either format, and a folder without metadata."""
    path = tmp_path / "v.zarr" / (array or "")
    path.mkdir(parents=True)
    if zarr_format is not None:
        zarr.create_group(path, zarr_format=zarr_format)
    volume = ArrayVolume(split="val", image={"path": str(tmp_path / "v.zarr"), "array": array})
    message = (
        f"{re.escape(str(path))} is not a zarr array: it has no zarr.json or .zarray that tells a shape; is it a group, one "
        "array of which `array` must name\\?$"
    )
    with pytest.raises(UserError, match=f"^{message}"):
        shape_of(volume)
    with pytest.raises(UserError, match=f"^volumes.v: {message}"):
        check_sources(Project.model_construct(volumes={"v": volume}))


def test_a_wrong_name_of_an_array_is_named(tmp_path):
    create_array(tmp_path / "v.zarr" / "image", (20, 130, 130), "uint8", attributes={})
    volume = ArrayVolume(split="val", image={"path": str(tmp_path / "v.zarr"), "array": "imag"})
    assert shape_of(volume) is None
    with pytest.raises(UserError, match=r"^volumes\.v: .*v\.zarr/imag does not exist"):
        check_sources(Project.model_construct(volumes={"v": volume}))


def test_broken_metadata_are_left_to_the_import(tmp_path):
    (tmp_path / "v.zarr").mkdir()
    (tmp_path / "v.zarr" / "zarr.json").write_text("{")
    assert shape_of(ArrayVolume(split="val", image={"path": str(tmp_path / "v.zarr")})) is None
