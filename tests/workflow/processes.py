"""The processes of a workflow: those that work in its folder."""

import time
from contextlib import suppress

import psutil


def processes_in(folder):
    """All that live."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def stage_of(process):
    """The name of the stage that a process runs, None for workers and others."""
    with suppress(psutil.Error):
        words = process.cmdline()
        if "pipeline_lib" in words and words[words.index("pipeline_lib") - 1] == "-m":
            return words[words.index("pipeline_lib") + 1]
    return None


def kill(processes):
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def none_left_in(folder, patience_s):
    """Waits for the processes of a folder to end; those that did not."""
    end = time.monotonic() + patience_s
    while left := processes_in(folder):
        if time.monotonic() > end:
            return [(process.pid, process.cmdline()) for process in left]
        time.sleep(0.05)
    return []
