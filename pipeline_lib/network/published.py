"""Weights published for other implementations of the same networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline_lib.errors import UserError

LAYOUTS = ("emvision", "deepem", "mednext", "banis")
IGNORED = "dummy_tensor"  # MedNeXt v1 keeps it for gradient checkpointing; no output depends on it


def load_published_weights(network: nn.Module, state_dict: Mapping[str, Tensor], layout: str) -> None:
    """Copies published weights into `network`; nothing is copied if anything does not fit.

    emvision: a network of EMVision built under its own name (or the `core` of an "rsunet").
    deepem: an "rsunet"; with several heads, their channels follow each other in the order of the file.
    mednext: MedNeXt v1. banis: a Lightning checkpoint of it or its `state_dict`.
    Raises UserError that lists every key that is missing, left over, or of another shape.
    """
    if layout not in LAYOUTS:
        raise UserError(f"weights: unknown layout {layout}; there are {', '.join(LAYOUTS)}")
    published = _without_prefix(state_dict) if layout == "banis" else dict(state_dict)
    sources = {key: _published_names(key, published, layout) for key in network.state_dict()}
    names = [name for group in sources.values() for name in group]
    problems = [f"missing: {name}" for name in names if name not in published]
    problems += [f"unused: {name}" for name in published if name not in names and name != IGNORED]
    values: dict[str, Tensor] = {}
    for key, expected in network.state_dict().items():
        if all(name in published for name in sources[key]):
            values[key] = _joined([published[name] for name in sources[key]])
            if values[key].shape != expected.shape:
                shapes = f"expected {tuple(expected.shape)}, got {tuple(values[key].shape)}"
                problems.append(f"shape of {', '.join(sources[key])}: {shapes}")
            elif key.endswith("up.up.0.weight") and not torch.allclose(values[key].to(expected), expected, atol=1e-3):
                problems.append(f"{sources[key][0]} is not the fixed bilinear kernel")
    if problems:
        raise UserError(f"weights (layout {layout}) do not fit the network: {'; '.join(problems)}")
    network.load_state_dict(values)


def _without_prefix(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inner = checkpoint.get("state_dict")
    weights = inner if isinstance(inner, Mapping) else checkpoint
    return {re.sub(r"^model\.(_orig_mod\.)?", "", name): value for name, value in weights.items()}


def _published_names(key: str, published: Mapping[str, Tensor], layout: str) -> list[str]:
    """What the entry `key` of our state dict is called there; the parts of a joined entry in their order."""
    if layout in ("mednext", "banis"):
        return [key]
    if layout == "deepem":
        head = re.fullmatch(r"output\.(weight|bias)", key)
        if head:
            pattern = re.compile(rf"out\.[^.]+\.conv\.{head[1]}")
            return [name for name in published if pattern.fullmatch(name)] or [f"out.<head>.conv.{head[1]}"]
        if key == "input.weight":
            return ["in.conv.conv.weight"]
    other = key.replace(".norm_act.", ".norm_relu.") if ".norm_act." in key else key.replace(".norm_relu.", ".norm_act.")
    return [other if other in published else key]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
