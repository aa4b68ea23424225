"""Where numba keeps compiled code: on this machine, out of the reach of other users."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def keep_compiled_code_local() -> None:
    """Unless NUMBA_CACHE_DIR is set, set it to a folder of this user on this machine; call before numba loads.

    By default numba writes beside the source. Where that lies on a network file system, jobs that start at once on many nodes
    find torn or stale files there. The folder is used only if it belongs to this user alone, since code is loaded from it.
    """
    if os.environ.get(VARIABLE):
        return
    folder = Path(tempfile.gettempdir()) / f"em-pipeline-compiled-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return  # left to numba, which falls back to a folder that it can write
    private = found.st_uid == os.getuid() and (found.st_mode & 0o077) == 0 and not folder.is_symlink()
    if private and os.access(folder, os.W_OK):
        os.environ[VARIABLE] = str(folder)
