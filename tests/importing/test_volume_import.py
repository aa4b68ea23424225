from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import networkx as nx
import numpy as np
import pytest
import zarr

from pipeline_lib.artefacts import Budget, Run, Step, read_json
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, nm_to_vox_floor
from pipeline_lib.importing import import_volume, volume_import
from pipeline_lib.importing import skeletons as given_skeletons
from pipeline_lib.importing.volume_import import LargestBlock, VolumeImport
from pipeline_lib.settings.stages import ImportStage
from pipeline_lib.skeletons import Skeletons, load_skeletons, save_skeletons
from pipeline_lib.volumes import Volume, open_array
from pipeline_lib.volumes.readers import Source

SHAPE = (20, 150, 30)
SIZE_NM = (20.0, 10.0, 10.0)


RUN = Run(Budget(memory_mb=4000))


def _import(folder: Path, run: Run = RUN, **volume: Any) -> Volume:
    import_volume(ImportStage(name="train", volume={"split": "train", **volume}), folder, run=run)
    return Volume.open(folder)


def _h5(path: Path, *, attributes: dict[str, Any] | None = None, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs.update({"voxel_size_nm": SIZE_NM} if attributes is None else attributes)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=(7, 50, 11)[: array.ndim] + (1,) * (array.ndim - 3))
    return path


def _of(path: Path, *names: str) -> dict[str, Any]:
    return {name: {"path": str(path), "array": array} for name, array in zip(names, names, strict=True)}


