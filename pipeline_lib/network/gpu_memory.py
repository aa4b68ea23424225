"""A network that needs more memory than the GPU has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline_lib.errors import UserError


@contextmanager
def within_gpu_memory(what: str, *, device: torch.device, otherwise: str) -> Iterator[None]:
    """A UserError where `what` needs more memory than `device` has; it says how much others leave, and what else to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device)  # what this process itself holds
        raise UserError(
            f"{what} takes more than the {free / 1e6:.0f} MB that are free of {total / 1e6:.0f} MB of the GPU "
            f"({torch.cuda.get_device_name(device)}); {otherwise}"
        ) from error
