"""What changes under a run is noticed and named, and what follows from it is made anew."""

import os
import shutil
import time

import h5py
import numpy as np
import pytest
import yaml
from blocks_project import blocks_project
from same_results import assert_same_result

from pipeline_lib.volumes import open_array


@pytest.fixture
def workflow(undisturbed, tmp_path):
    """A finished project, to be changed."""
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    copy = blocks_project(tmp_path / "copy")
    shutil.copy2(undisturbed.folder / "val.h5", copy.folder / "val.h5")
    assert copy.planned() == {}
    return copy


@pytest.mark.slow
def test_a_finished_shard_that_is_torn_is_made_anew(undisturbed, workflow):
    shard = next(path for path in workflow.results().glob("predictions/*/*/affinities.zarr/0/c/**/*") if path.is_file())
    os.truncate(shard, shard.stat().st_size // 2)
    config = yaml.safe_load(workflow.config.read_text())
    config["segmentation"]["threshold"] = 0.5  # what was made before stays as it is
    workflow.config.write_text(yaml.safe_dump(config))
    shown, code = workflow.run(check=False)
    assert code != 0
    assert "1 of 4 blocks have changed since they were computed" in shown
    assert "run the workflow again, which makes it anew" in shown
    assert "Traceback" not in shown
    planned = workflow.planned()
    assert planned["predict"] == 1
    assert planned["predict_part"] == 1, "the job of the torn block, and no other"
    workflow.run()
    for path in undisturbed.results().glob("predictions/*/*/affinities.zarr/0"):
        made = open_array(workflow.results() / path.relative_to(undisturbed.results()))
        assert np.array_equal(made[:], open_array(path)[:])
    assert workflow.planned() == {}


def test_a_source_that_is_replaced_by_an_older_file_is_imported_again(workflow):
    source = workflow.folder / "val.h5"
    with h5py.File(source, "r+") as file:
        file["image"][3, 4, 5] ^= 1
    os.utime(source, (1, 1))
    planned = workflow.planned()
    assert planned["import_volume"] == 1
    assert {"train", "predict", "sweep", "evaluate"} <= planned.keys()


def test_a_checkpoint_that_is_replaced_is_noticed(workflow):
    checkpoint = next(workflow.results().glob("models/*/segments/12/checkpoint.ckpt"))
    shutil.copy(next(workflow.results().glob("models/*/segments/8/checkpoint.ckpt")), checkpoint)
    assert workflow.planned()["choose_checkpoint"] == 1


def test_a_clock_that_was_ahead_costs_nothing(undisturbed, workflow):
    ahead = time.time() + 24 * 3600
    for name in ("volume.json", "checkpoint.ckpt", "curve.json"):
        for path in workflow.results().rglob(name):
            os.utime(path, (ahead, ahead))
    before = sorted(path.stat().st_mtime_ns for path in workflow.results().rglob("*.journal"))
    workflow.run()
    assert workflow.planned() == {}
    assert sorted(path.stat().st_mtime_ns for path in workflow.results().rglob("*.journal")) == before
    assert_same_result(undisturbed, workflow)
