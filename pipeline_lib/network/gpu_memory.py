"""A network that needs more memory than the GPU has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline_lib.errors import UserError


@contextmanager
def within_gpu_memory(what: str, *, otherwise: str) -> Iterator[None]:
    """A UserError where `what` needs more memory than the GPU has; it names the GPU and says what else to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
        raise UserError(
            f"{what} takes more than the {gpu.total_memory / 1e6:.0f} MB of the GPU ({gpu.name}); {otherwise}"
        ) from error