def _is_unwritten(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == [".lock"]


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    """Two tubes along y, and background."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:10, :, 2:14] = 3
    labels[12:, :, 14:] = 500
    return labels


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Small volumes in more than one block."""
    monkeypatch.setattr(Source, "blocks", property(lambda self: BlockGrid(self.shape_vox, (128, 128, 128))))


def test_image_and_labels_of_an_hdf5_file(tmp_path, image, labels):
    volume = _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", image=image, labels=labels), "image", "labels"))
    assert volume == Volume.open(tmp_path / "out")
    assert (volume.name, volume.shape_vox, volume.voxel_size_nm) == ("train", SHAPE, SIZE_NM)
    assert volume.source == f"{tmp_path}/v.h5 array 'image'"
    np.testing.assert_array_equal(volume.image()[:], image)
    np.testing.assert_array_equal(volume.labels()[:], labels)
    assert volume.labels().dtype == np.uint32
    assert volume.mask() is None
    assert not (tmp_path / "out" / "mask.zarr").exists()
    skeletons = load_skeletons(volume.skeletons_file)
    voxels = nm_to_vox_floor(skeletons.node_positions_nm, SIZE_NM)
    np.testing.assert_array_equal(labels[tuple(voxels.T)], skeletons.node_skeleton_ids)
    assert set(skeletons.node_skeleton_ids) == {3, 500}
    ome = zarr.open_group(tmp_path / "out" / "labels.zarr", mode="r").attrs["ome"]
    assert ome["image-label"] == {}
    assert [d["path"] for d in ome["multiscales"][0]["datasets"]] == ["0", "1"]
    assert dict(volume.image().attrs) == {"axes": "zyx", "voxel_size_nm": list(SIZE_NM)}


def test_an_imported_volume_can_be_imported_again(tmp_path, image, labels):
    _import(tmp_path / "a", **_of(_h5(tmp_path / "v.h5", image=image, labels=labels), "image", "labels"))
    again = _import(
        tmp_path / "b",
        image={"path": str(tmp_path / "a" / "image.zarr"), "array": "0"},
        labels={"path": str(tmp_path / "a" / "labels.zarr"), "array": "0"},
        skeletons=str(tmp_path / "a" / "skeletons.npz"),
    )
    assert again.voxel_size_nm == SIZE_NM
    np.testing.assert_array_equal(again.labels()[:], labels)
    assert again.image_path == str(tmp_path / "a" / "image.zarr" / "0")  # used where it lies


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_conforming_zarr_image_is_used_where_it_lies(tmp_path, image, zarr_format):
    source = tmp_path / 'its "own" folder\'s v.zarr'
    zarr.create_array(source, shape=SHAPE, chunks=(16, 16, 16), dtype="uint8", zarr_format=zarr_format)[:] = image
    volume = _import(tmp_path / "out", image={"path": str(source)}, voxel_size_nm=SIZE_NM)
    assert volume.image_path == str(source)
    assert not (tmp_path / "out" / "image.zarr").exists()
    np.testing.assert_array_equal(Volume.open(tmp_path / "out").image()[:], image)


@pytest.mark.parametrize(
    "change",
    [{"axes": "xyz"}, {"intensity_range": {"low": 0, "high": 255}}, {"chunks": (300, 300, 300), "shape": (300, 300, 300)}],
)
def test_other_zarr_images_are_converted(tmp_path, change):
    shape, chunks = change.pop("shape", SHAPE), change.pop("chunks", (16, 16, 16))
    zarr.create_array(tmp_path / "v.zarr", shape=shape, chunks=chunks, dtype="uint8")
    volume = _import(tmp_path / "out", image={"path": str(tmp_path / "v.zarr")}, voxel_size_nm=SIZE_NM, **change)
    assert volume.image_path == "image.zarr/0"


def test_foreign_axes_with_a_channel(tmp_path, image, labels):
    path = _h5(tmp_path / "v.h5", image=image.transpose(2, 1, 0)[..., None], labels=labels.transpose(2, 1, 0))
    volume = _import(tmp_path / "out", axes="xyzc", **_of(path, "image", "labels"))
    np.testing.assert_array_equal(volume.image()[:], image)
    np.testing.assert_array_equal(volume.labels()[:], labels)


def test_the_voxel_size_of_the_settings_comes_first(tmp_path, image):
    volume = _import(tmp_path / "out", voxel_size_nm=(30, 5, 6), **_of(_h5(tmp_path / "v.h5", image=image), "image"))
    assert volume.voxel_size_nm == (30.0, 5.0, 6.0)


class TestIntensity:
    def test_a_range_maps_other_types(self, tmp_path, rng):
        values = rng.integers(-3000, 3000, SHAPE, dtype=np.int16)
        path = _h5(tmp_path / "v.h5", image=values)
        volume = _import(tmp_path / "out", intensity_range={"low": -1000, "high": 1550}, **_of(path, "image"))
        exact = np.clip((values.astype(float) + 1000) / 10, 0, 255)
        assert volume.image().dtype == np.uint8
        assert np.abs(volume.image()[:] - exact).max() <= 0.5 + 1e-9
        assert volume.image().attrs["intensity_range"] == [-1000.0, 1550.0]

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    def test_percentiles_are_of_the_whole_volume(self, tmp_path, rng, dtype):
        values = rng.normal(1000, 200, SHAPE).clip(0).astype(dtype)
        path = _h5(tmp_path / "v.h5", image=values)
        volume = _import(tmp_path / "out", intensity_range={"percentiles": (1, 99)}, **_of(path, "image"))
        low, high = np.percentile(values.astype(float), (1, 99))
        np.testing.assert_allclose(volume.image().attrs["intensity_range"], (low, high), rtol=1e-9)
        exact = np.clip((values.astype(float) - low) / (high - low) * 255, 0, 255)
        assert np.abs(volume.image()[:] - exact).max() <= 0.5 + 1e-6

    def test_other_types_need_a_range(self, tmp_path, image):
        path = _h5(tmp_path / "v.h5", image=image.astype(np.uint16))
        message = (
            r"^volume train: image: .*v\.h5 array 'image' has dtype uint16; give `intensity_range` \(low and high, or "
            r"percentiles such as \[0\.1, 99\.9\]\), because only uint8 is taken as it is$"
        )
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", **_of(path, "image"))
        assert not (tmp_path / "out").exists()

    def test_other_kinds_are_refused(self, tmp_path, image):
        path = _h5(tmp_path / "v.h5", image=image.astype(np.complex64))
        with pytest.raises(UserError, match=r"array 'image' has dtype complex64; expected integers or floats"):
            _import(tmp_path / "out", intensity_range={"low": 0, "high": 1}, **_of(path, "image"))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("limits", [{"low": 0, "high": 1}, {"percentiles": (1, 99)}])
    def test_nan_is_refused_with_its_place(self, tmp_path, rng, bad, limits):
        values = rng.random(SHAPE, dtype=np.float32)
        values[3, 140, 5] = values[4, 130, 6] = bad
        path = _h5(tmp_path / "v.h5", image=values)
        message = (
            r"array 'image' has 2 NaN or infinite values in voxels \(0, 128, 0\) to \(20, 150, 30\), "
            r"the first at \(3, 140, 5\) \(z, y, x\); replace them"
        )
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", intensity_range=limits, **_of(path, "image"))
        assert not (tmp_path / "out" / "volume.json").exists()

    def test_percentiles_without_contrast_are_refused(self, tmp_path):
        path = _h5(tmp_path / "v.h5", image=np.full(SHAPE, 7, np.uint16))
        message = r"percentiles \(1\.0, 99\.0\) of .* are 7 and 7, which leaves no contrast; give intensity_range\.low and high"
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", intensity_range={"percentiles": (1, 99)}, **_of(path, "image"))


class TestLabels:
    def test_minus_one_becomes_the_mask(self, tmp_path, image, labels):
        signed = labels.astype(np.int32)
        signed[:, 140:, :] = -1
        volume = _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", image=image, labels=signed), "image", "labels"))
        np.testing.assert_array_equal(volume.labels()[:], np.where(signed == -1, 0, signed))
        np.testing.assert_array_equal(volume.mask()[:], (signed != -1).astype(np.uint8))

    def test_signed_labels_without_minus_one_need_no_mask(self, tmp_path, image, labels):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels.astype(np.int64))
        volume = _import(tmp_path / "out", **_of(path, "image", "labels"))
        assert (volume.mask(), volume.labels().dtype) == (None, np.uint32)

    def test_a_given_mask(self, tmp_path, image, labels, rng):
        mask = rng.integers(0, 3, SHAPE, dtype=np.uint8)
        path = _h5(tmp_path / "v.h5", image=image, labels=labels, mask=mask)
        volume = _import(tmp_path / "out", **_of(path, "image", "labels", "mask"))
        np.testing.assert_array_equal(volume.mask()[:], (mask > 0).astype(np.uint8))
        np.testing.assert_array_equal(volume.labels()[:], np.where(mask > 0, labels, 0))

    def test_large_ids_need_uint64(self, tmp_path, image, labels):
        large = labels.astype(np.uint64) << np.uint64(40)
        volume = _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", image=image, labels=large), "image", "labels"))
        assert volume.labels().dtype == np.uint64
        np.testing.assert_array_equal(volume.labels()[:], large)
        assert set(load_skeletons(volume.skeletons_file).node_skeleton_ids) == {3 << 40, 500 << 40}

    def test_ids_beyond_63_bits_are_refused(self, tmp_path, image, labels):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels.astype(np.uint64) << np.uint64(58))
        with pytest.raises(
            UserError, match=r"array 'labels' has the id 14987979559889010688; expected at most 9223372036854775807"
        ):
            _import(tmp_path / "out", **_of(path, "image", "labels"))

    def test_other_negative_ids_are_refused(self, tmp_path, image, labels):
        signed = labels.astype(np.int16)
        signed[1, 2, 3] = -2
        message = r"labels: .*array 'labels', voxels \(0, 0, 0\) to \(20, 128, 30\): the id -2 is negative; expected ids from 1"
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", image=image, labels=signed), "image", "labels"))
        assert not (tmp_path / "out" / "volume.json").exists()

    def test_floats_are_refused(self, tmp_path, image, labels):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels.astype(np.float32), mask=labels.astype(np.float32))
        message = r"labels: .*array 'labels' has dtype float32; expected integers, 0 = background, -1 = unlabelled"
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", **_of(path, "image", "labels"))
        path = _h5(tmp_path / "w.h5", image=image, labels=labels, mask=labels.astype(np.float32))
        with pytest.raises(
            UserError, match=r"mask: .*array 'mask' has dtype float32; expected bool or integers, 0 = unlabelled"
        ):
            _import(tmp_path / "out", **_of(path, "image", "labels", "mask"))

    @pytest.mark.parametrize("other", ["labels", "mask"])
    def test_another_shape_is_refused_with_both(self, tmp_path, image, labels, other):
        arrays = {"image": image, "labels": labels, "mask": (labels > 0).astype(np.uint8)}
        arrays[other] = arrays[other][:, :-1]
        message = (
            rf"{other}: .*array '{other}' has shape \(20, 149, 30\) \(z, y, x\), "
            r"but the image .*array 'image' has \(20, 150, 30\)"
        )
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", **arrays), "image", "labels", "mask"))
        assert not (tmp_path / "out").exists()

    def test_a_mask_without_labels_is_refused(self, tmp_path, image):
        path = _h5(tmp_path / "v.h5", image=image, mask=image)
        with pytest.raises(
            UserError, match=r"mask: .*array 'mask' is given without labels; it says where labels may be trusted"
        ):
            _import(tmp_path / "out", **_of(path, "image", "mask"))


