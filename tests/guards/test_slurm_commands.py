"""Slurm's commands, where they are installed, do not hold up the tests that have nothing to do with a cluster."""

import shutil
import subprocess
import time

import pytest


@pytest.mark.skipif(shutil.which("scontrol") is None, reason="Slurm is not installed")
def test_they_fail_at_once():
    start = time.monotonic()
    assert subprocess.run(["scontrol", "show", "config"], capture_output=True, check=False).returncode != 0
    assert time.monotonic() - start < 1
