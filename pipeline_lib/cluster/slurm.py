"""What is asked of Slurm, by its own commands."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable

from pipeline_lib.errors import UserError

_PATIENCE_S = 60.0


def ask(*command: str) -> str:
    """The output of a command of Slurm; UserError where it is not there, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed here; call this from a login node of a Slurm cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: Slurm does not answer within {_PATIENCE_S:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"{command[0]}: {said}")
    return done.stdout


def answers() -> bool:
    """Whether a controller takes requests now."""
    try:
        ask("scontrol", "ping")
    except UserError:
        return False
    return True


def jobs_named(prefix: str) -> dict[str, str]:
    """The names of this user's jobs that are not done and begin so, by their ids."""
    lines = ask("squeue", "--me", "--noheader", "--format", "%i %j").splitlines()
    found = (line.strip().partition(" ") for line in lines)
    return {job: name for job, _, name in found if name.startswith(prefix)}


def seconds(text: str) -> float | None:
    """Of [days-][hours:]minutes:seconds, as Slurm prints times; infinite without a limit, None for what is no time."""
    if text in ("UNLIMITED", "INFINITE"):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in parts):
        return None
    found = 0
    for part in parts:
        found = 60 * found + int(part)
    return float(found + 86400 * int(days or 0))


def cancel(jobs: Iterable[str]) -> None:
    """Jobs that have ended meanwhile are no mistake."""
    ids = list(jobs)
    for start in range(0, len(ids), 100):
        ask("scancel", "--quiet", *ids[start : start + 100])
