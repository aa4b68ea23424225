"""Which arithmetic a network is trained in: bfloat16 where a short probe finds it clearly faster."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline_lib.geometry import Triple
from pipeline_lib.training.loss import masked_bce

Precision = Literal["float32", "bfloat16"]
PROBE_STEPS = 3
WORTHWHILE_SPEEDUP = 1.1
HOPELESS_SLOWDOWN = 5  # of every step so far: where bfloat16 is emulated the rest of the probe would take minutes


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision to train in and why; milliseconds of one forward and backward pass where they were measured."""

    precision: Precision
    reason: str
    float32_ms: float | None = None
    bfloat16_ms: float | None = None


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which a network computes in `precision`; its weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def resolve_precision(
    asked: Literal["auto", "float32", "bfloat16"],
    network: nn.Module,
    *,
    patches: int,
    patch_vox: Triple,
    device: torch.device,
    in_channels: int = 1,
) -> PrecisionChoice:
    """What `asked` means here. `auto` times both on a copy of the network; weights and torch's random state stay.

    patches: how many are computed at once.
    """
    if asked != "auto":
        return PrecisionChoice(asked, "as set in training.precision")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return PrecisionChoice("float32", "this GPU has no bfloat16")
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        float32_ms, bfloat16_ms = _probe(network, (patches, in_channels, *patch_vox), device)
    if math.isinf(float32_ms):
        which = "a float32 step takes" if math.isfinite(bfloat16_ms) else "steps of either precision take"
        return PrecisionChoice("bfloat16", f"{which} more memory than the GPU has")
    if math.isinf(bfloat16_ms):
        return PrecisionChoice("float32", "a bfloat16 step takes more memory than the GPU has", round(float32_ms, 1))
    speedup = float32_ms / bfloat16_ms
    chosen: Precision = "bfloat16" if speedup > WORTHWHILE_SPEEDUP else "float32"
    reason = f"bfloat16 steps are {speedup:.2f} times as fast as float32 steps; more than {WORTHWHILE_SPEEDUP} is asked for"
    return PrecisionChoice(chosen, reason, round(float32_ms, 1), round(bfloat16_ms, 1))


def _probe(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> tuple[float, float]:
    """The fastest of a few steps in float32 and in bfloat16, in turn, so that a busy machine disturbs both alike."""
    trial = copy.deepcopy(network).to(device).train()
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    float32_ms, bfloat16_ms = [], []
    for _ in range(PROBE_STEPS + 1):
        float32_ms.append(_step_ms(trial, image, "float32"))
        bfloat16_ms.append(_step_ms(trial, image, "bfloat16"))
        if min(bfloat16_ms) > HOPELESS_SLOWDOWN * max(float32_ms):
            break
    return min(float32_ms[1:] or float32_ms), min(bfloat16_ms[1:] or bfloat16_ms)  # the first includes warming up


def _step_ms(network: nn.Module, image: torch.Tensor, precision: str) -> float:
    """Infinite where the GPU has too little memory."""
    network.zero_grad(set_to_none=True)
    try:
        return _timed_ms(network, image, precision)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return math.inf


def _timed_ms(network: nn.Module, image: torch.Tensor, precision: str) -> float:
    start = time.perf_counter()
    with autocast(precision, image.device):
        output = network(image)
    finest = output[0] if isinstance(output, (list, tuple)) else output
    target = torch.zeros_like(finest, dtype=torch.bool)
    masked_bce(output, target, torch.ones_like(target)).backward()
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return (time.perf_counter() - start) * 1e3
