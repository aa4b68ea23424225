from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.settings.volumes import SourceArray
from pipeline_lib.volumes import readers
from pipeline_lib.volumes.readers import Source, StoredArray, open_source

SHAPE = (6, 7, 8)


@pytest.fixture
def values(rng):
    return rng.integers(0, 60_000, SHAPE, dtype=np.uint16)


def _h5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array, chunks=True)
    return path


def _open(path: Path, array: str | None = None, axes: str = "zyx") -> Source:
    return open_source(SourceArray(path=str(path), array=array), axes=axes)


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz", "xyzc", "czyx", "zcyx"])
@pytest.mark.parametrize("kind", ["h5", "zarr2", "zarr3"])
def test_every_order_of_axes_becomes_zyx(tmp_path, values, axes, kind):
    stored = np.expand_dims(values, 3).transpose(["zyxc".index(a) for a in axes]) if "c" in axes else None
    if stored is None:
        stored = values.transpose(["zyx".index(a) for a in axes])
    if kind == "h5":
        source = _open(_h5(tmp_path / "v.h5", raw=stored), "raw", axes)
    else:
        array = zarr.create_array(
            tmp_path / "v", shape=stored.shape, dtype="uint16", chunks=(3,) * stored.ndim, zarr_format=int(kind[-1])
        )
        array[:] = stored
        source = _open(tmp_path / "v", None, axes)
    assert (source.shape_vox, source.dtype) == (SHAPE, np.uint16)
    assert source.is_zyx == (axes == "zyx")
    box = Box((1, 0, 3), (4, 7, 8))
    read = source.read(box)
    np.testing.assert_array_equal(read, values[box.slices])
    assert read.flags.c_contiguous


def test_labels_may_lack_the_channel_axis_of_the_image(tmp_path, values):
    source = _open(_h5(tmp_path / "v.h5", seg=values.transpose(2, 1, 0)), "seg", "xyzc")
    np.testing.assert_array_equal(source.read(Box.of_shape(SHAPE)), values)


def test_big_endian_becomes_native(tmp_path, values):
    source = _open(_h5(tmp_path / "v.h5", raw=values.astype(">u2")), "raw")
    read = source.read(Box.of_shape(SHAPE))
    assert read.dtype == np.dtype("=u2")
    np.testing.assert_array_equal(read, values)


def test_any_array_path_with_spaces_and_quotes(tmp_path, values):
    folder = tmp_path / 'my "best" volume\'s folder; $HOME #1'
    folder.mkdir()
    np.testing.assert_array_equal(
        _open(_h5(folder / "a b'.h5", **{"vol umes__r'aw": values}), "vol umes/r'aw").read(Box.of_shape(SHAPE)), values
    )
    group = zarr.create_group(folder / "a b'.zarr", zarr_format=2)
    group.create_array("vol umes/r'aw", shape=SHAPE, dtype="uint16")[:] = values
    np.testing.assert_array_equal(_open(folder / "a b'.zarr", "vol umes/r'aw").read(Box.of_shape(SHAPE)), values)


def test_a_single_hdf5_array_needs_no_name(tmp_path, values):
    np.testing.assert_array_equal(_open(_h5(tmp_path / "v.hdf5", only=values)).read(Box.of_shape(SHAPE)), values)


def test_hdf5_is_known_by_its_first_bytes_too(tmp_path, values):
    np.testing.assert_array_equal(_open(_h5(tmp_path / "v.dat", only=values)).read(Box.of_shape(SHAPE)), values)


