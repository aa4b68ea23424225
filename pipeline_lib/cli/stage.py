"""What every stage does around its work: one owner per folder, a log, a measured cost, a quick end with its workflow."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from pipeline_lib.artefacts import Lock, Step, measured, record_path
from pipeline_lib.artefacts.blockwise import ORPHAN_PATIENCE_S
from pipeline_lib.artefacts.workers import die_with_parent
from pipeline_lib.errors import UserError


@contextmanager
def stage(name: str, folder: Path, log: Path | None, *, step: Step | None = None) -> Iterator[None]:
    """Run a stage that owns `folder`. A UserError is shown as one line, in the log too, and ends the process with code 2.

    step: of a stage that works block by block; it owns no more of the folder than the blocks that it works on, by itself.
    """
    _end_with_parent()
    owned = Lock(folder, what=f"{name} of another run", patience_s=ORPHAN_PATIENCE_S) if step is None else nullcontext()
    record = record_path(folder, step or Step("all"))
    with _logged_to(log):
        try:
            with owned, measured(name, record):
                yield
        except KeyboardInterrupt:
            print(f"{name}: interrupted; run again to go on", file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except UserError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            raise SystemExit(2) from None


def _end_with_parent() -> None:
    """SIGTERM is an ordinary exit, so that temporary files are removed; on Linux it comes too when the workflow dies."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    die_with_parent(signal.SIGTERM)


def _exit_on_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


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
    with file:
        sys.stdout, sys.stderr = _Tee(before[0], file), _Tee(before[1], file)  # type: ignore[assignment]
        try:
            yield
        except Exception:
            import traceback

            traceback.print_exc()
            raise SystemExit(1) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


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
