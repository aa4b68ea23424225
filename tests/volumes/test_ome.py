from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.volumes import create_array, open_array
from pipeline_lib.volumes.ome import add_levels, shrink, write_ome_metadata


def _cell_means(values: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Oracle: each output voxel by itself, rounding half up; indices beyond the end stay at the last voxel."""
    shape = [-(-n // f) for n, f in zip(values.shape, factors, strict=True)]
    result = np.zeros(shape, values.dtype)
    for index in np.ndindex(*shape):
        axes = [[min(i * f + k, n - 1) for k in range(f)] for i, f, n in zip(index, factors, values.shape, strict=True)]
        cell = [int(values[place]) for place in product(*axes)]
        result[index] = int(sum(cell) / len(cell) + 0.5)
    return result


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (2, 1, 1)])
def test_shrink_averages_cells(rng, factors):
    values = rng.integers(0, 256, (5, 7, 6), dtype=np.uint8)
    np.testing.assert_array_equal(shrink(values, factors), _cell_means(values, factors))


def test_shrink_picks_labels(rng):
    values = rng.integers(0, 9, (5, 7, 6), dtype=np.uint32)
    np.testing.assert_array_equal(shrink(values, (2, 2, 1), labels=True), values[::2, ::2, :])


def test_metadata_of_an_image(tmp_path):
    create_array(tmp_path / "image.zarr" / "0", (20, 30, 40), "uint8", attributes={})
    write_ome_metadata(tmp_path / "image.zarr", "image", (20.0, 9.0, 8.0))
    assert dict(zarr.open_group(tmp_path / "image.zarr", mode="r").attrs) == {
        "ome": {
            "version": "0.5",
            "multiscales": [
                {
                    "name": "image",
                    "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
                    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [20.0, 9.0, 8.0]}]}],
                }
            ],
        }
    }


def test_metadata_of_labels_and_of_channels(tmp_path):
    create_array(tmp_path / "labels.zarr" / "0", (20, 30, 40), "uint32", attributes={})
    write_ome_metadata(tmp_path / "labels.zarr", "labels", (20, 9, 9), labels=True)
    assert zarr.open_group(tmp_path / "labels.zarr", mode="r").attrs["ome"]["image-label"] == {}
    create_array(tmp_path / "affinities.zarr" / "0", (3, 20, 30, 40), "uint8", attributes={})
    write_ome_metadata(tmp_path / "affinities.zarr", "affinities", (20, 9, 9))
    ome = zarr.open_group(tmp_path / "affinities.zarr", mode="r").attrs["ome"]
    assert [axis["name"] for axis in ome["multiscales"][0]["axes"]] == ["c", "z", "y", "x"]
    scale = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, 20.0, 9.0, 9.0]
    assert "image-label" not in ome


def test_levels_halve_fine_axes_first_and_equal_the_whole_array_shrunk(tmp_path, rng):
    values = rng.integers(0, 256, (40, 300, 270), dtype=np.uint8)
    create_array(tmp_path / "0", values.shape, "uint8", attributes={})[:] = values
    add_levels(tmp_path, (30.0, 10.0, 10.0))
    write_ome_metadata(tmp_path, "image", (30.0, 10.0, 10.0))
    first = shrink(values, (1, 2, 2))
    np.testing.assert_array_equal(open_array(tmp_path / "1")[:], first)
    np.testing.assert_array_equal(open_array(tmp_path / "2")[:], shrink(first, (2, 2, 2)))
    assert not (tmp_path / "3").exists()
    datasets = zarr.open_group(tmp_path, mode="r").attrs["ome"]["multiscales"][0]["datasets"]
    assert [d["path"] for d in datasets] == ["0", "1", "2"]
    assert datasets[2]["coordinateTransformations"] == [
        {"type": "scale", "scale": [60.0, 40.0, 40.0]},
        {"type": "translation", "translation": [15.0, 15.0, 15.0]},
    ]


def test_levels_of_labels_hold_only_ids_of_the_volume(tmp_path, rng):
    values = rng.choice(np.array([0, 5, 70_000], np.uint32), (20, 140, 130))
    create_array(tmp_path / "0", values.shape, "uint32", attributes={})[:] = values
    add_levels(tmp_path, (10.0, 10.0, 10.0), labels=True)
    np.testing.assert_array_equal(open_array(tmp_path / "1")[:], values[::2, ::2, ::2])
    assert open_array(tmp_path / "1").dtype == np.uint32


def test_a_long_volume_of_single_voxels_gets_levels(tmp_path):
    create_array(tmp_path / "0", (300, 1, 1), "uint8", attributes={})
    add_levels(tmp_path, (10.0, 1.0, 1.0))
    assert [open_array(tmp_path / k).shape for k in "012"] == [(300, 1, 1), (150, 1, 1), (75, 1, 1)]


def test_a_group_without_arrays_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no array named 0"):
        write_ome_metadata(tmp_path, "image", (1, 1, 1))


def test_metadata_where_nothing_can_be_written(tmp_path, monkeypatch):
    create_array(tmp_path / "0", (20, 30, 40), "uint8", attributes={})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr, "open_group", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        write_ome_metadata(tmp_path, "image", (1, 1, 1))
