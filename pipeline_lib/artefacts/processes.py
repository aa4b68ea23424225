"""Processes that end together: a stage with its workflow, workers with their stage."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType

import psutil

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 15.0
_COMMANDS_OF_THE_END = ("squeue", "scancel")  # by which the workflow cancels its jobs on a cluster


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Let the system send this signal when process `parent`, which started this one, ends; at once if it has ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
        if not psutil.pid_exists(parent):  # it died before it was watched
            signal.raise_signal(number)


def end_children_on_signals() -> None:
    """From now on SIGINT and SIGTERM end all children of this process and raise KeyboardInterrupt.

    For the workflow: Snakemake itself waits for the jobs that run, which may take days, and starts some that are due. A stage
    in a long call of compiled code hears of a signal at its end; it is killed after a while, which loses no more than a block.
    """
    ending = threading.Event()

    def end_children() -> None:
        start = time.monotonic()
        while True:
            for child in psutil.Process().children():
                with suppress(psutil.Error):
                    if child.name() in _COMMANDS_OF_THE_END:
                        continue
                    child.terminate() if time.monotonic() - start < _PATIENCE_S else child.kill()
            time.sleep(0.5)

    def end(number: int, frame: FrameType | None) -> None:
        if not ending.is_set():
            ending.set()
            threading.Thread(target=end_children, daemon=True).start()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


@contextmanager
def children_ignore_stop_signals() -> Iterator[None]:
    """Processes started in this block never see the signals: a terminal and Slurm send them to a whole group, where the stage
    alone shall answer. Signals that arrive meanwhile reach this process at the end of the block."""
    resource_tracker.ensure_running()  # multiprocessing starts it with the first child, and unblocks signals after that
    with _answered_later():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _answered_later() -> Iterator[None]:
    """A mask holds for one thread: a signal that another thread takes would run its handler in the middle of the block."""
    arrived: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # in no other thread does a handler ever run
    replaced = {n: handler for n in STOP_SIGNALS if is_main and callable(handler := signal.getsignal(n))}
    for number in replaced:
        signal.signal(number, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for signalled in arrived:
            signal.raise_signal(signalled)