def test_a_missing_voxel_size_is_refused(tmp_path, image):
    path = _h5(tmp_path / "v.h5", attributes={}, image=image)
    message = (
        r"^volume train: the voxel size is missing: .*v\.h5 array 'image' has no attribute voxel_size_nm; "
        r"give the setting voxel_size_nm \(z, y, x\)$"
    )
    with pytest.raises(UserError, match=message):
        _import(tmp_path / "out", **_of(path, "image"))


def test_what_the_readers_refuse_names_the_volume(tmp_path, image):
    path = _h5(tmp_path / "v.h5", image=image)
    with pytest.raises(UserError, match=r"^volume train: the HDF5 file .*v\.h5 has no array 'labels'; arrays in it: image$"):
        _import(tmp_path / "out", **_of(path, "image", "labels"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"^volume train: cannot open the HDF5 file .*truncated"):
        _import(tmp_path / "out", **_of(path, "image"))


class TestSkeletons:
    def _given(self, path: Path, voxels: Any, ids: Any) -> str:
        save_skeletons(path, Skeletons((np.asarray(voxels) + 0.5) * SIZE_NM, ids, [[0, 1]]))
        return str(path)

    def test_given_ones_are_kept(self, tmp_path, image, labels):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels)
        given = self._given(tmp_path / "s.npz", [[5, 10, 5], [5, 149, 5]], [8, 8])
        volume = _import(tmp_path / "out", skeletons=given, **_of(path, "image", "labels"))
        found = load_skeletons(volume.skeletons_file)
        np.testing.assert_allclose(found.node_positions_nm, [[110, 105, 55], [110, 1495, 55]])
        assert found.node_skeleton_ids.tolist() == [8, 8]

    def test_without_labels_there_are_those_given_or_none(self, tmp_path, image):
        path = _h5(tmp_path / "v.h5", image=image)
        given = self._given(tmp_path / "s.npz", [[5, 10, 5], [5, 149, 5]], [8, 8])
        assert _import(tmp_path / "a", skeletons=given, **_of(path, "image")).skeletons_file == tmp_path / "a" / "skeletons.npz"
        volume = _import(tmp_path / "b", **_of(path, "image"))
        assert (volume.skeletons_file, volume.labels()) == (None, None)

    def test_those_outside_are_refused_before_anything_is_written(self, tmp_path, image):
        given = self._given(tmp_path / "s.npz", [[5, 10, 5], [10, 5, 149]], [8, 8])
        with pytest.raises(UserError, match=r"skeletons: 1 of the 2 nodes of .*s\.npz lie outside the volume"):
            _import(tmp_path / "out", skeletons=given, **_of(_h5(tmp_path / "v.h5", image=image), "image"))
        assert _is_unwritten(tmp_path / "out")

    @pytest.mark.parametrize("edges", [np.arange(3), np.arange(9).reshape(3, 3)], ids=lambda edges: f"{edges.shape}")
    def test_a_file_of_another_shape_is_refused_before_anything_is_written(self, tmp_path, image, edges):
        np.savez(tmp_path / "s.npz", node_positions_nm=np.ones((9, 3)), node_skeleton_ids=np.ones(9, int), edges=edges)
        path = _h5(tmp_path / "v.h5", image=image)
        with pytest.raises(UserError, match=r"^volume train: cannot read the skeletons .*s\.npz: edges has rows of shape"):
            _import(tmp_path / "out", skeletons=str(tmp_path / "s.npz"), **_of(path, "image"))
        assert _is_unwritten(tmp_path / "out")

    def test_those_of_a_planned_or_complete_volume_are_not_checked_again(self, tmp_path, image, labels, monkeypatch):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels)
        given = self._given(tmp_path / "s.npz", [[5, 10, 5], [5, 149, 5]], [8, 8])
        stage = ImportStage(name="v", volume={"split": "train", "skeletons": given, **_of(path, "image", "labels")})
        import_volume(stage, tmp_path / "out", run=Run(Budget(4000), Step.parse("plan")))
        monkeypatch.setattr(volume_import, "check_given", lambda *_: pytest.fail("read again"))
        for step in ("plan", "all", "all", "plan"):
            import_volume(stage, tmp_path / "out", run=Run(Budget(4000), Step.parse(step)))

    def test_they_are_held_for_finishing_only(self, tmp_path, image, labels, monkeypatch):
        read, whole = [], given_skeletons.load_skeletons
        monkeypatch.setattr(given_skeletons, "load_skeletons", lambda path: read.append(path) or whole(path))
        path = _h5(tmp_path / "v.h5", image=image, labels=labels)
        given = self._given(tmp_path / "s.npz", [[5, 10, 5], [5, 149, 5]], [8, 8])
        stage = ImportStage(name="v", volume={"split": "train", "skeletons": given, **_of(path, "image", "labels")})
        for step in ("plan", "0/2", "1/2"):
            import_volume(stage, tmp_path / "out", run=Run(Budget(4000), Step.parse(step)))
        assert read == []
        import_volume(stage, tmp_path / "out", run=Run(Budget(4000), Step.parse("finish/2")))
        assert len(read) == 1

    def test_those_off_their_labels_are_refused(self, tmp_path, image, labels):
        path = _h5(tmp_path / "v.h5", image=image, labels=labels)
        given = self._given(tmp_path / "s.npz", [[10, 10, 1], [11, 140, 1]], [8, 8])
        with pytest.raises(UserError, match=r"skeletons: 0% of the nodes of .*s\.npz"):
            _import(tmp_path / "out", skeletons=given, **_of(path, "image", "labels"))
        assert not (tmp_path / "out" / "volume.json").exists()


