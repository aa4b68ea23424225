"""Where the disk is full a run ends with one line that says so; with more space the same command goes on."""

import os
import subprocess
from contextlib import contextmanager

import pytest

STEPS_KB = [int(size) for size in os.environ.get("TEST_FULL_DISK_KB", "20 400 820 1300 2600 3700").split()]


@contextmanager
def small_disk(folder, size_kb):
    """A file system of its own at `folder`; calling what comes sets its size."""
    folder.mkdir()
    options = f"size={size_kb}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system of a given size can be made here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)
