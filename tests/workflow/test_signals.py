"""Ctrl-C and SIGTERM end a workflow within seconds, with all that it started, whichever of its processes they reach."""

import os
import re
import signal
import subprocess
import time

import pytest
from blocks_project import blocks_project
from processes import none_left_in


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """One project, which goes on with each test."""
    return blocks_project(tmp_path_factory.mktemp("signals") / "a user's folder")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "at_work", "number", "send"),
    [
        ("import", "volumes/val-*/shards/*.journal", signal.SIGTERM, os.kill),
        ("train", "models/*/settings.yaml", signal.SIGINT, os.killpg),  # as a terminal sends Ctrl-C
        ("predict", "predictions/*/*/shards/0-of-2.journal", signal.SIGINT, os.kill),
        ("sweep", "sweeps/*/*/shards/*.journal", signal.SIGTERM, os.killpg),
    ],
)
def test_a_signal_ends_all_at_once(workflow, stage, at_work, number, send):
    """At the moment when the first file of the stage's work is there."""
    with subprocess.Popen(
        workflow.command(),
        cwd=workflow.folder,
        stdin=subprocess.DEVNULL,  # a question would be answered by the end of the file, and show in the output
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        while not any(workflow.results().glob(at_work)):
            assert process.poll() is None, f"{stage} did not start"
            time.sleep(0.02)
        start = time.monotonic()
        send(process.pid, number)
        shown, _ = process.communicate(timeout=30)
    assert time.monotonic() - start < 15
    assert none_left_in(workflow.folder, 5) == []
    assert process.returncode == 1
    assert "Traceback" not in shown
    assert re.search(rf"{stage}: (ended by|training was interrupted by) SIG(INT|TERM)", shown)
