"""What was decided once, before the first step: written to plan.json and read from there when training goes on."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline_lib.artefacts import read_json, write_json
from pipeline_lib.settings.stages import TrainStage
from pipeline_lib.training.precision import PrecisionChoice, resolve_precision

PACKAGES = ("em-pipeline", "torch", "pytorch-lightning", "numpy", "zarr", "connected-components-3d")


def resolve_plan(
    path: Path,
    settings: TrainStage,
    network: nn.Module,
    *,
    patches: int,
    digest: str,
    device: torch.device,
    resumed: dict[str, Any] | None,
) -> str:
    """The precision to train in: that of the checkpoint which goes on, or of plan.json, or else resolved now and written.

    patches: how many the process computes at once; with others, before the first step, it is resolved again.
    """
    plan = read_json(path) if path.exists() else {}
    is_valid = plan.get("patches") == patches if resumed is None else plan.get("precision") == resumed["precision"]
    if plan.get("settings_digest") == digest and is_valid:
        return str(plan["precision"])
    if resumed is not None:
        choice = PrecisionChoice(resumed["precision"], "as in the checkpoint that training continues")
    else:
        choice = resolve_precision(
            settings.training.precision,
            network,
            patches=patches,
            patch_vox=settings.training.patch_vox,
            device=device,
        )
    content = {
        "schema": 1,
        "settings_digest": digest,
        **asdict(choice),
        "patches": patches,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "hardware": {"device": _device_name(device), "threads": torch.get_num_threads(), "machine": platform.machine()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    write_json(path, content)
    return choice.precision


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"
