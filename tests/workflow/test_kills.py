"""A run that was killed ends, when it is run again, with the result of an undisturbed one."""

import json

import numpy as np
import pytest
from small_project import SMALL, Workflow, synthetic

from pipeline_lib.volumes import open_array


def segmentations(workflow):
    found = {p.parts[-3]: open_array(p)[:] for p in workflow.results().glob("segmentations/*/*/segmentation.zarr/0")}
    assert {name.split("-")[0] for name in found} == {"val", "test"}
    return found


def assert_same_result(one, other):
    first, second = segmentations(one), segmentations(other)
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


@pytest.mark.slow
def test_killed_in_training(tmp_path):
    settings = {"training": {**SMALL["training"], "steps": 60, "validate_every_steps": 30, "save_every_s": 0.2}}
    undisturbed = Workflow(tmp_path / "undisturbed", **settings)
    undisturbed.run()
    killed = Workflow(tmp_path / "killed", **settings)
    assert killed.killed_when(lambda: any(killed.results().glob("models/*/segments/60/resume.ckpt")))
    assert not list(killed.results().glob("models/*/segments/60/checkpoint.ckpt"))
    killed.run()
    (log,) = killed.results().glob("logs/train/*.log")
    assert "continu" in log.read_text().lower()
    assert_same_result(undisturbed, killed)


@pytest.mark.slow
def test_killed_in_prediction(tmp_path):
    wide = {**SMALL["volumes"], "test": synthetic("test", 3, (32, 64, 640))}
    settings = {"volumes": wide, "inference": {"block_vox": [128, 128, 128]}}
    undisturbed = Workflow(tmp_path / "undisturbed", **settings)
    undisturbed.run()
    killed = Workflow(tmp_path / "killed", **settings)

    def done():
        """The recorded blocks, each as often as it was computed."""
        journals = [p.read_text().splitlines() for p in killed.results().glob("predictions/*/test-*/shards/*.journal")]
        return [json.loads(line)["block"] for lines in journals for line in lines if line]

    assert killed.killed_when(lambda: len(done()) >= 2)
    assert 2 <= len(done()) < 5
    killed.run()
    assert sorted(done()) == [0, 1, 2, 3, 4], "finished blocks were computed again"
    assert_same_result(undisturbed, killed)
