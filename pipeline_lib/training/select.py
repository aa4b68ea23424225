"""Which checkpoint of a training is used from here on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.artefacts.records import checksum
from pipeline_lib.errors import UserError
from pipeline_lib.training.checkpoint import load_checkpoint


def select_checkpoint(checkpoints: Sequence[Path], which: Literal["best", "last"]) -> dict[str, Any]:
    """The content of `best.json` for the checkpoints `<model folder>/segments/<step>/checkpoint.ckpt`.

    `best` has the lowest validation loss, the earliest of equals; `last` the most steps. The path is relative to the
    model folder; the checksum makes the choice another one when a checkpoint is replaced. Raises UserError without any
    checkpoint, and for `best` where one has no validation loss.
    """
    if not checkpoints:
        raise UserError("there is no checkpoint to choose from; train first")
    facts = []
    for path in checkpoints:
        content = load_checkpoint(path, mmap=True)
        facts.append((int(content["step"]), content["validation_loss"], path))
    facts.sort(key=lambda fact: fact[0])
    if which == "last":
        step, loss, path = facts[-1]
        reason = f"the last of {len(facts)}"
    else:
        unscored = [path for _, loss, path in facts if loss is None]
        if unscored:
            raise UserError(f"{unscored[0]} has no validation loss: add a val volume, or set inference.checkpoint to last")
        step, loss, path = min(facts, key=lambda fact: fact[1])
        reason = f"the lowest validation loss of {len(facts)}"
    told = {"checkpoint": Path(*path.parts[-3:]).as_posix(), "content": checksum(path)}
    return {"schema": 1, **told, "step": step, "validation_loss": loss, "reason": reason}
