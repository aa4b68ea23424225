"""One owner per folder, or per range of its blocks, released by death: kernel locks on a file that names its owners.

The locks are those of an open file (Linux, fcntl's F_OFD_SETLK), which a local disk and NFS both keep. Block k stands for the
bytes of slot k of the file, where its owner's name is written; a lock on the whole folder covers all slots:

    slot       |   0   |   1   |   2   |   3   | ...
               |<- job 0/2 --->|<- job 1/2 --->|
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from pipeline_lib.errors import UserError

_SLOT_BYTES = 128
_STRUCT_FLOCK = "hhqqixxxx"  # type, whence, start, length (0: to the end of all), process


class Lock:
    """Context manager that owns `folder`, or the blocks of it that are given, while it is open.

    Another owner is waited for `patience_s` (a stage whose workflow was killed may still be ending); then a UserError names it.
    So does one the folder where its file system keeps no locks.
    The lock file stays behind: removing it would let two owners lock two files of one name.
    """

    def __init__(self, folder: Path, *, what: str, patience_s: float = 0.0, blocks: range | None = None) -> None:
        self.path = folder / ".lock"
        self.what = what
        self.patience_s = patience_s
        self._start = blocks.start * _SLOT_BYTES if blocks is not None else 0
        self._length = len(blocks) * _SLOT_BYTES if blocks is not None else 0
        self._is_empty = blocks is not None and not len(blocks)  # a length of 0 would mean everything
        self._fd: int | None = None

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"cannot write in {self.path.parent}: {error.strerror or error}") from error
        try:
            if not self._is_empty:
                self._wait_for(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def _wait_for(self, fd: int) -> None:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, self._request())
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline:
                    message = f"{self.path.parent} is in use by {self._owner(fd)}; wait for it or end it, then run again"
                    raise UserError(message) from None
                time.sleep(0.2)
            except OSError as error:
                raise UserError(
                    f"cannot lock {self.path.parent}: {error.strerror or error}; its file system keeps no locks of files: put "
                    "it on one that does, such as a local disk, NFS with its lock service, or Lustre mounted with flock"
                ) from error
        name = f"{self.what}, process {os.getpid()} on {socket.gethostname()}".encode()[: _SLOT_BYTES - 1]
        try:
            os.pwrite(fd, name.ljust(_SLOT_BYTES - 1) + b"\n", self._start)
        except OSError as error:
            raise UserError(f"cannot write in {self.path.parent}: {error.strerror or error}") from error

    def _request(self) -> bytes:
        return struct.pack(_STRUCT_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, self._start, self._length, 0)

    def _owner(self, fd: int) -> str:
        """What the owner of the first lock in the way has written."""
        kind, _, start, _, _ = struct.unpack(_STRUCT_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, self._request()))
        name = os.pread(fd, _SLOT_BYTES, start).decode(errors="replace").strip() if kind != fcntl.F_UNLCK else ""
        return name or "another process"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
