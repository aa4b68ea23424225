"""What each start of a submitted training cost and how it ended: a file each, written by the job itself."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline_lib.artefacts import read_json, write_json
from pipeline_lib.artefacts.measure import largest_process_mb
from pipeline_lib.errors import UserError

COMPLETED, MISTAKE = "completed", "mistake"


@dataclass
class Attempt:
    """From one start of a job to its next requeue, or to its end.

    restart: 0, or the how many-th requeue it follows. digest: of what decides the weights. wall_s and peak_memory_mb (of the
    largest process of the first task) are 0 where it was killed. ended: COMPLETED, MISTAKE, which trying again does not mend,
    what interrupted it, or empty while it runs and where it was killed.
    """

    job: str
    restart: int
    digest: str
    log: str
    host: str = ""
    started: str = ""
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    ended: str = ""
    message: str = ""

    @classmethod
    def of_this_job(cls, digest: str, log: Path) -> Attempt:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        job, restart = os.environ["SLURM_JOB_ID"], int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        return cls(job, restart, digest, str(log), host=socket.gethostname(), started=started)

    def write(self, folder: Path) -> None:
        write_json(folder / f"{self.job}-{self.restart}.json", asdict(self))

    def end(self, folder: Path, ended: str, start_s: float, message: str = "") -> None:
        """start_s: by time.monotonic."""
        self.ended, self.message = ended, message
        self.wall_s = round(time.monotonic() - start_s, 3)
        self.peak_memory_mb = round(largest_process_mb(), 1)
        self.write(folder)


def read_attempts(folder: Path) -> list[Attempt]:
    """In the order of their starts."""
    found = []
    for path in folder.glob("*-*.json"):
        try:
            found.append(Attempt(**read_json(path)))
        except (UserError, TypeError):
            continue  # of another version
    return sorted(found, key=lambda attempt: (attempt.started, int(attempt.job), attempt.restart))


def last_of(folder: Path, job: str) -> Attempt | None:
    mine = [attempt for attempt in read_attempts(folder) if attempt.job == job]
    return mine[-1] if mine else None
