"""From blended planes to blocks of uint8, as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box, Triple
from pipeline_lib.inference.blending import Planes


def quantised_layers(planes: Iterable[Planes], layers: Sequence[Box]) -> Iterator[np.ndarray]:
    """uint8 (C, z, y, x) for each of `layers`, which lie end to end along z and are covered by `planes`; 255 is affinity 1."""
    arriving = iter(planes)
    piece = next(arriving)
    for box in layers:
        at, stop = box.start_vox[0], box.stop_vox[0]
        values = np.empty((len(piece.affinities), *box.shape_vox), np.uint8)
        while at < stop:
            if at == piece.start_vox + piece.affinities.shape[1]:
                piece = next(arriving)
            until = min(stop, piece.start_vox + piece.affinities.shape[1])
            part = piece.affinities[:, at - piece.start_vox : until - piece.start_vox]
            values[:, at - box.start_vox[0] : until - box.start_vox[0]] = to_uint8(part, where=f"planes {at} to {until - 1}")
            at = until
        yield values


def to_uint8(affinities: Tensor, *, where: str) -> np.ndarray:
    """round(255 a), half to even. NaN is a UserError."""
    if not torch.isfinite(affinities.sum()):
        raise UserError(f"the network gives NaN in {where}: training has diverged; train again, say with a lower learning rate")
    return np.stack([(255 * channel).round_().to(torch.uint8).cpu().numpy() for channel in affinities])


def clear_outgoing(values: np.ndarray, offsets_vox: Sequence[Triple], *, box: Box, shape_vox: Triple) -> None:
    """Set 0 in `values` (C, z, y, x), which fill `box`, where voxel + offset lies outside the volume: there is no such edge."""
    for channel, offset in zip(values, offsets_vox, strict=True):
        for axis, step in enumerate(offset):
            target = np.arange(box.start_vox[axis], box.stop_vox[axis]) + step
            np.moveaxis(channel, axis, 0)[(target < 0) | (target >= shape_vox[axis])] = 0
