"""Loss and pictures of patches that stay the same from the first step to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline_lib.training.data import Batch, collate
from pipeline_lib.training.loss import masked_bce
from pipeline_lib.training.precision import autocast
from pipeline_lib.training.sampling import PatchSampler

MAX_PICTURES = 4


@dataclass(frozen=True)
class ValidationResult:
    """loss: mean over all valid entries of all patches. pictures: uint8 (y, 3x, 3), see `section_picture`."""

    loss: float
    pictures: list[np.ndarray]


class Validation:
    """The first `n_patches` patches of `sampler`, held in memory."""

    def __init__(self, sampler: PatchSampler, n_patches: int) -> None:
        self.batches = [collate([sampler[i]]) for i in range(n_patches)]

    def evaluate(self, network: nn.Module, *, precision: str, device: torch.device) -> ValidationResult:
        """In evaluation mode; afterwards the network's mode and torch's random state are as before."""
        was_training = network.training
        network.eval()
        total, count = 0.0, 0
        pictures: list[np.ndarray] = []
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            for batch in self.batches:
                on_device = Batch(*(tensor.to(device) for tensor in batch))
                with autocast(precision, device):
                    output = network(on_device.image)
                logits = (output[0] if isinstance(output, (list, tuple)) else output).float()
                n_valid = int(batch.valid.sum())
                total += n_valid * masked_bce(logits, on_device.target, on_device.valid).item()
                count += n_valid
                if len(pictures) < MAX_PICTURES:
                    pictures.append(section_picture(batch, torch.sigmoid(logits).cpu()))
        network.train(was_training)
        return ValidationResult(total / max(count, 1), pictures)


def section_picture(batch: Batch, affinities: torch.Tensor) -> np.ndarray:
    """Image, predicted and true affinities side by side: the middle section of a batch's first patch, uint8 (y, 3x, 3).

    The first three channels (z, y, x) are red, green and blue; entries that are not valid are black in the target.
    affinities: float (N, C, z, y, x), 0 to 1.
    """
    z = batch.image.shape[2] // 2
    image = batch.image[0, :1, z].clamp(0, 1).expand(3, -1, -1)
    predicted = affinities[0, :3, z]
    target = (batch.target & batch.valid)[0, :3, z].float()
    row = torch.cat([image, predicted, target], dim=2)
    return (row * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
