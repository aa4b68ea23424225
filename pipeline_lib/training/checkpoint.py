"""Files that hold a network and all that its training needs to go on; torch reads them with weights_only=True."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline_lib.artefacts import replacing
from pipeline_lib.errors import UserError

SCHEMA = 1
KEYS = (
    "schema",
    "network",
    "targets",
    "in_channels",
    "state_dict",
    "precision",
    "step",
    "optimizer",
    "scheduler",
    "random",
    "log",
    "validation_loss",
    "settings_digest",
)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """`content` has the keys `KEYS` without schema and holds tensors, plain containers, numbers and strings."""
    complete = {"schema": SCHEMA, **content}
    if set(complete) != set(KEYS):
        raise ValueError(f"a checkpoint has the keys {KEYS}, got {tuple(complete)}")
    with replacing(path) as aside, aside.open("wb") as file:
        try:
            torch.save(complete, file)
        except RuntimeError as error:  # torch hides that the disk is full behind an error of its own
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else error) from None


def publish(folder: Path) -> None:
    """Make `checkpoint.ckpt` of `resume.ckpt`, which stays: a workflow that was killed meanwhile removes what it declared."""
    with replacing(folder / "checkpoint.ckpt") as aside:
        aside.hardlink_to(folder / "resume.ckpt")


def load_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU; `mmap` reads tensors only when they are used. Raises UserError.

    Keys: network (its settings, name among them), in_channels, targets (settings), state_dict (plain names), precision, step,
    optimizer, scheduler, random, log, validation_loss (float or None), settings_digest.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}; train first") from error
    except Exception as error:  # a torn or foreign file raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot read the checkpoint {path}: {reason}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or set(content) != set(KEYS):
        raise UserError(f"{path} is not a checkpoint of this project (schema {SCHEMA}); train again")
    return content


def random_state() -> dict[str, Any]:
    """Torch's random states, as tensors."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def is_finite(network: nn.Module) -> bool:
    """Whether no weight or buffer is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values())
