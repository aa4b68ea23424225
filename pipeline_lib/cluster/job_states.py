"""What Slurm says of one job, by squeue, which needs no accounting."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

from pipeline_lib.cluster import slurm
from pipeline_lib.errors import UserError

# A job in one of these has ended. One that is preempted, or whose node failed, may come back to the queue by itself.
MAY_COME_BACK = frozenset({"PREEMPTED", "NODE_FAIL", "REVOKED"})
ENDED = MAY_COME_BACK | {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "GONE", "OUT_OF_MEMORY", "TIMEOUT"}
GONE = "GONE"  # Slurm lists a job for some minutes after its end, and then no longer
_UNKNOWN_JOB = "Invalid job id"
_TRIES = 3


@dataclass(frozen=True)
class JobState:
    """name: RUNNING and the like, or GONE. why: the reason for waiting, or the nodes."""

    name: str
    why: str = ""

    @property
    def is_ended(self) -> bool:
        return self.name in ENDED

    @property
    def is_held(self) -> bool:
        """Whether Slurm failed to start it, and will not try again by itself."""
        return self.name == "PENDING" and "launch failed requeued held" in self.why.replace("_", " ")

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def state_of(job: str) -> JobState | None:
    """None while the controller does not answer."""
    try:
        told = slurm.ask("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T|%R").strip()
    except UserError as error:
        return JobState(GONE) if _UNKNOWN_JOB in str(error) else None
    if not told:
        return JobState(GONE)
    name, _, why = told.splitlines()[0].partition("|")
    why = why.strip("()")
    return JobState(name, "" if why in ("None", "") else why)


def own_end_s() -> float | None:
    """When Slurm will end the job that this process is part of, in seconds since the epoch; None where nothing says so."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    told = os.environ.get("SLURM_JOB_END_TIME")  # by newer Slurms
    if told is not None and told.isdecimal():
        return float(told)
    for _ in range(_TRIES):
        try:
            left = slurm.ask("squeue", "--noheader", "--jobs", job, "--format", "%L").strip()
        except UserError:
            time.sleep(1)
        else:
            left_s = slurm.seconds(left)
            return None if left_s is None or math.isinf(left_s) else time.time() + left_s
    return None
