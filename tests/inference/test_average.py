"""The mean of several predictions of one volume."""

import numpy as np
import pytest

from pipeline_lib.artefacts import Budget, Run, Step, read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.inference import average_predictions
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array, open_array, write_box
from pipeline_lib.volumes.affinities import create_affinities, open_affinities

SHAPE, SIZE_NM = (130, 40, 135), (20.0, 10.0, 10.0)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 5, 0))
SETTINGS = PredictStage(inference=InferenceSettings(block_vox=(128, 128, 128)), patch_vox=(16, 32, 32))


@pytest.fixture
def volume(tmp_path):
    create_array(tmp_path / "volume" / "image.zarr" / "0", SHAPE, "uint8", attributes={})
    volume = Volume(tmp_path / "volume", "test", SHAPE, SIZE_NM)
    volume.save()
    return volume


def prediction(folder, values, offsets=OFFSETS):
    array = create_affinities(
        folder / "affinities.zarr" / "0", values.shape[1:], offsets_vox=offsets, voxel_size_nm=SIZE_NM, logit_scale=0.2
    )
    write_box(array, Box.of_shape(values.shape[1:]), values)
    write_json(folder / "complete.json", {"content": folder.name})
    return folder


@pytest.fixture
def predictions(tmp_path, rng):
    values = rng.integers(0, 256, (3, len(OFFSETS), *SHAPE), dtype=np.uint8)
    values[:, :, 0, 0, 0] = 255
    return values, [prediction(tmp_path / f"p{k}", values[k]) for k in range(3)]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_it_is_the_mean_rounded_to_nearest(tmp_path, volume, predictions, n):
    values, folders = predictions
    average_predictions(SETTINGS, folders[:n], volume, tmp_path / "out", run=Run(Budget(memory_mb=2000)))
    found = open_affinities(tmp_path / "out" / "affinities.zarr" / "0")
    mean = values[:n].astype(float).mean(axis=0)
    np.testing.assert_array_equal(found.array[:], np.floor(mean + 0.5))
    assert (found.offsets_vox, found.voxel_size_nm) == (OFFSETS, SIZE_NM)
    assert read_json(tmp_path / "out" / "complete.json")["mean_of"] == [str(folder) for folder in folders[:n]]


def test_it_can_be_shared_by_jobs(tmp_path, volume, predictions):
    _, folders = predictions
    average_predictions(SETTINGS, folders, volume, tmp_path / "one", run=Run(Budget(memory_mb=2000)))
    for step in ("plan", "1/2", "0/2", "finish/2"):
        average_predictions(SETTINGS, folders, volume, tmp_path / "many", run=Run(Budget(memory_mb=2000), Step.parse(step)))
    arrays = [open_array(tmp_path / name / "affinities.zarr" / "0")[:] for name in ("one", "many")]
    np.testing.assert_array_equal(*arrays)
    contents = [read_json(tmp_path / name / "complete.json")["content"] for name in ("one", "many")]
    assert contents[0] == contents[1]


def test_a_complete_mean_needs_no_memory(tmp_path, volume, predictions):
    _, folders = predictions
    for memory_mb in (2000, 1):
        average_predictions(SETTINGS, folders, volume, tmp_path / "out", run=Run(Budget(memory_mb)))


def test_mistakes(tmp_path, volume, predictions, rng):
    _, folders = predictions
    budget = Run(Budget(memory_mb=2000))
    other = prediction(tmp_path / "other", np.zeros((3, *SHAPE), np.uint8), offsets=OFFSETS[:3])
    with pytest.raises(UserError, match=r"other has shape .* and offsets .*average predictions of one volume"):
        average_predictions(SETTINGS, [*folders, other], volume, tmp_path / "out", run=budget)
    small = prediction(tmp_path / "small", np.zeros((len(OFFSETS), 16, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"small has shape \(16, 16, 16\)"):
        average_predictions(SETTINGS, [*folders, small], volume, tmp_path / "out", run=budget)
    with pytest.raises(UserError, match="average test: no prediction is given"):
        average_predictions(SETTINGS, [], volume, tmp_path / "out", run=budget)
    with pytest.raises(UserError, match=r"inference.block_vox \[128, 128, 128\] takes .* but the memory budget is 600 MB"):
        average_predictions(SETTINGS, folders, volume, tmp_path / "out", run=Run(Budget(memory_mb=600)))
    (folders[1] / "complete.json").unlink()
    with pytest.raises(UserError, match="p1 holds no complete result"):
        average_predictions(SETTINGS, folders, volume, tmp_path / "out", run=budget)
    assert not (tmp_path / "out" / "complete.json").exists()
