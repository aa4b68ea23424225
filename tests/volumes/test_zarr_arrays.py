from __future__ import annotations

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.volumes import create_array, open_array, read_points, write_box

ODD_NAME = 'it\'s a "folder" #1 50% a::b ü'


def test_blocks_written_one_by_one_make_the_whole_array(tmp_path, rng):
    values = rng.integers(0, 255, (130, 70, 140), dtype=np.uint8)
    array = create_array(tmp_path / ODD_NAME / "0", values.shape, "uint8", attributes={"axes": "zyx"})
    for block in BlockGrid(values.shape, SHARD_VOX):
        write_box(array, block.write_box, values[block.write_box.slices])
    stored = open_array(tmp_path / ODD_NAME / "0")
    np.testing.assert_array_equal(stored[:], values)
    assert stored.metadata.zarr_format == 3
    assert stored.metadata.dimension_names == ("z", "y", "x")
    assert dict(stored.attrs) == {"axes": "zyx"}


def test_box_of_an_array_with_channels(tmp_path, rng):
    values = rng.integers(0, 255, (2, 20, 30, 40), dtype=np.uint8)
    array = create_array(tmp_path / "0", values.shape, "uint8", attributes={})
    write_box(array, Box.of_shape(values.shape[1:]), values)
    np.testing.assert_array_equal(open_array(tmp_path / "0")[:], values)
    assert array.metadata.dimension_names == ("c", "z", "y", "x")


def test_creating_again_starts_from_zero(tmp_path):
    create_array(tmp_path / "0", (10, 10, 10), "uint8", attributes={})[:] = 7
    create_array(tmp_path / "0", (10, 10, 12), "uint32", attributes={})
    stored = open_array(tmp_path / "0")
    assert (stored.shape, stored.dtype, stored[:].max()) == ((10, 10, 12), np.uint32, 0)


def test_points_equal_numpy_indexing(tmp_path, rng):
    values = rng.integers(0, 2**31, (100, 140, 130), dtype=np.uint32)
    array = create_array(tmp_path / "0", values.shape, "uint32", attributes={})
    array[:] = values
    points = rng.integers(0, 100, (500, 3))
    np.testing.assert_array_equal(read_points(array, points), values[tuple(points.T)])
    assert read_points(array, np.zeros((0, 3), int)).shape == (0,)


def test_points_are_read_without_the_volume_in_memory(tmp_path):
    """In a process of its own: points in every chunk, of which a few are held at once, not the 537 MB of the volume."""
    array = create_array(tmp_path / "0", (256, 512, 1024), "uint32", attributes={})
    array[:128] = 7
    array[128:] = 7
    code = f"""
from pathlib import Path
import numpy as np
from pipeline_lib.volumes import open_array, read_points
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
array = open_array(Path({str(tmp_path / "0")!r}))
points = np.random.default_rng(0).integers(0, array.shape, (10_000, 3))
read_points(array, points[:0])
before = peak()
assert (read_points(array, points) == 7).all()
print(peak() - before)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 0.25 * array.nbytes


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot write .*file/x\.zarr/0: Not a directory"):
        create_array(tmp_path / "file" / "x.zarr" / "0", (10, 10, 10), "uint8", attributes={})


def test_a_full_disk_is_a_user_error(tmp_path, rng):
    array = create_array(tmp_path / "0", (64, 64, 64), "uint8", attributes={})
    values = rng.integers(0, 255, array.shape, dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*0: File too large"):
            write_box(array, Box.of_shape(array.shape), values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_torn_shard_is_a_user_error(tmp_path, rng):
    array = create_array(tmp_path / "0", (64, 64, 64), "uint8", attributes={})
    array[:] = rng.integers(0, 255, array.shape, dtype=np.uint8)
    shard = tmp_path / "0" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cannot read .*0: the checksum is invalid"):
        read_points(array, np.array([[1, 2, 3]]))


def test_what_is_no_array_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot open the zarr array .*nothing"):
        open_array(tmp_path / "nothing")
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("b", shape=(3,), dtype="uint8")
    group.create_array("a", shape=(3,), dtype="uint8")
    with pytest.raises(UserError, match=r"g\.zarr is a zarr group, not an array; arrays in it: a, b"):
        open_array(tmp_path / "g.zarr")


def test_a_shard_torn_by_a_kill_is_written_again(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (2, 40, 140, 30)).astype(np.uint8)
    array = create_array(tmp_path / "a", values.shape, "uint8", attributes={})
    box = Box.of_shape(values.shape[1:])
    write_box(array, box, values)
    shards = [p for p in (tmp_path / "a").rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert len(shards) == 2
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:7])
    write_box(array, box, values)
    assert np.array_equal(open_array(tmp_path / "a")[:], values)