def test_voxel_size_comes_from_the_nearest_attribute(tmp_path, values):
    path = _h5(tmp_path / "v.h5", a__raw=values, a__other=values)
    with h5py.File(path, "a") as file:
        file.attrs["voxel_size_nm"] = [40.0, 4.0, 4.0]
        file["a/other"].attrs["voxel_size_nm"] = [30, 5, 6]
    assert _open(path, "a/raw").voxel_size_nm == (40.0, 4.0, 4.0)
    assert _open(path, "a/other").voxel_size_nm == (30.0, 5.0, 6.0)
    group = zarr.create_group(tmp_path / "v.zarr", attributes={"voxel_size_nm": [40, 4, 4]})
    group.create_array("a/raw", shape=SHAPE, dtype="uint16")
    group.create_array("a/other", shape=SHAPE, dtype="uint16", attributes={"voxel_size_nm": [30, 5, 6]})
    assert _open(tmp_path / "v.zarr", "a/raw").voxel_size_nm == (40.0, 4.0, 4.0)
    assert _open(tmp_path / "v.zarr", "a/other").voxel_size_nm == (30.0, 5.0, 6.0)
    assert _open(_h5(tmp_path / "w.h5", raw=values)).voxel_size_nm is None


@pytest.mark.parametrize("wrong", [[10.0, 10.0], [10.0, 0.0, 10.0], [10.0, np.nan, 10.0], 10.0, "ten"])
def test_a_voxel_size_that_is_none_is_refused(tmp_path, values, wrong):
    path = _h5(tmp_path / "v.h5", raw=values)
    with h5py.File(path, "a") as file:
        file.attrs["voxel_size_nm"] = wrong
    with pytest.raises(UserError, match=r"voxel_size_nm must be three lengths \(z, y, x\) above 0, got"):
        _ = _open(path).voxel_size_nm


def _stored(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str = "uint8") -> StoredArray:
    return StoredArray(np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, (0,) * len(shape)), "v", chunks, {})


def test_blocks_are_whole_shards_of_bounded_size_that_follow_the_chunks():
    slices = Source(_stored((1000, 2000, 2000), (1, 2000, 2000)), axes="zyx").blocks
    assert slices.block_vox == (128, 1024, 1024)
    columns = Source(_stored((2000, 2000, 1000), (2000, 2000, 1)), axes="xyz").blocks
    assert (columns.shape_vox, columns.block_vox) == ((1000, 2000, 2000), (128, 1024, 1024))
    cubes = Source(_stored((2000, 2000, 1000), (64, 100, 128)), axes="zyx").blocks
    assert cubes.block_vox == (256, 512, 512)
    wide = Source(_stored((1000, 1000, 1000), (1, 1000, 1000), "float64"), axes="zyx").blocks
    assert wide.block_vox == (128, 256, 512)
    assert Source(_stored((50, 60, 70), (50, 60, 70)), axes="zyx").blocks.block_vox == (128, 128, 128)


