"""A trained network from its checkpoint, ready for inference."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from pipeline_lib.artefacts.records import checksum_of
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Triple
from pipeline_lib.inference.blending import Forward
from pipeline_lib.network import network_from_settings
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import NetworkSettings

_KEYS = ("network", "targets", "in_channels", "state_dict", "precision", "step")


@dataclass(frozen=True)
class TrainedNetwork:
    """module: (1, 1, z, y, x) -> logits (1, C, z, y, x), in evaluation mode. One channel per entry of offsets_vox.

    checksum: of the file that it was read from, as `artefacts.records.checksum` gives it.
    """

    module: nn.Module
    settings: NetworkSettings
    offsets_vox: tuple[Triple, ...]
    precision: str
    checksum: str

    def forward(self, *, logit_scale: float, device: str = "cpu") -> Forward:
        """Affinity = sigmoid(logit_scale * logit), in float32 whatever the precision of the network."""
        module = self.module.to(device)
        kind = torch.device(device).type

        @torch.no_grad()
        def affinities(patch: Tensor) -> Tensor:
            with torch.autocast(kind, torch.bfloat16) if self.precision == "bfloat16" else nullcontext():
                logits = module(patch)
            return torch.sigmoid(logit_scale * logits.float())

        return affinities


def load_trained_network(path: Path) -> TrainedNetwork:
    """Read a checkpoint as training writes it; nothing in it is executed. Whatever does not fit is a UserError."""
    content, checksum = _read(path)
    try:
        settings = TypeAdapter(NetworkSettings).validate_python(content["network"])
        targets = TargetSettings.model_validate(content["targets"])
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path}: its settings do not fit this version: {place}: {problem['msg']}; train again") from error
    if content["in_channels"] != 1 or content["precision"] not in ("float32", "bfloat16"):
        facts = f"{content['in_channels']} and {content['precision']!r}"
        raise UserError(f"{path}: expected one image channel and precision float32 or bfloat16, got {facts}")
    module = network_from_settings(settings, out_channels=len(targets.offsets_vox))
    try:
        module.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its weights do not fit the network {settings.name}: {_one_line(error)}") from error
    return TrainedNetwork(module.eval(), settings, targets.offsets_vox, content["precision"], checksum)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The content, and the checksum of the very bytes that it was read from."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; train first")
    try:
        data = path.read_bytes()
        content = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torn archives and foreign pickles raise many kinds
        raise UserError(f"{path} is not a checkpoint of this pipeline: {_one_line(error)}") from error
    missing = [key for key in _KEYS if key not in content] if isinstance(content, dict) else list(_KEYS)
    if missing:
        raise UserError(f"{path} is not a checkpoint of this pipeline: it lacks {', '.join(missing)}")
    return content, checksum_of(data)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
