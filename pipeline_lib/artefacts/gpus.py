"""A GPU for one process alone, among all that a user runs on a machine."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from pipeline_lib.artefacts.lock import Lock
from pipeline_lib.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")


@contextmanager
def own_gpus(n: int | None) -> Iterator[None]:
    """While the block runs this process sees `n` GPUs that no other has; to be called before CUDA is first used.

    Slurm gives each job its own, and their number is checked. Elsewhere a lock file for each GPU, released by death, says who
    has it; when all are taken, one is waited for. A machine without GPUs computes on its processors. None: all are visible.
    """
    there = _visible()
    if n is None or (n > 0 and not there and not _is_in_slurm()):
        yield
        return
    if len(there) < n:
        given = "Slurm has given this job" if _is_in_slurm() else "there are"
        raise UserError(f"asked for {n} GPUs, but {given} {len(there)}; change `gpu` in the profile, or {VISIBLE}")
    with ExitStack() as held:
        mine = there if _is_in_slurm() and len(there) == n else _taken(n, there, held)
        before = os.environ.get(VISIBLE)
        os.environ[VISIBLE] = ",".join(mine)
        try:
            yield
        finally:
            os.environ.pop(VISIBLE) if before is None else os.environ.update({VISIBLE: before})


def _taken(n: int, there: Sequence[str], held: ExitStack) -> Sequence[str]:
    """Locks `n` of them, or none: two processes that each hold a part would wait for each other."""
    folder = Path(tempfile.gettempdir()) / f"em-pipeline-gpus-{os.getuid()}"
    told = False
    while True:
        mine: list[str] = []
        with ExitStack() as attempt:
            for gpu in there:
                if len(mine) < n and _is_locked(attempt, folder / quote(gpu, safe="")):
                    mine.append(gpu)
            if len(mine) == n:
                held.push(attempt.pop_all())
                return mine
        if not told:
            print(f"waiting for {n} of the GPUs {', '.join(there)}, which others have", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.5)


def _is_locked(attempt: ExitStack, folder: Path) -> bool:
    try:
        attempt.enter_context(Lock(folder, what="a GPU"))
    except UserError:
        return False
    return True


def _visible() -> list[str]:
    told = os.environ.get(VISIBLE)
    if told is not None:
        return [gpu.strip() for gpu in told.split(",") if gpu.strip()]
    found = [path.name.removeprefix("nvidia") for path in _DEVICES.glob("nvidia*")]
    return sorted(filter(str.isdecimal, found), key=int)


def _is_in_slurm() -> bool:
    return "SLURM_JOB_ID" in os.environ
