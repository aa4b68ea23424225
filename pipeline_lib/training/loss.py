"""What training minimises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def masked_bce(output: Tensor | Sequence[Tensor], target: Tensor, valid: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy with logits over all valid entries of all channels and samples pooled; 0 where none is valid.

    output: logits (N, C, z, y, x), or a list of them at ever coarser resolutions, finest first (deep supervision): each level
    counts half of the one before, as in nnU-Net, and is compared with the targets of every so many voxels.
    target, valid: bool (N, C, z, y, x). counts: `valid_counts` of a whole batch of which this is a part; the losses of all
    parts then add up to that of the batch.
    """
    counts = valid_counts(output, valid) if counts is None else counts
    if isinstance(output, Tensor):
        return _summed_bce(output, target, valid) / counts[0].clamp(min=1)
    weights = [0.5**level for level in range(len(output))]
    losses = []
    levels = zip(output, _coarser(output, target), _coarser(output, valid), weights, counts, strict=True)
    for logits, level_target, level_valid, weight, count in levels:
        losses.append(weight * (_summed_bce(logits, level_target, level_valid) / count.clamp(min=1)))
    return torch.stack(losses).sum() / sum(weights)


def valid_counts(output: Tensor | Sequence[Tensor], valid: Tensor) -> Tensor:
    """How many entries of a batch count at each resolution of a network's output, which may be that of a part of the batch."""
    levels = [valid] if isinstance(output, Tensor) else _coarser(output, valid)
    return torch.stack([level.to(torch.float32).sum() for level in levels])


def _coarser(output: Sequence[Tensor], full: Tensor) -> Iterator[Tensor]:
    for logits in output:
        dz, dy, dx = (n // m for n, m in zip(full.shape[2:], logits.shape[2:], strict=True))
        yield full[..., ::dz, ::dy, ::dx]


def _summed_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    weight = valid.to(torch.float32)
    return functional.binary_cross_entropy_with_logits(logits.float(), target.to(torch.float32), weight, reduction="sum")
