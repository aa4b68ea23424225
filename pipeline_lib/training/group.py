"""The processes that train one network together, each on its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from pipeline_lib.errors import UserError

PATIENCE = timedelta(hours=1)  # of a process for the others, of which one may validate


@dataclass(frozen=True)
class Group:
    """This process is the one of number `rank` of `size`; number 0 writes, reports and validates."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Of all processes; all must call it."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def most(self, value: float, device: torch.device) -> float:
        """The largest of all processes; all must call it."""
        if self.size == 1:
            return value
        values = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return values.item()

    def meet(self, device: torch.device) -> None:
        """Until all have called it."""
        self.most(0.0, device)


@contextmanager
def joined(size: int, device: torch.device) -> Iterator[Group]:
    """The group of `size` processes, found by the variables that torchrun sets too: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.

    Raises UserError where others were started than asked for: training would be another one, or wait for ever.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != size:
        raise UserError(
            f"training was to run in {size} processes, but {started} were started (WORLD_SIZE); it needs one for each GPU: "
            "set the launcher to submitit, or gpu to 1"
        )
    if size == 1:
        yield Group()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def processes_here() -> int:
    """How many of the group share this machine and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process among those that it sees."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