class TestInterruption:
    @pytest.fixture
    def path(self, tmp_path, image, labels) -> Path:
        return _h5(tmp_path / "v.h5", image=image, labels=labels)

    @pytest.fixture
    def converted(self, monkeypatch) -> list[int]:
        """The blocks that are converted from here on: 0 and 1 of the image, 2 and 3 of the labels."""
        blocks: list[int] = []
        convert = VolumeImport.convert

        def counted(self: VolumeImport, index: int) -> list[Path]:
            blocks.append(index)
            return convert(self, index)

        monkeypatch.setattr(VolumeImport, "convert", counted)
        return blocks

    def _ended_in(self, block: int, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        convert = VolumeImport.convert

        def ended(self: VolumeImport, index: int) -> list[Path]:
            if index == block:
                raise error
            return convert(self, index)

        with monkeypatch.context() as patch:
            patch.setattr(VolumeImport, "convert", ended)
            with pytest.raises(type(error)):
                _import(folder, **_of(path, "image", "labels"))
        with pytest.raises(UserError, match=r"cannot read .*volume\.json"):
            Volume.open(folder)

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("cannot write labels: No space left on device")])
    def test_an_import_ended_midway_leaves_no_volume_and_goes_on(self, tmp_path, path, monkeypatch, converted, error):
        self._ended_in(2, tmp_path / "out", path, monkeypatch, error)
        assert converted == [0, 1]
        volume = _import(tmp_path / "out", **_of(path, "image", "labels"))
        assert converted == [0, 1, 2, 3]
        assert volume.content == _import(tmp_path / "undisturbed", **_of(path, "image", "labels")).content

    def test_a_source_that_was_edited_meanwhile_starts_anew(self, tmp_path, path, image, labels, monkeypatch):
        self._ended_in(2, tmp_path / "out", path, monkeypatch, KeyboardInterrupt())
        _h5(tmp_path / "edited.h5", image=255 - image, labels=labels).replace(path)
        volume = _import(tmp_path / "out", **_of(path, "image", "labels"))
        np.testing.assert_array_equal(volume.image()[:], 255 - image)

    def test_a_source_that_is_edited_while_it_is_read_is_named(self, tmp_path, path, image, labels, monkeypatch):
        convert = VolumeImport.convert

        def edited(self: VolumeImport, index: int) -> list[Path]:
            os.utime(path, (index, index))
            return convert(self, index)

        monkeypatch.setattr(VolumeImport, "convert", edited)
        message = rf"^volume train: import train: {path} has changed while it was read; run the workflow again$"
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", **_of(path, "image", "labels"))

    def test_jobs_share_the_blocks(self, tmp_path, path, image, labels, converted):
        for text in ("plan", "1/2", "0/2", "finish/2"):
            import_volume(
                ImportStage(name="train", volume={"split": "train", **_of(path, "image", "labels")}),
                tmp_path / "out",
                run=Run(RUN.budget, Step.parse(text)),
            )
        assert converted == [2, 3, 0, 1]
        volume = Volume.open(tmp_path / "out")
        np.testing.assert_array_equal(volume.labels()[:], labels)
        assert volume.content == _import(tmp_path / "one", **_of(path, "image", "labels")).content

    def test_workers_share_the_blocks(self, tmp_path, image, labels, monkeypatch):
        monkeypatch.undo()  # workers are other processes: with blocks as they are
        image, labels = (np.concatenate([array] * 4, axis=1) for array in (image, labels))
        path = _h5(tmp_path / "v.h5", image=image, labels=labels)
        workers = _import(tmp_path / "workers", Run(Budget(memory_mb=4000, threads=2)), **_of(path, "image", "labels"))
        np.testing.assert_array_equal(workers.image()[:], image)
        np.testing.assert_array_equal(workers.labels()[:], labels)
        assert read_json(workers.folder / "complete.json")["n_blocks"] == 6
        assert workers.content == _import(tmp_path / "one", **_of(path, "image", "labels")).content

    @pytest.mark.parametrize("names", [("image",), ("image", "labels")])
    def test_a_complete_volume_needs_no_memory(self, tmp_path, path, names, converted):
        volume = _import(tmp_path / "out", **_of(path, *names))
        n = len(converted)
        for step in ("all", "plan", "finish/1"):
            assert _import(tmp_path / "out", Run(Budget(memory_mb=1), Step.parse(step)), **_of(path, *names)) == volume
        assert len(converted) == n

    def test_a_source_that_does_not_fit_is_refused(self, tmp_path, path):
        message = r"a block of the labels, \[20, 128, 30\] takes 351 MB, but the memory budget is 300 MB; give it more memory"
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", Run(Budget(memory_mb=300)), **_of(path, "image", "labels"))

    @pytest.mark.parametrize("step", ["plan", "all"])
    def test_skeletons_that_do_not_fit_are_refused_before_anything_is_written(self, tmp_path, path, step):
        run = Run(Budget(memory_mb=353), Step.parse(step))
        message = (
            r"^volume train: making skeletons of the labels in blocks of \[256, 256, 256\] takes 354 MB, but the memory budget "
            r"is 353 MB; give it more memory, or skeletons with the volume$"
        )
        with pytest.raises(UserError, match=message):
            _import(tmp_path / "out", run, **_of(path, "image", "labels"))
        assert _is_unwritten(tmp_path / "out")
        import_volume(ImportStage(name="train", volume={"split": "train", **_of(path, "image")}), tmp_path / "out", run=run)

    def test_the_largest_block_decides_how_much_memory_is_needed(self, tmp_path, image, labels, monkeypatch):
        """Labels of 8 bytes in larger blocks than the image of 1 byte, and the reverse."""
        path = _h5(tmp_path / "v.h5", image=image, labels=labels.astype(np.uint64), mask=image)

        def largest(image_vox: int, labels_vox: int, *names: str) -> LargestBlock:
            sizes = {1: image_vox, 8: labels_vox}
            grid = property(lambda self: BlockGrid(self.shape_vox, (sizes[self.dtype.itemsize],) * 3))
            monkeypatch.setattr(Source, "blocks", grid)
            volume = {"split": "train", **_of(path, "image", *names)}
            return VolumeImport(ImportStage(name="train", volume=volume), tmp_path / "out", RUN.budget).largest_block

        assert largest(64, 128, "labels") == LargestBlock("labels", (20, 128, 30), 8)
        assert largest(64, 128, "labels").need_mb == pytest.approx(3 * 8 * 20 * 128 * 30 / 1e6)
        assert largest(128, 16, "labels") == LargestBlock("image", (20, 128, 30), 1)
        assert largest(64, 128, "labels", "mask") == LargestBlock("labels", (20, 128, 30), 9)
        assert largest(64, 128) == LargestBlock("image", (20, 64, 30), 1)

    def test_a_folder_that_cannot_be_written(self, tmp_path, image):
        (tmp_path / "file").touch()
        path = _h5(tmp_path / "v.h5", image=image)
        with pytest.raises(UserError, match=r"^volume train: cannot write in .*file/out: Not a directory$"):
            _import(tmp_path / "file" / "out", **_of(path, "image"))


