import numpy as np
import pytest

from pipeline_lib.artefacts import Budget, Run, write_json
from pipeline_lib.geometry import Box
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array, write_box
from pipeline_lib.volumes.affinities import create_affinities

RUN = Run(Budget(memory_mb=2000))
SHAPE, SIZE_NM = (12, 24, 24), (20.0, 10.0, 10.0)


def truth():
    """Two slabs of neurons along x, each with a straight skeleton."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[:, :12], labels[:, 12:] = 1, 2
    voxels = np.array([[6, y, x] for y in (5, 18) for x in range(0, 24, 3)])
    edges = [[i, i + 1] for i in range(15) if i != 7]
    return labels, Skeletons((voxels + 0.5) * SIZE_NM, np.repeat([1, 2], 8), edges)


def affinities_of(labels, *, border):
    """Affinity 0.9 inside neurons and `border` between them, as stored bytes."""
    stored = np.zeros((3, *labels.shape), np.uint8)
    for axis in range(3):
        ahead = np.roll(labels, -1, axis)
        stored[axis] = np.where(ahead == labels, round(255 * 0.9), round(255 * border))
        stored[axis][tuple(slice(-1, None) if a == axis else slice(None) for a in range(3))] = 0
    return stored


@pytest.fixture
def volume(tmp_path):
    """An imported volume with labels and skeletons."""
    labels, skeletons = truth()
    folder = tmp_path / "volumes" / "val-00000000"
    image = create_array(folder / "image.zarr" / "0", SHAPE, "uint8", attributes={})
    array = create_array(folder / "labels.zarr" / "0", SHAPE, "uint32", attributes={})
    write_box(image, Box.of_shape(SHAPE), np.zeros(SHAPE, np.uint8))
    write_box(array, Box.of_shape(SHAPE), labels)
    save_skeletons(folder / "skeletons.npz", skeletons)
    made = Volume(folder, "val", SHAPE, SIZE_NM, labels_path="labels.zarr/0", skeletons_path="skeletons.npz")
    made.save()
    return made


@pytest.fixture
def prediction(tmp_path):
    """Predicted affinities that join the two neurons below a threshold of 0.6."""
    folder = tmp_path / "predictions" / "best" / "val-00000000"
    path = folder / "affinities.zarr" / "0"
    array = create_affinities(
        path, SHAPE, offsets_vox=[(1, 0, 0), (0, 1, 0), (0, 0, 1)], voxel_size_nm=SIZE_NM, logit_scale=0.2
    )
    write_box(array, Box.of_shape(SHAPE), affinities_of(truth()[0], border=0.6))
    write_json(folder / "complete.json", {"content": "of two slabs"})
    return folder
