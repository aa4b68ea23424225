"""Where numba keeps compiled code: on this machine, apart for each state of the source, out of the reach of other users."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_PREFIX = "em-pipeline-compiled"


def keep_compiled_code_local() -> None:
    """Unless the user has set NUMBA_CACHE_DIR, set it to a private folder of this machine; call before numba is imported.

    By default numba writes beside the source. Where that lies on a network file system, jobs that start at once on many nodes
    find torn files there; and it notices a change of the file of a function only, not of the functions that this one calls. So
    the folder's name holds a digest of all source files. It is used only if it belongs to this user alone, since code is loaded
    from it.
    """
    given = os.environ.get(VARIABLE)
    if given and not Path(given).name.startswith(_PREFIX):
        return
    os.environ.pop(VARIABLE, None)  # inherited, perhaps from another machine: looked at anew
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}-{os.getuid()}-{_state_of_source()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        private = folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
    except OSError:
        private = False
    if private and os.access(folder, os.W_OK):
        os.environ[VARIABLE] = str(folder)
    else:
        warnings.warn(f"{folder} is no private folder, so compiled code is kept as numba does; set {VARIABLE}", stacklevel=2)


def _state_of_source() -> str:
    """Eight hex digits that change with any source file of the package, and with the version of Python."""
    root = Path(__file__).parent
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(root.rglob("*.py")):
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]
