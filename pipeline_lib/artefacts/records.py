"""Which blocks of an artefact are done, and the files that hold them, with checksums.

A job appends a line to its journal for each block whose files are on disk. A line that a kill has torn, or that belongs to
another plan, counts as nothing; the blocks in it are done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline_lib.artefacts.workers import BlockDone
from pipeline_lib.errors import UserError

# Of each file: bytes, time of its last change in ns, checksum; None where there is none, as of a shard that is 0 everywhere.
Files = dict[str, tuple[int, int, str] | None]


@dataclass(frozen=True)
class BlockRecord:
    """files: by their path relative to the artefact's folder."""

    block: int
    files: Files
    wall_s: float
    peak_memory_mb: float

    @classmethod
    def of(cls, done: BlockDone, folder: Path) -> BlockRecord:
        """Read the files of a block that was just written, and note what they hold."""
        return cls(done.block, facts_of(folder, done.files), done.wall_s, done.peak_memory_mb)

    def is_intact(self, folder: Path, *, trust_time: bool) -> bool:
        """Whether all files are as they were written. trust_time: do not read those of the same size and time of change."""
        return are_intact(folder, self.files, trust_time=trust_time)


@dataclass(frozen=True)
class Records:
    """The journals in `folder/shards`. `digest` stands for all that the blocks are computed from, and in which grid."""

    folder: Path
    digest: str

    def read(self) -> dict[int, BlockRecord]:
        """The recorded blocks of this digest, whatever jobs have written them."""
        found: dict[int, BlockRecord] = {}
        for path in sorted(self.shards.glob("*.journal")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                record = self._parsed(line)
                if record is None:
                    continue
                before = found.get(record.block)
                if before is None or before == record or not before.is_intact(self.folder, trust_time=True):
                    found[record.block] = record  # of several, which jobs of other divisions wrote, the one of the files
        return found

    def _parsed(self, line: str) -> BlockRecord | None:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            told = json.loads(line)
            if told.pop("digest") == self.digest:
                files = {name: tuple(facts) if facts is not None else None for name, facts in told.pop("files").items()}
                return BlockRecord(files=files, **told)
        return None

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    def journal(self, name: str) -> Journal:
        return Journal(self.shards / f"{name}.journal", self.digest)


class Journal:
    """Context manager to append to the journal of one job."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.digest = digest

    def __enter__(self) -> Journal:
        with _named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="utf-8")
            self._start = self._file.tell()
            if self._file.tell() > 0:
                self._file.write("\n")  # after a line that may be torn
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # a full disk has been told of
            self._file.close()

    def append(self, record: BlockRecord) -> None:
        with _named(self.path):
            self._file.write(json.dumps({"digest": self.digest, **as_json(record)}, separators=(",", ":")) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def take_back(self) -> None:
        """Forget what was appended since it was opened."""
        with _named(self.path):
            self._file.truncate(self._start)


def as_json(record: BlockRecord) -> dict[str, Any]:
    return {
        "block": record.block,
        "files": record.files,
        "wall_s": record.wall_s,
        "peak_memory_mb": record.peak_memory_mb,
    }


def content_of(records: Iterable[BlockRecord]) -> str:
    """A digest of the content of all files, whenever and in whatever jobs they were written."""
    files = sorted((name, facts and facts[2]) for record in records for name, facts in record.files.items())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def checksum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def facts_of(folder: Path, files: Iterable[Path]) -> Files:
    """Of files that were just written, by their path relative to `folder`."""
    return {str(path.relative_to(folder)): _facts(path) for path in files}


def are_intact(folder: Path, files: Mapping[str, Sequence[Any] | None], *, trust_time: bool) -> bool:
    return all(_is_intact(folder / name, facts, trust_time=trust_time) for name, facts in files.items())


def _facts(path: Path) -> tuple[int, int, str] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    with _named(path):
        return found.st_size, found.st_mtime_ns, checksum(path)


def _is_intact(path: Path, facts: Sequence[Any] | None, *, trust_time: bool) -> bool:
    try:
        found = path.stat()
    except OSError:
        return facts is None
    if facts is None or found.st_size != facts[0]:
        return False
    return (trust_time and found.st_mtime_ns == facts[1]) or checksum(path) == facts[2]


class _named:  # noqa: N801  used like a function
    """What the system reports becomes a UserError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error
