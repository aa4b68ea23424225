"""One of several slabs of a volume: as if its file held no more."""

import h5py
import numpy as np
import pytest
import zarr

from pipeline_lib.artefacts import Budget, Run
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.importing import import_volume
from pipeline_lib.settings import parse_project
from pipeline_lib.settings.jobs import shape_of
from pipeline_lib.settings.stages import ImportStage
from pipeline_lib.settings.volumes import Slab, SyntheticVolume
from pipeline_lib.skeletons import Skeletons, load_skeletons, save_skeletons
from pipeline_lib.synthetic import generate, generate_volume
from pipeline_lib.volumes import Volume

SHAPE, SIZE_NM = (20, 33, 30), (20.0, 10.0, 5.0)
RUN = Run(Budget(memory_mb=4000))


def imported(folder, **volume):
    import_volume(ImportStage(name="cube", volume={"split": "train", **volume}), folder, run=RUN)
    return Volume.open(folder)


@pytest.fixture
def arrays(rng):
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:18, :, 2:14] = 3
    labels[12:, :, 14:] = 500
    return {"image": rng.integers(0, 256, SHAPE, dtype=np.uint8), "labels": labels}


@pytest.fixture
def skeletons():
    """Neuron 3 along y in steps of a voxel, and a node of neuron 500."""
    y = np.arange(33)
    along = np.stack([np.full(33, 205.0), 10 * y + 5.0, np.full(33, 27.5)], axis=1)
    return Skeletons(
        np.concatenate([along, [[305, 5, 100]]]), np.concatenate([np.full(33, 3), [500]]), np.stack([y[:-1], y[1:]], axis=1)
    )


@pytest.mark.parametrize(
    ("axis", "index", "span"), [("z", 1, (6, 13)), ("y", 0, (0, 11)), ("y", 2, (22, 33)), ("x", 1, (10, 20))]
)
def test_a_slab_of_a_file_in_any_order_of_axes(tmp_path, arrays, axis, index, span):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.transpose(2, 1, 0), chunks=(7, 9, 11))
    named = {name: {"path": str(tmp_path / "v.h5"), "array": name} for name in arrays}
    slab = {"axis": axis, "of": 3, "index": index}
    volume = imported(tmp_path / "out", **named, axes="xyz", voxel_size_nm=SIZE_NM, slab=slab)
    part = tuple(slice(*span) if a == axis else slice(None) for a in "zyx")
    np.testing.assert_array_equal(volume.image()[:], arrays["image"][part])
    np.testing.assert_array_equal(volume.labels()[:], arrays["labels"][part])
    assert volume.shape_vox == arrays["image"][part].shape


def test_skeletons_keep_what_lies_inside(tmp_path, arrays, skeletons):
    save_skeletons(tmp_path / "s.npz", skeletons)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    named = {name: {"path": str(tmp_path / "v.h5"), "array": name} for name in arrays}
    slab = {"axis": "y", "of": 3, "index": 1}
    volume = imported(tmp_path / "out", **named, voxel_size_nm=SIZE_NM, skeletons=str(tmp_path / "s.npz"), slab=slab)
    found = load_skeletons(volume.skeletons_file)
    np.testing.assert_array_equal(found.node_positions_nm, skeletons.node_positions_nm[11:22] - [0, 110, 0])
    assert set(found.node_skeleton_ids) == {3}
    np.testing.assert_array_equal(found.edges, np.stack([np.arange(10), np.arange(1, 11)], axis=1))


class TestNodesOnVoxelFaces:
    """Voxels of 33.3 nm: node z is where voxel z begins, by a sum that floating point may round to below the face."""

    SIZE_NM = (33.3, 33.3, 33.3)
    SHAPE = (18, 6, 5)

    @pytest.fixture
    def given(self, tmp_path):
        """The nodes, and settings that name their file and that of image and labels."""
        sums = [min((a * 33.3 + (z - a) * 33.3 for a in range(z)), key=lambda s, z=z: s - z * 33.3) for z in range(1, 18)]
        z_nm = np.array([-1e-9, *sums])
        assert np.any(z_nm[1:] < np.arange(1, 18) * 33.3), "none lies below its face"
        skeletons = Skeletons(
            np.stack([z_nm, np.full(18, 2 * 33.3), np.zeros(18)], axis=1), np.full(18, 3), [[z, z + 1] for z in range(17)]
        )
        save_skeletons(tmp_path / "s.npz", skeletons)
        with h5py.File(tmp_path / "v.h5", "w") as file:
            file["image"], file["labels"] = np.zeros(self.SHAPE, np.uint8), np.full(self.SHAPE, 3, np.uint16)
        named = {name: {"path": str(tmp_path / "v.h5"), "array": name} for name in ("image", "labels")}
        return skeletons, {**named, "voxel_size_nm": self.SIZE_NM, "skeletons": str(tmp_path / "s.npz")}

    @pytest.mark.parametrize("n_slabs", [2, 3, 6])
    def test_each_is_in_the_slab_of_its_voxel(self, tmp_path, given, n_slabs):
        _, named = given
        for index in range(n_slabs):
            volume = imported(tmp_path / str(index), **named, slab={"of": n_slabs, "index": index})
            found, depth = load_skeletons(volume.skeletons_file), 18 // n_slabs
            voxels = nm_to_vox_floor(found.node_positions_nm, self.SIZE_NM)
            np.testing.assert_array_equal(voxels, [[z, 2, 0] for z in range(depth)])
            np.testing.assert_array_equal(found.edges, [[z, z + 1] for z in range(depth - 1)])

    def test_a_whole_volume_keeps_them_as_they_are(self, tmp_path, given):
        skeletons, named = given
        found = load_skeletons(imported(tmp_path / "out", **named).skeletons_file)
        np.testing.assert_array_equal(found.node_positions_nm, skeletons.node_positions_nm)
        np.testing.assert_array_equal(found.edges, skeletons.edges)


