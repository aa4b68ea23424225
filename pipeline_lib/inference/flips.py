"""Test-time augmentation: the mean over the mirror images of a patch, for affinities that know their direction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from pipeline_lib.geometry import Triple
from pipeline_lib.inference.blending import Forward

_Slices = tuple[slice, ...]


def average_flips(forward: Forward, offsets_vox: Sequence[Triple]) -> Forward:
    """A forward that averages `forward` over the eight mirror images of its input; channels are stored at the source voxel.

    In a mirrored image the edge (v, v + o) has the mirrored offset. A channel of that offset is mirrored back as it is. One of
    the opposite offset, as there is for every offset along a mirrored axis, holds the edge at its other end:

        row           a  b  c  d        edges of o = +1 at their source:    ab  bc  cd  .
        mirrored      d  c  b  a        edges found there:                  dc  cb  ba  .
        mirrored back                                                       .   ab  bc  cd     moved back by o

    The mean is over what is defined: voxels whose edge leads out of the patch in a mirror image, and channels whose mirrored
    offset the network does not have, take the other images alone.
    """
    # False comes first in each: the image as it is, which defines every voxel of every channel.
    mirrors = [[axis for axis in range(3) if flipped[axis]] for flipped in product((False, True), repeat=3)]
    sources = [_sources(offsets_vox, axes) for axes in mirrors]

    def averaged(patch: Tensor) -> Tensor:
        total = torch.zeros((len(patch), len(offsets_vox), *patch.shape[2:]), device=patch.device)
        count = torch.zeros(total.shape[1:], device=patch.device)
        for axes, found in zip(mirrors, sources, strict=True):
            dims = [2 + axis for axis in axes]
            mirrored = forward(patch.flip(dims)).flip(dims)
            for channel, source, shift in found:
                to, at = _shifted(patch.shape[2:], shift)
                total[:, channel][(slice(None), *to)] += mirrored[:, source][(slice(None), *at)]
                count[channel][to] += 1
        return total / count

    return averaged


def _sources(offsets_vox: Sequence[Triple], axes: Sequence[int]) -> list[tuple[int, int, Triple]]:
    """(channel, channel of the mirrored image that holds its edges, where they lie relative to it)."""
    mirrored = [tuple(-o if axis in axes else o for axis, o in enumerate(offset)) for offset in offsets_vox]
    found: list[tuple[int, int, Triple]] = []
    for channel, (z, y, x) in enumerate(offsets_vox):
        if (z, y, x) in mirrored:
            found.append((channel, mirrored.index((z, y, x)), (0, 0, 0)))
        elif (-z, -y, -x) in mirrored:
            found.append((channel, mirrored.index((-z, -y, -x)), (z, y, x)))
    return found


def _shifted(shape_vox: Sequence[int], shift: Triple) -> tuple[_Slices, _Slices]:
    """Slices of the voxels v for which v + shift is inside, and of those v + shift; empty where there are none."""
    to, at = [], []
    for size, step in zip(shape_vox, shift, strict=True):
        low, high = min(max(0, -step), size), max(min(size, size - step), 0)
        to.append(slice(low, high))
        at.append(slice(low + step, high + step) if low < high else slice(0, 0))
    return tuple(to), tuple(at)
