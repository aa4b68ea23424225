"""Upsampling layers without trainable weights."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

Triple = tuple[int, int, int]


class FixedBilinearUpsampling(nn.Module):
    """(N, C, z, y, x) -> that times `factors`: every channel goes through one fixed transposed convolution with zeros outside.

    The kernel is a tent in y and x and constant in z: a z factor of 2 doubles the values, and borders come out attenuated.
    The published residual symmetric U-Nets were trained with it. Their files hold the kernel once per channel, so `weight`
    (stored_channels, 1, kz, ky, kx) does as well; nothing else reads it.
    """

    weight: Tensor

    def __init__(self, stored_channels: int, factors: Triple) -> None:
        super().__init__()
        self.factors = factors
        z, y, x = (_taps(factor, constant=axis == 0) for axis, factor in enumerate(factors))
        self.register_buffer("weight", (z[:, None, None] * y[:, None] * x).repeat(stored_channels, 1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # One matrix product per axis: on the CPU several times faster than a depthwise transposed convolution.
        for axis, factor in ((2, self.factors[2]), (1, self.factors[1]), (0, self.factors[0])):
            if factor > 1:
                matrix = _axis_matrix(x.shape[2 + axis], factor, constant=axis == 0, device=x.device, dtype=x.dtype)
                x = _along_axis(matrix, x, axis)
        return x


def _taps(factor: int, *, constant: bool) -> Tensor:
    length = 2 * factor - factor % 2
    if constant:
        return torch.ones(length)
    return 1 - (torch.arange(length) - (length - 1) / 2).abs() / factor


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # else a matrix first made for inference could not be used in training
@torch.autocast("cpu", enabled=False)  # else its precision would be that of the first call
def _axis_matrix(length: int, factor: int, *, constant: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(length * factor, length): the transposed convolution of one axis. Kept, as a GPU would wait for it at every call."""
    taps = _taps(factor, constant=constant)
    columns = functional.conv_transpose1d(
        torch.eye(length)[:, None], taps[None, None], stride=factor, padding=(len(taps) - factor) // 2
    )
    return columns[:, 0].T.to(device, dtype)


def _along_axis(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    if axis == 2:
        return x @ matrix.T
    if axis == 1:
        return matrix @ x
    return (matrix @ x.flatten(3)).unflatten(3, x.shape[3:])
