"""A file system so small that it can be filled."""

import subprocess
from contextlib import contextmanager

import pytest


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
