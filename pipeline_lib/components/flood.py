"""Seeded watershed: what no segment has claimed goes to the segment that it is held to most strongly."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pipeline_lib.components.edges import check_affinities, check_threshold, to_levels
from pipeline_lib.components.neighbours import neighbour


def flood_segments(
    labels: np.ndarray, affinities: np.ndarray, *, lowest: float = 0.0, foreground: np.ndarray | None = None
) -> np.ndarray:
    """Background joins the segments, its strongest voxels first: a seeded watershed by flooding (Meyer 1994).

    The strength of a voxel is the mean affinity of its edges, up to six. It is low at a membrane even where single edges leak,
    so segments meet there. A voxel joins the segment from which the weakest voxel on the way, itself included, is strongest;
    among equals, the first to arrive. Segments never merge.

        strength  9 9 9 8 7 2 6 9 9
        labels    1 1 1 0 0 0 0 2 2   ->   1 1 1 1 1 1 2 2 2

    labels: (z, y, x) unsigned, 0 = background. affinities: of the same volume, as for label_components. Voxels weaker than
    `lowest` (0..1) or outside `foreground` ((z, y, x) bool) stay 0 and are not passed. Returns a new array of the same dtype.
    """
    check_affinities(affinities)
    for name, array in (("labels", labels), ("foreground", foreground)):
        if array is not None and array.shape != affinities.shape[1:]:
            raise ValueError(f"{name} must have the shape {affinities.shape[1:]} of the affinities, got {array.shape}")
    strengths = _strengths(to_levels(affinities))
    check_threshold(lowest)
    free = (labels == 0) & (strengths >= math.ceil(255 * lowest - 1e-9))
    if foreground is not None:
        free &= foreground
    flooded = labels.reshape(-1).copy()
    _flood(flooded, free.reshape(-1), strengths.reshape(-1), labels.shape)
    return flooded.reshape(labels.shape)


def _strengths(levels: np.ndarray) -> np.ndarray:
    """(z, y, x) uint8 mean of the edges of each voxel, rounded to nearest; 0 where a volume of one voxel has none."""
    total, count = np.zeros(levels.shape[1:], np.uint16), np.zeros(levels.shape[1:], np.uint16)
    for axis in range(3):
        source = (slice(None),) * axis + (slice(None, -1),)
        target = (slice(None),) * axis + (slice(1, None),)
        for ends in (source, target):
            total[ends] += levels[axis][source]
            count[ends] += 1
    count = np.maximum(count, 1)
    return ((2 * total + count) // (2 * count)).astype(np.uint8)


@njit(cache=True)
def _flood(labels: np.ndarray, free: np.ndarray, strengths: np.ndarray, shape_vox: tuple[int, int, int]) -> None:
    """One queue for each of the 256 strengths; they are emptied from the strongest down, first come first served."""
    # Linked lists of voxel + 1: a voxel is in one queue at most.
    heads, tails, after = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(len(labels), np.uint32)
    for voxel in range(len(labels)):
        if labels[voxel] != 0:
            _append(heads, tails, after, 255, voxel)
    for level in range(255, -1, -1):
        while heads[level] != 0:
            voxel = int(heads[level]) - 1
            heads[level] = after[voxel]
            for direction in range(6):
                to = neighbour(voxel, direction, shape_vox)
                if to >= 0 and free[to]:
                    free[to] = False
                    labels[to] = labels[voxel]
                    _append(heads, tails, after, min(level, int(strengths[to])), to)


@njit(cache=True)
def _append(heads: np.ndarray, tails: np.ndarray, after: np.ndarray, level: int, voxel: int) -> None:
    if heads[level] == 0:
        heads[level] = voxel + 1
    else:
        after[np.int64(tails[level]) - 1] = voxel + 1
    tails[level] = voxel + 1