def test_paths_with_spaces_and_quotes(tmp_path, image, labels):
    folder = tmp_path / 'my "best" volume\'s $HOME; folder::1'
    folder.mkdir()
    path = _h5(folder / "v '1'.h5", image=image, labels=labels)
    volume = _import(folder / "out put's", **_of(path, "image", "labels"))
    found = Volume.open(folder / "out put's")
    assert found == volume
    np.testing.assert_array_equal(found.image()[:], image)
    np.testing.assert_array_equal(found.labels()[:], labels)


def test_a_synthetic_volume_is_not_imported(tmp_path):
    with pytest.raises(ValueError, match="a synthetic volume is generated, not imported"):
        _import(tmp_path / "out", kind="synthetic", shape_vox=(64, 64, 64))


class TestRealSamples:
    def test_fib25(self, tmp_path, shared_data):
        source = shared_data / "fib25" / "val.h5"
        with h5py.File(source) as file:
            image, labels = file["raw"][:, :100, :120], file["labels"][:, :100, :120]
        path = _h5(tmp_path / "crop.h5", attributes={"voxel_size_nm": [10.0, 10.0, 10.0]}, image=image, labels=labels)
        volume = _import(tmp_path / "out", **_of(path, "image", "labels"))
        np.testing.assert_array_equal(volume.image()[:], image)
        np.testing.assert_array_equal(volume.labels()[:], labels)
        skeletons = load_skeletons(volume.skeletons_file)
        voxels = nm_to_vox_floor(skeletons.node_positions_nm, volume.voxel_size_nm)
        np.testing.assert_array_equal(labels[tuple(voxels.T)], skeletons.node_skeleton_ids)

    def test_fib25_without_labels(self, tmp_path, shared_data):
        source = shared_data / "fib25" / "test_raw.h5"
        volume = _import(tmp_path / "out", image={"path": str(source), "array": "raw"})
        with h5py.File(source) as file:
            np.testing.assert_array_equal(volume.image()[:], file["raw"][:])
        assert (volume.voxel_size_nm, volume.skeletons_file) == ((10.0, 10.0, 10.0), None)

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_nisb_layout(self, tmp_path, shared_data, split):
        folder = shared_data / "nisb_layout" / split / "seed0"
        volume = _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=(10, 10, 10))
        stored = zarr.open(folder / "data.zarr", mode="r")
        labels = stored["seg"][:].transpose(2, 1, 0)
        np.testing.assert_array_equal(volume.image()[:], stored["img"][..., 0].transpose(2, 1, 0))
        np.testing.assert_array_equal(volume.labels()[:], labels)
        skeletons = load_skeletons(volume.skeletons_file)
        voxels = nm_to_vox_floor(skeletons.node_positions_nm, volume.voxel_size_nm)
        np.testing.assert_array_equal(labels[tuple(voxels.T)], skeletons.node_skeleton_ids)

    def test_nisb_layout_with_a_wrong_voxel_size(self, tmp_path, shared_data):
        folder = shared_data / "nisb_layout" / "val" / "seed0"
        with pytest.raises(
            UserError, match=r"nodes are 10 nm apart for each voxel along x, but voxel_size_nm .* is \(20\.0, 9\.0, 9\.0"
        ):
            _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=(20, 9, 9))


