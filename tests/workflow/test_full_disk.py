"""Where the disk is full a run ends with one line that says so; with more space the same command goes on."""

import os

import pytest
from blocks_project import blocks_project
from same_results import assert_same_result
from small_disk import small_disk

STEPS_KB = [int(size) for size in os.environ.get("TEST_FULL_DISK_KB", "400 1300 2600 4700").split()]


@pytest.mark.slow
@pytest.mark.timeout(600 + 90 * len(STEPS_KB))
def test_a_full_disk_is_named_and_loses_nothing(undisturbed, tmp_path):
    workflow = blocks_project(tmp_path / "full disk")
    with small_disk(workflow.folder / "results", STEPS_KB[0]) as remount:
        for size_kb in STEPS_KB:
            remount(f"size={size_kb}k")
            shown, code = workflow.run(check=False)
            assert code != 0
            assert "No space left on device" in shown
            assert "Traceback" not in shown
        remount("size=100m")
        workflow.run()
        assert_same_result(undisturbed, workflow)
        assert not list(workflow.results().rglob("*.partial"))
        remount("ro")
        shown, code = workflow.run("--forcerun", "evaluate", check=False)
        assert code != 0
        assert "results is not a folder that can be written; give another one as `results`" in shown
        assert "Traceback" not in shown
