"""Batches of patches, drawn in this process or by workers; their order does not depend on how many workers there are."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Generator, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import zarr
from torch import Tensor
from torch.utils.data import DataLoader

from pipeline_lib.artefacts.processes import children_ignore_stop_signals, die_with_parent
from pipeline_lib.errors import UserError
from pipeline_lib.training.group import Group
from pipeline_lib.training.sampling import Patch, PatchSampler


class Batch(NamedTuple):
    """image: float32 (N, 1, z, y, x). target, valid: bool (N, C, z, y, x)."""

    image: Tensor
    target: Tensor
    valid: Tensor


def collate(patches: list[Patch]) -> Batch:
    return Batch(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*patches, strict=True)))


class BatchStream:
    """The batches of the steps `start_step` to `end_step`: step s has the samples s * batch_size and the following.

    Of each batch this is the share of process `rank` of `size`, which must divide it.
    Workers are spawned, as neither zarr's codecs nor numba survive a fork; they die with this process.
    """

    def __init__(
        self,
        sampler: PatchSampler,
        *,
        batch_size: int,
        start_step: int,
        end_step: int,
        workers: int,
        pin_memory: bool = False,
        group: Group | None = None,
    ) -> None:
        group = group or Group()
        share = batch_size // group.size
        first = group.rank * share
        self._length = end_step - start_step
        self._running: Generator[Batch, None, None] | None = None
        self._loader: DataLoader[Batch] = DataLoader(
            sampler,  # type: ignore[arg-type]  # needs __getitem__ only, as the order is given
            batch_size=share,
            sampler=_Indices(range(start_step * batch_size, end_step * batch_size, batch_size), range(first, first + share)),
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=partial(_start_worker, os.getpid()) if workers else None,
            generator=torch.Generator().manual_seed(0),  # else torch's global state would be drawn from
        )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        self.close()
        self._running = self._batches()
        return self._running

    def close(self) -> None:
        """End the workers of the last iteration."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _batches(self) -> Generator[Batch, None, None]:
        with children_ignore_stop_signals():
            batches = iter(self._loader)
        message = None
        try:
            yield from batches
        except UserError as error:
            message = _own_message(str(error))
        if message is not None:
            del batches
            gc.collect()  # torch's frames hold the iterator in a cycle, and the iterator its workers
            raise UserError(message)


class _Indices:
    """Of the samples of each step, which start at `steps`, those in `share`."""

    def __init__(self, steps: range, share: range) -> None:
        self._steps = steps
        self._share = share

    def __len__(self) -> int:
        return len(self._steps) * len(self._share)

    def __iter__(self) -> Iterator[int]:
        return (start + sample for start in self._steps for sample in self._share)


def _own_message(text: str) -> str:
    """The message of an error that a worker raised; torch sends it with the worker's traceback around it."""
    last = text.strip().splitlines()[-1]
    return last.partition(f"{UserError.__name__}: ")[2] or last


def _start_worker(trainer: int, worker: int) -> None:
    """Death with the trainer, however that ends, and one thread for zarr (torch sees to its own)."""
    die_with_parent(signal.SIGKILL, trainer)
    threading.Thread(target=_obey_the_trainer_alone, daemon=True).start()
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


def _obey_the_trainer_alone() -> None:
    """SIGTERM is blocked (see `children_ignore_stop_signals`); where it comes from the trainer itself, the worker ends."""
    while hasattr(signal, "sigwaitinfo"):
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getppid():
            os._exit(0)
