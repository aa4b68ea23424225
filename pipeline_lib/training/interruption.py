"""What asks training to stop, a signal or the end of its job's time: remembered here, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from pipeline_lib.artefacts.processes import STOP_SIGNALS
from pipeline_lib.errors import UserError

TIME_LIMIT = "the time limit"
_BEFORE_TIME_LIMIT = "SIGUSR2"  # which jobs of the launcher submitit ask Slurm for


class StoppedError(UserError):
    """Training was stopped and is saved; `reason` is the name of a signal or TIME_LIMIT."""

    def __init__(self, reason: str, *, step: int, end_step: int) -> None:
        self.reason = reason
        super().__init__(
            f"training was interrupted by {reason} at step {step} of {end_step} and is saved; "
            "run the same command again to continue"
        )


class StopRequest:
    """Context manager in which the signals only set `received`. Outside the main thread signals stay as they are.

    ends_at_s: when the job that this process is part of will be ended, in seconds since the epoch; None: never.
    margin_s: how long before that it shall stop.
    """

    def __init__(self, *, ends_at_s: float | None = None, margin_s: float = 0.0) -> None:
        self.received: str | None = None
        self.ends_at_s = ends_at_s
        self._margin_s = margin_s
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

    def look_at_clock(self, step_s: float) -> None:
        """Request a stop where the time that is left may not suffice for another step of `step_s` and its saving."""
        if self.received is None and self.ends_at_s is not None and time.time() + step_s + self._margin_s > self.ends_at_s:
            self.received = TIME_LIMIT

    def _remember(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.received = TIME_LIMIT if name == _BEFORE_TIME_LIMIT else name
