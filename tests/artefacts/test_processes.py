"""Processes that end together."""

import os
import signal
import threading

import pytest

from pipeline_lib.artefacts.processes import children_ignore_stop_signals


@pytest.mark.parametrize("by_another_thread", [False, True])
def test_a_signal_is_answered_after_children_have_started(by_another_thread):
    """Whichever thread of this process takes it: numeric libraries have some that mask nothing."""
    answered = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: answered.append(number))
    release = threading.Event()
    other = threading.Thread(target=release.wait, daemon=True)
    other.start()
    try:
        with children_ignore_stop_signals():
            signal.pthread_kill(other.ident if by_another_thread else threading.get_ident(), signal.SIGTERM)
            os.sched_yield()
            assert answered == []
        assert answered == [signal.SIGTERM]
    finally:
        release.set()
        signal.signal(signal.SIGTERM, before)
