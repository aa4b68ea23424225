"""Signals that ask training to stop: remembered here, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from pipeline_lib.artefacts.processes import STOP_SIGNALS


class StopRequest:
    """Context manager in which the signals only set `received`. Outside the main thread signals stay as they are."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take the signals over (again: Lightning installs handlers of its own when it starts)."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                before = signal.signal(number, self._remember)
                self._before.setdefault(number, before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