class TestNISBLayout:
    @pytest.fixture
    def folder(self, tmp_path, image, labels) -> Path:
        folder = tmp_path / "seed's 0"
        group = zarr.create_group(folder / "data.zarr", zarr_format=2)
        group.create_array("img", shape=(*SHAPE[::-1], 1), chunks=(16, 16, 16, 1), dtype="uint8")[:] = image.transpose(2, 1, 0)[
            ..., None
        ]
        group.create_array("seg", shape=SHAPE[::-1], chunks=(16, 16, 16), dtype="uint16")[:] = labels.transpose(2, 1, 0)
        graph = nx.Graph()
        for node, voxel in enumerate([(5, 10, 5), (5, 140, 5)]):
            graph.add_node(node, id=3, index_position=np.array(voxel), nm_position=np.array(voxel) * SIZE_NM[::-1])
        graph.add_edge(0, 1)
        (folder / "skeleton.pkl").write_bytes(pickle.dumps(graph))
        return folder

    def test_is_read_whole(self, tmp_path, folder, image, labels):
        volume = _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=SIZE_NM)
        np.testing.assert_array_equal(volume.image()[:], image)
        np.testing.assert_array_equal(volume.labels()[:], labels)
        np.testing.assert_allclose(load_skeletons(volume.skeletons_file).node_positions_nm, [[110, 105, 55], [110, 1405, 55]])

    def test_several_channels_are_refused(self, tmp_path, folder):
        shutil.rmtree(folder / "data.zarr" / "img")
        zarr.open_group(folder / "data.zarr").create_array("img", shape=(*SHAPE[::-1], 3), dtype="uint8")
        with pytest.raises(UserError, match=r"data\.zarr/img has 3 channels \(c of axes 'xyzc'\), expected 1"):
            _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=SIZE_NM)

    def test_a_pickle_that_runs_code_is_refused(self, tmp_path, folder):
        class Evil:
            def __reduce__(self) -> Any:
                return os.system, (f"touch '{tmp_path}/ran'",)

        (folder / "skeleton.pkl").write_bytes(pickle.dumps({"id": Evil()}))
        with pytest.raises(UserError, match=r"^volume train: refused to read .*skeleton\.pkl: it names posix\.system"):
            _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=SIZE_NM)
        assert not (tmp_path / "ran").exists()
        assert _is_unwritten(tmp_path / "out")

    def test_missing_metadata_is_named(self, tmp_path, folder):
        (folder / "data.zarr" / "img" / ".zarray").unlink()
        (folder / "data.zarr" / "img" / ".zattrs").unlink(missing_ok=True)
        with pytest.raises(UserError, match=r"data\.zarr/img has no zarr metadata .*; arrays in .*data\.zarr: seg;"):
            _import(tmp_path / "out", kind="nisb", path=str(folder), voxel_size_nm=SIZE_NM)