def test_rows_of_an_hdf5_array_without_chunks_are_read_whole(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("raw", shape=(200, 300, 5000), dtype="uint8")
    assert _open(tmp_path / "v.h5").blocks.block_vox == (128, 128, 8192)


class TestWhatCannotBeRead:
    """Each message says what was expected, what came and where."""

    def test_missing_file(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.h5 does not exist"):
            _open(tmp_path / "nowhere.h5", "raw")

    def test_unknown_kind(self, tmp_path):
        (tmp_path / "v.nrrd").write_text("NRRD0004")
        message = r"v\.nrrd is of an unknown kind; expected HDF5 \(\.h5, \.hdf5, \.hdf\) or a folder with a zarr array or group"
        with pytest.raises(UserError, match=message):
            _open(tmp_path / "v.nrrd")

    def test_truncated_hdf5(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", raw=values)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=r"cannot open the HDF5 file .*v\.h5: .*truncated file.*; is it complete\?"):
            _open(path, "raw")

    def test_empty_hdf5(self, tmp_path):
        (tmp_path / "v.h5").touch()
        with pytest.raises(UserError, match=r"cannot open the HDF5 file .*v\.h5: .*; is it complete\?"):
            _open(tmp_path / "v.h5", "raw")

    def test_hdf5_with_a_broken_header(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", raw=values)
        with h5py.File(path) as file:
            offset = h5py.h5o.get_info(file["raw"].id).addr
        with path.open("r+b") as raw:
            raw.seek(offset)
            raw.write(b"\xff" * 64)
        with pytest.raises(UserError, match=r"cannot open 'raw' in the HDF5 file .*v\.h5: .*; is it complete\?"):
            _open(path, "raw")

    def test_hdf5_with_broken_chunks(self, tmp_path, rng):
        with h5py.File(tmp_path / "v.h5", "w") as file:
            data = rng.integers(0, 9, (64, 64, 64), dtype=np.uint8)
            chunk = file.create_dataset("raw", data=data, chunks=(64, 64, 64), compression="gzip").id.get_chunk_info(0)
        with (tmp_path / "v.h5").open("r+b") as raw:
            raw.seek(chunk.byte_offset)
            raw.write(b"\xff" * 1000)
        with pytest.raises(UserError, match=r"cannot read voxels \(0, 0, 0\) to \(64, 64, 64\) of .*v\.h5 array 'raw': "):
            _open(tmp_path / "v.h5", "raw").read(Box.of_shape((64, 64, 64)))

    def test_missing_hdf5_array_lists_what_is_there(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", volumes__raw=values, volumes__labels=values)
        with pytest.raises(UserError, match=r"v\.h5 has no array 'raw'; arrays in it: volumes/labels, volumes/raw"):
            _open(path, "raw")
        with pytest.raises(UserError, match=r"`array` must name one of the arrays in .*v\.h5: volumes/labels, volumes/raw"):
            _open(path)

    def test_hdf5_group(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", volumes__raw=values)
        with pytest.raises(UserError, match=r"'volumes' in the HDF5 file .*v\.h5 is a group, not an array; arrays in it: raw"):
            _open(path, "volumes")

    def test_hdf5_array_without_a_shape(self, tmp_path):
        with h5py.File(tmp_path / "v.h5", "w") as file:
            file["raw"] = h5py.Empty("uint8")
        with pytest.raises(UserError, match=r"'raw' in the HDF5 file .* is empty"):
            _open(tmp_path / "v.h5", "raw")

    def test_hdf5_array_name_that_is_none(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", raw=values)
        with pytest.raises(UserError, match=r"v\.h5 has no array ''; arrays in it: raw"):
            _open(path, "")

    def test_zarr_without_metadata(self, tmp_path):
        group = zarr.create_group(tmp_path / "v.zarr", zarr_format=2)
        group.create_array("img", shape=SHAPE, dtype="uint8")[:] = 1
        group.create_array("a/seg", shape=SHAPE, dtype="uint8")[:] = 1
        (tmp_path / "v.zarr" / "img" / ".zarray").unlink()
        (tmp_path / "v.zarr" / "img" / ".zattrs").unlink(missing_ok=True)
        message = (
            r"v\.zarr/img has no zarr metadata \(one of zarr\.json, \.zarray, \.zgroup\); "
            r"arrays in .*v\.zarr: a/seg; is the copy complete\?"
        )
        with pytest.raises(UserError, match=message):
            _open(tmp_path / "v.zarr", "img")

    def test_zarr_with_broken_metadata(self, tmp_path):
        zarr.create_array(tmp_path / "v.zarr", shape=SHAPE, dtype="uint8")
        (tmp_path / "v.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_ty')
        with pytest.raises(UserError, match=r"cannot read the zarr metadata in .*v\.zarr: "):
            _open(tmp_path / "v.zarr")

    def test_missing_zarr_array_lists_what_is_there(self, tmp_path):
        group = zarr.create_group(tmp_path / "v.zarr")
        group.create_array("volumes/raw", shape=SHAPE, dtype="uint8")
        group.create_array("seg", shape=SHAPE, dtype="uint8")
        with pytest.raises(UserError, match=r"v\.zarr has no array 'img'; arrays in it: seg, volumes/raw"):
            _open(tmp_path / "v.zarr", "img")

    def test_zarr_group(self, tmp_path):
        zarr.create_group(tmp_path / "v.zarr").create_array("volumes/raw", shape=SHAPE, dtype="uint8")
        message = r"v\.zarr is a zarr group, not an array; name one of its arrays as `array`: volumes/raw"
        with pytest.raises(UserError, match=message):
            _open(tmp_path / "v.zarr")

    def test_array_path_that_leaves_the_folder(self, tmp_path):
        zarr.create_group(tmp_path / "v.zarr")
        with pytest.raises(UserError, match=r"`array` is a path inside .*v\.zarr, got '\.\./other'"):
            _open(tmp_path / "v.zarr", "../other")

    def test_zarr_with_a_broken_chunk(self, tmp_path, rng):
        array = zarr.create_array(tmp_path / "v.zarr", shape=(32, 32, 32), dtype="uint8", zarr_format=2)
        array[:] = rng.integers(0, 255, array.shape, dtype=np.uint8)
        chunk = tmp_path / "v.zarr" / "0.0.0"
        chunk.write_bytes(chunk.read_bytes()[:100])
        with pytest.raises(UserError, match=r"cannot read voxels \(0, 0, 0\) to \(32, 32, 32\) of .*v\.zarr: "):
            _open(tmp_path / "v.zarr").read(Box.of_shape((32, 32, 32)))

    def test_several_channels(self, tmp_path):
        path = _h5(tmp_path / "v.h5", raw=np.zeros((*SHAPE, 3), np.uint8))
        with pytest.raises(UserError, match=r"v\.h5 array 'raw' has 3 channels \(c of axes 'xyzc'\), expected 1"):
            _open(path, "raw", "xyzc")

    def test_other_number_of_axes(self, tmp_path):
        path = _h5(tmp_path / "v.h5", raw=np.zeros((*SHAPE, 1), np.uint8))
        with pytest.raises(UserError, match=r"'raw' has 4 axes, shape \(6, 7, 8, 1\), but `axes` is 'zyx'; correct `axes`"):
            _open(path, "raw")

    def test_no_voxels(self, tmp_path):
        zarr.create_array(tmp_path / "v.zarr", shape=(5, 0, 5), dtype="uint8")
        with pytest.raises(UserError, match=r"v\.zarr has shape \(5, 0, 5\): it holds no voxels"):
            _open(tmp_path / "v.zarr")

    def test_axes_of_the_file_against_those_of_the_settings(self, tmp_path, values):
        path = _h5(tmp_path / "v.h5", raw=values)
        with h5py.File(path, "a") as file:
            file.attrs["axes"] = "xyz"
        with pytest.raises(UserError, match=r"says that its axes are 'xyz', but the settings say 'zyx'; correct `axes`"):
            _open(path, "raw")
        assert _open(path, "raw", "xyz").shape_vox == SHAPE[::-1]


def test_long_lists_of_arrays_are_cut(tmp_path):
    _h5(tmp_path / "v.h5", **{f"a{i:02}": np.zeros(1) for i in range(25)})
    with pytest.raises(UserError, match=r"a18, a19 and 5 more$"):
        _open(tmp_path / "v.h5", "raw")


def test_a_new_format_is_one_entry(tmp_path, monkeypatch, values):
    class Npy:
        DESCRIPTION = "npy"

        @staticmethod
        def accepts(path: Path) -> bool:
            return path.suffix == ".npy"

        @staticmethod
        def open_stored(path: Path, array: str | None) -> StoredArray:
            stored = np.load(path)
            return StoredArray(stored, str(path), stored.shape, {})

    np.save(tmp_path / "v.npy", values)
    monkeypatch.setattr(readers, "FORMATS", (*readers.FORMATS, Npy))
    np.testing.assert_array_equal(_open(tmp_path / "v.npy").read(Box.of_shape(SHAPE)), values)


def test_the_real_samples(shared_data):
    fib = _open(shared_data / "fib25" / "val.h5", "raw")
    assert (fib.shape_vox, fib.voxel_size_nm, fib.dtype) == ((50, 250, 250), (10.0, 10.0, 10.0), np.uint8)
    with h5py.File(shared_data / "fib25" / "val.h5") as file:
        np.testing.assert_array_equal(fib.read(Box((3, 4, 5), (40, 50, 60))), file["raw"][3:40, 4:50, 5:60])
    nisb = _open(shared_data / "nisb_layout" / "val" / "seed0" / "data.zarr", "img", "xyzc")
    assert (nisb.shape_vox, nisb.voxel_size_nm) == ((64, 96, 96), None)
