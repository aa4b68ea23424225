from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.volumes.affinities import create_affinities, open_affinities

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -5, 0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "an odd 'name'" / "affinities.zarr" / "0"
    array = create_affinities(path, (70, 9, 200), offsets_vox=OFFSETS, voxel_size_nm=(40.0, 8.0, 8.5), logit_scale=0.2)
    array[:, 1, 2, 3] = [1, 2, 3, 4]
    return path


def test_what_was_created_is_opened(path: Path) -> None:
    found = open_affinities(path)
    assert (found.offsets_vox, found.voxel_size_nm) == (OFFSETS, (40.0, 8.0, 8.5))
    expected = np.zeros((4, 70, 9, 200), np.uint8)
    expected[:, 1, 2, 3] = [1, 2, 3, 4]
    np.testing.assert_array_equal(found.array[:], expected)
    attributes = dict(zarr.open_array(str(path)).attrs)
    assert attributes["logit_scale"] == 0.2
    assert attributes["scale"] * 255 == pytest.approx(1)


@pytest.mark.parametrize("name", ["axes", "offsets_vox", "storage", "scale", "voxel_size_nm"])
def test_a_missing_attribute_is_named(path: Path, name: str) -> None:
    array = zarr.open_array(str(path), mode="r+")
    attributes = dict(array.attrs)
    del attributes[name]
    array.attrs.clear()
    array.attrs.put(attributes)
    with pytest.raises(UserError, match=f"the attribute '{name}' is missing"):
        open_affinities(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("storage", "destination", "'storage' must be 'source' .* got 'destination'"),
        ("scale", 1.0, "'scale' must be 1/255, got 1.0"),
        ("axes", "cxyz", "'axes' must be czyx, got 'cxyz'"),
        ("offsets_vox", [[1, 0, 0]], "expected uint8 .* with 1 channels, one per offset, got uint8 of shape"),
    ],
)
def test_another_meaning_is_refused(path: Path, name: str, value: object, message: str) -> None:
    zarr.open_array(str(path), mode="r+").attrs[name] = value
    with pytest.raises(UserError, match=message):
        open_affinities(path)


def test_another_dtype_is_refused(tmp_path: Path, path: Path) -> None:
    attributes = dict(zarr.open_array(str(path)).attrs)
    other = tmp_path / "float"
    zarr.create_array(store=str(other), shape=(4, 5, 5, 5), dtype="float32", attributes=attributes)
    with pytest.raises(UserError, match=r"expected uint8 .* got float32 of shape"):
        open_affinities(other)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot open the zarr array"):
        open_affinities(tmp_path / "none")