def test_a_slab_of_a_zarr_image_is_copied(tmp_path, arrays):
    """The whole would be used where it lies."""
    zarr.create_array(tmp_path / "v.zarr", shape=SHAPE, chunks=(16, 16, 16), dtype="uint8")[:] = arrays["image"]
    volume = imported(
        tmp_path / "out", image={"path": str(tmp_path / "v.zarr")}, voxel_size_nm=SIZE_NM, slab={"of": 2, "index": 1}
    )
    assert volume.image_path == "image.zarr/0"
    np.testing.assert_array_equal(volume.image()[:], arrays["image"][10:])


def test_slabs_of_a_synthetic_volume_are_parts_of_it(tmp_path):
    whole = generate((24, 48, 50), voxel_size_nm=SIZE_NM, seed=3)
    found = []
    for index in range(3):
        settings = SyntheticVolume(
            split="train", shape_vox=(24, 48, 50), voxel_size_nm=SIZE_NM, seed=3, slab={"axis": "x", "of": 3, "index": index}
        )
        generate_volume("cube", settings, tmp_path / str(index), run=RUN)
        found.append(Volume.open(tmp_path / str(index)))
    np.testing.assert_array_equal(np.concatenate([volume.image()[:] for volume in found], axis=2), whole.image)
    np.testing.assert_array_equal(np.concatenate([volume.labels()[:] for volume in found], axis=2), whole.labels)
    nodes = [load_skeletons(volume.skeletons_file).node_positions_nm for volume in found]
    shifted = [part + np.array([0, 0, 5.0 * start]) for part, start in zip(nodes, (0, 16, 33), strict=True)]
    expected = whole.skeletons.node_positions_nm
    np.testing.assert_allclose(np.sort(np.concatenate(shifted), axis=0), np.sort(expected, axis=0))


def test_a_complete_synthetic_volume_needs_no_memory(tmp_path):
    settings = SyntheticVolume(split="train", shape_vox=(24, 48, 50), voxel_size_nm=SIZE_NM)
    with pytest.raises(UserError, match=r"a synthetic volume of 24 x 48 x 50 voxels takes 351 MB, .*make volumes\.cube"):
        generate_volume("cube", settings, tmp_path, run=Run(Budget(memory_mb=1)))
    for memory_mb in (4000, 1):
        generate_volume("cube", settings, tmp_path, run=Run(Budget(memory_mb)))


def test_the_number_of_jobs_follows_from_the_slab():
    volume = SyntheticVolume(split="train", shape_vox=(100, 60, 40), slab={"axis": "z", "of": 3, "index": 2})
    assert shape_of(volume) == (34, 60, 40)


def test_slabs_cover_the_volume_once():
    spans = [Slab(axis="y", of=7, index=k).within((5, 33, 9)) for k in range(7)]
    assert [start[1] for start, _ in spans] == [0, *(stop[1] for _, stop in spans[:-1])]
    assert spans[-1][1] == (5, 33, 9)


def test_mistakes(tmp_path, arrays):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["image"] = arrays["image"]
    image = {"path": str(tmp_path / "v.h5"), "array": "image"}
    with pytest.raises(UserError, match=r"volume cube: .*too small for 40 slabs along z"):
        imported(tmp_path / "out", image=image, voxel_size_nm=SIZE_NM, slab={"of": 40, "index": 0})
    synthetic = {"kind": "synthetic", "split": "train", "shape_vox": [9, 9, 9], "slab": {"of": 2, "index": 2}}
    with pytest.raises(UserError, match=r"volumes.train.slab: index must be below `of`, 2, got 2"):
        parse_project({"project": "p", "volumes": {"train": synthetic, "val": {**synthetic, "split": "val"}}})
