"""What every stage does around its work: one owner per folder, a log, a measured cost, a quick end with its workflow."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pipeline_lib.artefacts import Lock, StageRecord, Step, measured, record_path
from pipeline_lib.artefacts.atomic import remove_leftovers
from pipeline_lib.artefacts.blockwise import ORPHAN_PATIENCE_S
from pipeline_lib.artefacts.processes import die_with_parent
from pipeline_lib.errors import UserError

_ENDING_S = 5.0  # for which further signals are ignored


@contextmanager
def stage(name: str, folder: Path, log: Path | None, *, step: Step | None = None) -> Iterator[StageRecord]:
    """Run a stage that owns `folder`, and give its record.

    A UserError is shown as one line, in the log too, and ends the process with code 2.

    step: of a stage that works block by block; it owns no more of the folder than the blocks that it works on, by itself.
    """
    with _ended_by_signals(), _logged_to(log):
        try:
            _end_with_workflow()
            with (
                _owned(name, folder) if step is None else nullcontext(),
                measured(name, record_path(folder, step or Step("all"))) as record,
            ):
                yield record
        except _Ended as ended:
            print(f"{name}: ended by {ended.signal.name}; run again to go on", file=sys.stderr)
            raise SystemExit(128 + ended.signal) from None
        except UserError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            raise SystemExit(2) from None


@contextmanager
def _owned(name: str, folder: Path) -> Iterator[None]:
    with Lock(folder, what=f"{name} of another run", patience_s=ORPHAN_PATIENCE_S):
        remove_leftovers(folder)
        yield


class _Ended(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM leave this block as exceptions, so that workers and temporary files are removed on the way.

    What comes within seconds after the first does not disturb that: a terminal and the workflow may both tell.
    """
    last = -math.inf

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _ENDING_S:
            raise _Ended(number)

    handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end_with_workflow() -> None:
    """The workflow tells each stage its process; when that dies, however it does, SIGTERM comes (Linux)."""
    workflow = os.environ.get("PIPELINE_WORKFLOW")
    if workflow is not None:
        die_with_parent(signal.SIGTERM, int(workflow))


@contextmanager
def _logged_to(log: Path | None) -> Iterator[None]:
    if log is None:
        yield
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        print(f"error: cannot write the log {log}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    before = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = _Tee(before[0], file), _Tee(before[1], file)  # type: ignore[assignment]
        try:
            yield
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before
    finally:
        with suppress(OSError):  # a full disk
            file.close()


class _Tee:
    """Writes to the terminal as is, and to the log line by line: of a progress bar that redraws itself only the last state."""

    def __init__(self, terminal: IO[str], log: IO[str]) -> None:
        self._terminal = terminal
        self._log = log
        self._line = ""

    def write(self, text: str) -> int:
        self._terminal.write(text)
        self._line += text
        *lines, self._line = self._line.split("\n")
        with suppress(OSError):  # a full disk ends the work where a result cannot be written, not where its log cannot
            for line in lines:
                self._log.write(line.rstrip("\r").rsplit("\r", 1)[-1] + "\n")
        self._line = self._line.rsplit("\r", 1)[-1] if not self._line.endswith("\r") else self._line
        return len(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)
