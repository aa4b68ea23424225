"""Ends a cluster of tests when the process that started it ends: its standard input closes then."""

import sys
import time
from contextlib import suppress

import psutil
from slurm_cluster import processes_of

if __name__ == "__main__":
    sys.stdin.read()
    # Twice nothing: one process may just have started another.
    quiet = 0
    while quiet < 2:
        left = processes_of(sys.argv[1])
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        quiet = 0 if left else quiet + 1
        time.sleep(0.05)