MEASURED_IMPORT = """
import resource, sys
from pathlib import Path
from pipeline_lib.artefacts import Budget, Run
from pipeline_lib.importing import import_volume
from pipeline_lib.importing import skeletons as given_skeletons
from pipeline_lib.settings.stages import ImportStage
path, skeletons, folder = sys.argv[1:]
arrays = {name: {"path": path, "array": name} for name in ("image", "labels")}
stage = ImportStage(name="v", volume={"split": "train", "skeletons": skeletons, **arrays})
import_volume(stage, Path(folder), run=Run(Budget(4000)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_volume(tmp_path):
    peaks_mb = []
    save_skeletons(tmp_path / "s.npz", Skeletons(np.zeros((0, 3)), [], []))
    for depth in (256, 768):
        with h5py.File(tmp_path / "v.h5", "w") as file:
            file.attrs["voxel_size_nm"] = SIZE_NM
            for name, dtype in (("image", "uint8"), ("labels", "int32")):
                file.create_dataset(name, shape=(depth, 256, 256), dtype=dtype, chunks=(1, 256, 256), fillvalue=1)
        command = [sys.executable, "-c", MEASURED_IMPORT, *map(str, (tmp_path / "v.h5", tmp_path / "s.npz", tmp_path / "out"))]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks_mb.append(float(run.stdout))
    added_mb = 512 * 256 * 256 * (1 + 4) / 2**20
    assert peaks_mb[1] - peaks_mb[0] < 0.25 * added_mb


def test_levels_for_viewers_are_written(tmp_path, image):
    volume = _import(tmp_path / "out", **_of(_h5(tmp_path / "v.h5", image=image), "image"))
    assert open_array(volume.folder / "image.zarr" / "1").shape == (20, 75, 15)
