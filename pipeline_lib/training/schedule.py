"""The learning rate at each step."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, *, warmup_steps: int, steps: int) -> float:
    """Share of the peak rate at step 0 to steps - 1: linear up over the first `warmup_steps`, then half a cosine towards 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
