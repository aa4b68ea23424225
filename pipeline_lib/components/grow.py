"""Segments grown into background, which gives eroded margins back."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.neighbours import neighbour


def grow_segments(labels: np.ndarray, radius_vox: int, *, foreground: np.ndarray | None = None) -> np.ndarray:
    """Background within `radius_vox` steps through faces of a segment joins the nearest one; among equals, the smallest id.

    Segments grow breadth-first, one voxel a step, through background only, and never out of `foreground` ((z, y, x) bool).
    A radius beyond the size of the volume fills everything that can be reached.
    labels: (z, y, x) unsigned, 0 = background. Returns a new array of the same dtype.
    """
    if radius_vox < 0:
        raise ValueError(f"radius_vox must be >= 0, got {radius_vox}")
    if foreground is not None and (foreground.shape != labels.shape or foreground.dtype != bool):
        raise ValueError(f"foreground must be bool {labels.shape}, got {foreground.dtype} {foreground.shape}")
    grown = labels.reshape(-1).copy()
    free = grown == 0 if foreground is None else (grown == 0) & foreground.reshape(-1)
    _grow(grown, free, labels.shape, radius_vox)
    return grown.reshape(labels.shape)


@njit(cache=True)
def _grow(labels: np.ndarray, free: np.ndarray, shape_vox: tuple[int, int, int], radius_vox: int) -> None:
    """`free` marks what may still be filled; a voxel leaves it at the end of the step that fills it."""
    queue = np.empty(free.sum(), np.int64)
    first, end = 0, 0
    for step in range(radius_vox):
        frontier = np.arange(labels.size) if step == 0 else queue[first:end]
        first = end
        for voxel in frontier:
            # What this very step has filled is still free; it does not spread before the next one.
            if labels[voxel] == 0 or free[voxel]:
                continue
            for direction in range(6):
                to = neighbour(int(voxel), direction, shape_vox)
                if to < 0 or not free[to]:
                    continue
                if labels[to] == 0:
                    queue[end] = to
                    end += 1
                    labels[to] = labels[voxel]
                elif labels[voxel] < labels[to]:
                    labels[to] = labels[voxel]
        if first == end:
            return
        for voxel in queue[first:end]:
            free[voxel] = False
