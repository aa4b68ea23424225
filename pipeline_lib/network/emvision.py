"""The residual symmetric U-Nets of EMVision under their own names and arguments: (N, width[0], z, y, x) -> the same shape.

Their parameter names are the published ones. `width` has one entry per level and `zfactor` one per level below the finest;
`group` is the number of channels per group; `**act_params` are those of the activation (negative_slope, init, alpha).
Source: https://github.com/torms3/EMVision (pytorch-emvision).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pipeline_lib.network.residual_unet import Layers, ResidualUNetCore, kernels_per_level, normalisation
from pipeline_lib.settings.networks import Activation, Triple, check_activation


def _core(
    width: Sequence[int],
    layers: Layers,
    *,
    zfactor: Sequence[int] | None = None,
    depth2d: int = 0,
    kernel2d: Sequence[int] = (1, 3, 3),
) -> ResidualUNetCore:
    if layers.activation not in get_args(Activation):
        raise ValueError(f"act: expected one of {', '.join(get_args(Activation))}, got {layers.activation}")
    check_activation(layers.activation, dict(layers.activation_parameters))
    below = len(width) - 1
    z_factors = list(zfactor) if zfactor is not None else [1] * below
    if len(z_factors) != below:
        raise ValueError(f"zfactor: expected {below} entries, one for each level below the finest, got {len(z_factors)}")
    z, y, x = kernel2d
    return ResidualUNetCore(width, [(f, 2, 2) for f in z_factors], kernels_per_level(len(width), depth2d, (z, y, x)), layers)


def _grouped(width: Sequence[int], group: int, eps: float = 1e-5, affine: bool = True) -> Layers:
    if any(w % group for w in width):
        raise ValueError(f"width {list(width)}: every entry must be a multiple of group {group}")
    return Layers(normalisation=normalisation("group", group_size=group, eps=eps, affine=affine), norm_name="norm_relu")


def rsunet(width: Sequence[int]) -> ResidualUNetCore:
    """`RSUNet`: batch norm, ReLU, pooled by (1, 2, 2)."""
    return rsunet_2d3d(width)


def iso_rsunet(width: Sequence[int]) -> ResidualUNetCore:
    """`isoRSUNet`: batch norm, ReLU, pooled by (2, 2, 2)."""
    return _core(width, Layers(normalisation=normalisation("batch"), norm_name="norm_relu"), zfactor=[2] * (len(width) - 1))


def rsunet_gn(width: Sequence[int], group: int) -> ResidualUNetCore:
    """Group norm, ReLU, pooled by (1, 2, 2)."""
    return _core(width, _grouped(width, group))


def rsunet_2d3d(width: Sequence[int], depth2d: int = 0, kernel2d: Sequence[int] = (1, 3, 3)) -> ResidualUNetCore:
    """Batch norm, ReLU, pooled by (1, 2, 2); `kernel2d` on the `depth2d` finest levels."""
    layers = Layers(normalisation=normalisation("batch"), norm_name="norm_relu")
    return _core(width, layers, depth2d=depth2d, kernel2d=kernel2d)
