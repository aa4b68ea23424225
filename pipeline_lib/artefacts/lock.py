"""One owner per folder, released by death: a kernel lock (flock) on a file that names its owner."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from pipeline_lib.errors import UserError


class Lock:
    """Context manager that owns `folder` while it is open.

    Another owner is waited for `patience_s` (a stage whose workflow was killed may still be ending); then a UserError names it.
    The lock file stays behind: removing it would let two owners lock two files of one name.
    """

    def __init__(self, folder: Path, *, what: str, patience_s: float = 0.0) -> None:
        self.path = folder / ".lock"
        self.what = what
        self.patience_s = patience_s
        self._fd: int | None = None

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"cannot write in {self.path.parent}: {error.strerror or error}") from error
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
                    os.close(fd)
                    message = f"{self.path.parent} is in use by {owner}; wait for it or end it, then run again"
                    raise UserError(message) from None
                time.sleep(0.2)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{self.what}, process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
