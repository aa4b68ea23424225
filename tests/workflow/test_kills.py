"""A run that was killed, at whatever moment, ends with the result of an undisturbed one when it is run again."""

import os
import shutil

import pytest
from blocks_project import blocks_project
from killing import STAGES, TARGETS, killed, passes
from processes import none_left_in
from same_results import assert_same_result

SEED = 20261125
KILLS = int(os.environ.get("TEST_KILLS", "8"))  # `make test-kills` asks for more


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * KILLS)
def test_any_kill_at_any_moment(undisturbed, tmp_path):
    assert set(undisturbed.durations_s) == set(STAGES)
    workflow = blocks_project(tmp_path / "killed folder")
    done = []
    for planned in passes(undisturbed.durations_s, 3 if KILLS > 10 else 1, SEED):
        for kill in planned:
            hit = killed(workflow, kill)
            print(f"{len(done)}: {hit or f'ended before {kill}'}", flush=True)
            done += [hit] if hit else []
        out, _ = workflow.run()
        assert "Traceback" not in out
        assert none_left_in(workflow.folder, 1) == []
        assert_same_result(undisturbed, workflow)
        assert workflow.planned() == {}
        assert not list(workflow.results().rglob("*.partial"))
        if len(done) >= KILLS:
            break
        shutil.rmtree(workflow.folder)
        workflow = blocks_project(workflow.folder)
    if KILLS >= 100:
        assert {kill.stage for kill in done} == set(STAGES)
        assert {kill.target for kill in done} == set(TARGETS)
