"""How much memory and how many processors a stage may use, and how many worker processes that allows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.errors import UserError

if TYPE_CHECKING:
    from pipeline_lib.geometry import Triple  # which imports numpy, before the number of its threads is set

PROCESS_MB = 350.0  # a Python process with the libraries of this project, before it holds any voxel
TORCH_MB = 300.0  # of torch and its kernels beside that, in stages that use them
# Controller, where its groups lie, and the file of a group with its limit: cgroups of version 2 and version 1.
_CGROUPS = (("", "sys/fs/cgroup", "memory.max"), ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"))


@dataclass(frozen=True)
class Budget:
    """What a stage may use. memory_mb: of all its processes together, in MB (1e6 bytes)."""

    memory_mb: float
    threads: int = 1


@dataclass(frozen=True)
class Crew:
    """The processes that share the blocks of a stage, and the threads of each. One worker is the stage's own process."""

    workers: int
    threads: int


def installed_memory_mb(root: Path = Path("/")) -> float:
    """The memory of this machine, or of the groups of processes that this one is confined to, such as a job of Slurm.

    root: where `proc` and `sys` lie.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for controller, place, name in _CGROUPS:
        for group in _own_groups(root, controller):
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((root / place / group / name).read_text(encoding="utf-8")))
    return min(limits) / 1e6


def _own_groups(root: Path, controller: str) -> list[Path]:
    """The group of this process and those around it, up to the outermost."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                own = Path(path.strip("/"))
                return [own, *own.parents]
    return [Path()]


@dataclass(frozen=True)
class Demand:
    """What one worker takes for a block of `block_vox`, and what a user would change where that is too much.

    need_mb: what it holds for blocks of a given size, in MB, beside `PROCESS_MB`. setting: where `block_vox` comes from. The
    largest block that fits, a multiple of `step_vox`, is named to the user; `otherwise` where none does.
    """

    block_vox: Triple
    need_mb: Callable[[Triple], float]
    setting: str
    step_vox: Triple
    otherwise: str = ""


def crew_for(demand: Demand, budget: Budget, *, name: str, n_blocks: int) -> Crew:
    """As many workers as the memory allows, at most one for each thread and block; what was chosen is printed.

    UserError where one does not fit, see `check_block`.
    """
    one_mb = check_block(demand, budget)
    most = (budget.memory_mb - PROCESS_MB) / one_mb  # beside them, the stage's own process; infinite where memory is
    workers = max(1, int(min(most, budget.threads, n_blocks)))
    shape = " x ".join(map(str, demand.block_vox))
    blocks, processes = ("block" if n_blocks == 1 else "blocks"), ("process" if workers == 1 else "processes")
    print(
        f"{name}: {n_blocks} {blocks} of {shape}, {workers} {processes} of {one_mb:.0f} MB within {budget.memory_mb:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return Crew(workers, max(1, budget.threads // workers))


def check_block(demand: Demand, budget: Budget) -> float:
    """What one worker takes, in MB; UserError where that does not fit."""
    one_mb = PROCESS_MB + demand.need_mb(demand.block_vox)
    if one_mb > budget.memory_mb:
        step_vox = demand.step_vox
        fitting = largest_fitting(
            demand.block_vox, step_vox, lambda block: PROCESS_MB + demand.need_mb(block) <= budget.memory_mb
        )
        none_fits = demand.otherwise or f"no multiple of {list(step_vox)} fits"
        advice = f"the largest that fits is {list(fitting)}" if fitting else none_fits
        raise UserError(
            f"{demand.setting} {list(demand.block_vox)} takes {one_mb:.0f} MB, but the memory budget is "
            f"{budget.memory_mb:.0f} MB; {advice}"
        )
    return one_mb


def largest_fitting(block_vox: Triple, step_vox: Triple, fits: Callable[[Triple], bool]) -> Triple | None:
    """The block with the most voxels among multiples of `step_vox` up to `block_vox` that fits, or None."""
    multiples = [range(step, max(n, step) + 1, step) for n, step in zip(block_vox, step_vox, strict=True)]
    z_sizes, y_sizes, x_sizes = multiples
    sizes = sorted(((z, y, x) for z in z_sizes for y in y_sizes for x in x_sizes), key=lambda s: (-s[0] * s[1] * s[2], s))
    return next((size for size in sizes if fits(size)), None)
