"""Weighted mean of overlapping patches, plane by plane, with only the planes in work in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.geometry import Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.inference.patches import padded_shape, patch_weights, starts_meeting, starts_per_axis

# (1, 1, z, y, x) float32, image in 0..1 -> (1, C, z, y, x) float32, affinities in 0..1; both on the same device
Forward = Callable[[Tensor], Tensor]


class Image(Protocol):
    """A numpy or zarr array (z, y, x) uint8."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, slices: tuple[slice, slice, slice], /) -> Any: ...


@dataclass(frozen=True)
class Planes:
    """Finished planes from `start_vox` on: (C, n, y, x) float32 in 0..1. A view that the next step overwrites."""

    start_vox: int
    affinities: Tensor


def blend_planes(
    image: Image, forward: Forward, *, patch_vox: Sequence[int], target: Box, n_channels: int, device: str = "cpu"
) -> Iterator[Planes]:
    """Affinities of `target`, in z order; equal to `blend_whole` cut to it, bit for bit if `forward` is deterministic.

    Patches of the volume's grid that meet `target` are visited in scan order. The sums hold one patch length in z:

        z ->   [ final | still open ]          patches at z; then the window moves to the next patches,
                       [ final | still open ]  and what they do not reach is final

    Axes shorter than the patch are continued by reflection at their far end, and the result is cut off again.
    """
    patch = as_triple(patch_vox)
    starts = starts_per_axis(image.shape, patch)
    zs, ys, xs = (
        starts_meeting(s, p, low, high)
        for s, p, low, high in zip(starts, patch, target.start_vox, target.stop_vox, strict=True)
    )
    weights = torch.from_numpy(patch_weights(patch)).to(device)
    window = _Window(n_channels, (patch[0], *target.shape_vox[1:]), device)
    for z, next_z in pairwise([*zs, zs[-1] + patch[0]]):
        slab_box = Box((z, ys[0], xs[0]), (z + patch[0], ys[-1] + patch[1], xs[-1] + patch[2]))
        slab = torch.from_numpy(read_padded(image, slab_box)).to(device)
        window_box = Box((z, *target.start_vox[1:]), (z + patch[0], *target.stop_vox[1:]))
        for y in ys:
            for x in xs:
                patch_box = Box.of_shape(patch).shifted((z, y, x))
                values = forward(slab[patch_box.relative_to(slab_box).slices][None, None].float() / 255)[0]
                part = patch_box.clipped(window_box)
                window.add(values, weights, part.relative_to(patch_box), part.relative_to(window_box))
        first, stop = max(z, target.start_vox[0]), min(next_z, target.stop_vox[0])
        if first < stop:
            yield Planes(first, window.mean(first - z, stop - z))
        window.advance(next_z - z)


class _Window:
    """Weighted sums and sums of weights of the planes that patches still reach."""

    def __init__(self, n_channels: int, shape_vox: Triple, device: str) -> None:
        self.sums = torch.zeros((n_channels, *shape_vox), device=device)
        self.weights = torch.zeros(shape_vox, device=device)

    def add(self, values: Tensor, weights: Tensor, source: Box, place: Box) -> None:
        # Not addcmul: it may round product and sum at once in one place and not in another, depending on alignment.
        self.sums[(slice(None), *place.slices)] += values[(slice(None), *source.slices)] * weights[source.slices]
        self.weights[place.slices] += weights[source.slices]

    def mean(self, first: int, stop: int) -> Tensor:
        return self.sums[:, first:stop].div_(self.weights[first:stop])

    def advance(self, n: int) -> None:
        """Drop the first `n` planes and move up the others, one by one, as they may overlap."""
        length = len(self.weights)
        for plane in range(length - n):
            self.sums[:, plane] = self.sums[:, plane + n]
            self.weights[plane] = self.weights[plane + n]
        self.sums[:, length - n :] = 0
        self.weights[length - n :] = 0


def read_padded(image: Image, box: Box) -> np.ndarray:
    """(z, y, x) uint8: the voxels of `box`, continued by reflection where it ends beyond the volume.

    An axis that is continued has to be in `box` from its start; it is reflected as often as needed, a single plane repeated.
    """
    inside = box.clipped(Box.of_shape(image.shape))
    voxels = np.ascontiguousarray(image[inside.slices])
    missing = [(0, b - a) for a, b in zip(inside.stop_vox, box.stop_vox, strict=True)]
    return np.pad(voxels, missing, mode="reflect") if any(after for _, after in missing) else voxels


def blend_whole(image: np.ndarray, forward: Forward, *, patch_vox: Sequence[int], n_channels: int) -> np.ndarray:
    """(C, z, y, x) float32 affinities of a whole small volume, everything in memory: what `blend_planes` must equal.

    image: (z, y, x) uint8. Patch starts and weights as in BANIS; sum(weight * affinity) / sum(weight).
    """
    padded = read_padded(image, Box.of_shape(padded_shape(image.shape, patch_vox)))
    weights = patch_weights(patch_vox)
    sums = np.zeros((n_channels, *padded.shape), np.float32)
    total = np.zeros(padded.shape, np.float32)
    zs, ys, xs = starts_per_axis(image.shape, patch_vox)
    for start in ((z, y, x) for z in zs for y in ys for x in xs):
        place = Box.of_shape(patch_vox).shifted(start).slices
        patch = padded[place].astype(np.float32) / np.float32(255)
        sums[(slice(None), *place)] += forward(torch.from_numpy(patch[None, None]))[0].numpy() * weights
        total[place] += weights
    return (sums / total)[(slice(None), *Box.of_shape(image.shape).slices)]
