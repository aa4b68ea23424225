"""The residual symmetric U-Nets of EMVision with its arguments and parameter names: (N, width[0], z, y, x) -> the same shape.

`width` has one entry per level, `zfactor` one per level below the finest (pooling is 2 in y and x); `group` is the number of
channels per group; `act` is the name of torch's layer and `act_params` are its negative_slope, init or alpha.
Source: pytorch-emvision, https://github.com/torms3/EMVision. Raises ValueError for arguments that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from pipeline_lib.network.residual_unet import Layers, MakeNorm, ResidualUNetCore, kernels_per_level, normalisation
from pipeline_lib.settings.networks import Activation, check_activation


def rsunet(width: Sequence[int]) -> ResidualUNetCore:
    """Batch norm, ReLU, pooled by (1, 2, 2); published as RSUNet."""
    return _core(width, _relu(normalisation("batch")))


def iso_rsunet(width: Sequence[int]) -> ResidualUNetCore:
    """Batch norm, ReLU, pooled by (2, 2, 2); published as isoRSUNet."""
    return _core(width, _relu(normalisation("batch")), zfactor=[2] * (len(width) - 1))


def rsunet_gn(width: Sequence[int], group: int) -> ResidualUNetCore:
    """Group norm."""
    return _core(width, _relu(_grouped(width, group)))


def rsunet_2d3d(width: Sequence[int], depth2d: int = 0, kernel2d: Sequence[int] = (1, 3, 3)) -> ResidualUNetCore:
    """Batch norm; `kernel2d` on the `depth2d` finest levels."""
    return _core(width, _relu(normalisation("batch")), depth2d=depth2d, kernel2d=kernel2d)


def rsunet_2d3d_gn(
    width: Sequence[int], group: int = 16, depth2d: int = 0, kernel2d: Sequence[int] = (1, 3, 3)
) -> ResidualUNetCore:
    """Group norm; `kernel2d` on the `depth2d` finest levels."""
    return _core(width, _relu(_grouped(width, group)), depth2d=depth2d, kernel2d=kernel2d)


def rsunet_act(
    width: Sequence[int], zfactor: Sequence[int] | None = None, act: str = "ReLU", **act_params: float
) -> ResidualUNetCore:
    """Batch norm, any activation."""
    return _core(width, _any(normalisation("batch"), act, act_params), zfactor=zfactor)


def rsunet_act_gn(  # noqa: PLR0917 (the published order)
    width: Sequence[int],
    zfactor: Sequence[int] | None = None,
    group: int = 16,
    eps: float = 1e-5,
    affine: bool = True,
    act: str = "ReLU",
    **act_params: float,
) -> ResidualUNetCore:
    """Group norm, any activation."""
    return _core(width, _any(_grouped(width, group, eps=eps, affine=affine), act, act_params), zfactor=zfactor)


def rsunet_act_in(
    width: Sequence[int], zfactor: Sequence[int] | None = None, act: str = "ReLU", **act_params: float
) -> ResidualUNetCore:
    """Affine instance norm without running statistics, any activation."""
    return _core(width, _any(normalisation("instance"), act, act_params), zfactor=zfactor)


def rsunet_act_nn(width: Sequence[int], act: str = "ReLU", **act_params: float) -> ResidualUNetCore:
    """Batch norm, any activation, nearest-neighbour upsampling."""
    return _core(width, _any(normalisation("batch"), act, act_params, upsampling="nearest"))


def rsunet_act_nn_gn(width: Sequence[int], group: int = 16, act: str = "ReLU", **act_params: float) -> ResidualUNetCore:
    """Group norm, any activation, nearest-neighbour upsampling."""
    return _core(width, _any(_grouped(width, group), act, act_params, upsampling="nearest"))


def _relu(norm: MakeNorm) -> Layers:
    return Layers(normalisation=norm, norm_name="norm_relu")


def _any(norm: MakeNorm, act: str, act_params: Mapping[str, float], *, upsampling: str = "bilinear") -> Layers:
    if act not in get_args(Activation):
        raise ValueError(f"act: expected one of {', '.join(get_args(Activation))}, got {act}")
    check_activation(act, act_params)
    return Layers(
        normalisation=norm, activation=act, activation_parameters=act_params, upsampling=upsampling, norm_name="norm_act"
    )


def _grouped(width: Sequence[int], group: int, *, eps: float = 1e-5, affine: bool = True) -> MakeNorm:
    if any(w % group for w in width):
        raise ValueError(f"width {list(width)}: every entry must be a multiple of group {group}")
    return normalisation("group", group_size=group, eps=eps, affine=affine)


def _core(
    width: Sequence[int],
    layers: Layers,
    *,
    zfactor: Sequence[int] | None = None,
    depth2d: int = 0,
    kernel2d: Sequence[int] = (1, 3, 3),
) -> ResidualUNetCore:
    below = len(width) - 1
    z_factors = [1] * below if zfactor is None else list(zfactor)
    if len(z_factors) != below:
        raise ValueError(f"zfactor: expected {below} entries, one for each level below the finest, got {len(z_factors)}")
    if len(kernel2d) != 3 or any(n % 2 == 0 for n in kernel2d):
        raise ValueError(f"kernel2d: expected three odd lengths (z, y, x), got {list(kernel2d)}")
    kernels = kernels_per_level(len(width), depth2d, (kernel2d[0], kernel2d[1], kernel2d[2]))
    return ResidualUNetCore(width, [(z, 2, 2) for z in z_factors], kernels, layers)
