"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def masked_bce(output: Tensor | Sequence[Tensor], target: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy with logits over all valid entries of all channels and samples pooled; 0 where none is valid.

    output: logits (N, C, z, y, x), or a list of them at ever coarser resolutions, finest first (deep supervision): each level
    counts half of the one before, as in nnU-Net, and is compared with the targets of every so many voxels.
    target, valid: bool (N, C, z, y, x).
    """
    if isinstance(output, Tensor):
        return _masked_bce(output, target, valid)
    weights = [0.5**level for level in range(len(output))]
    losses = []
    for logits, weight in zip(output, weights, strict=True):
        strides = [n // m for n, m in zip(target.shape[2:], logits.shape[2:], strict=True)]
        dz, dy, dx = strides
        losses.append(weight * _masked_bce(logits, target[..., ::dz, ::dy, ::dx], valid[..., ::dz, ::dy, ::dx]))
    return torch.stack(losses).sum() / sum(weights)


def _masked_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    weight = valid.to(torch.float32)
    total = functional.binary_cross_entropy_with_logits(logits.float(), target.to(torch.float32), weight, reduction="sum")
    return total / weight.sum().clamp(min=1)
