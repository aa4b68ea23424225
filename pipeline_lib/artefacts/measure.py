"""What a stage cost, measured by the stage itself."""

from __future__ import annotations

import platform
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts.atomic import write_json

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class StageRecord:
    """Cost and place of one run of a stage. Peak memory, in MB (1e6 bytes), is that of the largest process: it or a child."""

    stage: str
    started: str
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    host: str = ""
    processor: str = ""
    python: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)  # that did the work elsewhere, of which the costs then are


@contextmanager
def measured(stage: str, path: Path) -> Iterator[StageRecord]:
    """Measure the block and, if it succeeds, write the record to `path`."""
    record = StageRecord(stage, datetime.now(UTC).isoformat(timespec="seconds"))
    start = time.perf_counter()
    yield record
    if record.jobs:
        record.wall_s = round(sum(job["wall_s"] for job in record.jobs), 3)
        record.peak_memory_mb = max(job["peak_memory_mb"] for job in record.jobs)
    else:
        record.wall_s = round(time.perf_counter() - start, 3)
        record.peak_memory_mb = round(largest_process_mb(), 1)
    record.host, record.processor, record.python = socket.gethostname(), _processor(), sys.version.split()[0]
    write_json(path, asdict(record))


def forget_peak_memory() -> None:
    """Let `peak_memory_mb` count from now on, where the system allows it (Linux)."""
    with suppress(OSError):
        _CLEAR_REFS.write_text("5")


def peak_memory_mb() -> float:
    """The most resident memory that this process has held, in MB (1e6 bytes)."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def largest_process_mb() -> float:
    """The most resident memory of this process or a child that has ended, in MB (1e6 bytes)."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * 1024 / 1e6


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} threads" if names else platform.processor()
