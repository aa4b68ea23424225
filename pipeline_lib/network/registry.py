"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from pipeline_lib.errors import UserError
from pipeline_lib.network import emvision
from pipeline_lib.network.residual_unet import ResidualUNet
from pipeline_lib.settings.networks import MedNeXt, ResidualSymmetricUNet


def network_from_settings(settings: ResidualSymmetricUNet | MedNeXt, *, in_channels: int = 1, out_channels: int) -> nn.Module:
    """(N, in_channels, z, y, x) -> logits (N, out_channels, z, y, x); lengths as in `settings.check_patch`."""
    if isinstance(settings, MedNeXt):
        from pipeline_lib.network.mednext import MedNeXtNetwork  # MONAI takes a second to import

        return MedNeXtNetwork(settings, in_channels=in_channels, out_channels=out_channels)
    network = ResidualUNet(settings, in_channels=in_channels, out_channels=out_channels)
    # Dense convolutions then run without reordering; MedNeXt's depthwise ones would be slower.
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def build_network(name: str, **options: Any) -> nn.Module:
    """The network of that name, freshly initialised from torch's random state.

    "rsunet" and "mednext" take `in_channels` (default 1), `out_channels` and the fields of their settings class, and give
    (N, in_channels, z, y, x) -> logits (N, out_channels, z, y, x). The names of EMVision (RSUNet, isoRSUNet, rsunet_gn, ...)
    take the arguments of `pipeline_lib.network.emvision` and give (N, width[0], z, y, x) -> the same shape.
    Raises UserError for an unknown name and for options that the network does not take.
    """
    builder = _BUILDERS.get(name)
    if builder is None:
        raise UserError(f"network {name} is unknown{_nearest(name, list(_BUILDERS))}; there are {', '.join(_BUILDERS)}")
    try:
        inspect.signature(builder).bind(**options)
        return builder(**options)
    except ValidationError as error:
        raise UserError(f"network {name}: {_first_problem(error)}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"network {name}: {error}") from error


def _residual_unet(*, in_channels: int = 1, out_channels: int, **options: Any) -> nn.Module:
    return network_from_settings(ResidualSymmetricUNet(**options), in_channels=in_channels, out_channels=out_channels)


def _mednext(*, in_channels: int = 1, out_channels: int, **options: Any) -> nn.Module:
    return network_from_settings(MedNeXt(**options), in_channels=in_channels, out_channels=out_channels)


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "rsunet": _residual_unet,
    "mednext": _mednext,
    "RSUNet": emvision.rsunet,
    "isoRSUNet": emvision.iso_rsunet,
    "rsunet_gn": emvision.rsunet_gn,
    "rsunet_act": emvision.rsunet_act,
    "rsunet_act_gn": emvision.rsunet_act_gn,
    "rsunet_act_in": emvision.rsunet_act_in,
    "rsunet_act_nn": emvision.rsunet_act_nn,
    "rsunet_act_nn_gn": emvision.rsunet_act_nn_gn,
    "rsunet_2d3d": emvision.rsunet_2d3d,
    "rsunet_2d3d_gn": emvision.rsunet_2d3d_gn,
}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = ResidualSymmetricUNet.model_fields if error.title == ResidualSymmetricUNet.__name__ else MedNeXt.model_fields
        return f"unknown option {where}{_nearest(where, [*fields, 'in_channels', 'out_channels'])}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}, got {problem['input']!r}" if where else message


def _nearest(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
