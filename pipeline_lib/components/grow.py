"""Segments grown into background, which gives eroded margins back."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.neighbours import neighbour
from pipeline_lib.components.runs import as_index


def grow_segments(labels: np.ndarray, radius_vox: int, *, foreground: np.ndarray | None = None) -> np.ndarray:
    """Background within `radius_vox` steps through faces of a segment joins the nearest one.

    Segments grow breadth-first, one voxel a step, through background only, and never out of `foreground` ((z, y, x) bool).
    Among equally near segments a voxel takes that of its first neighbour, in the order -z, +z, -y, +y, -x, +x, which was
    labelled in an earlier step:

        7 0 0 0 2   ->   7 7 7 2 2

    What a voxel becomes follows from what lies within `radius_vox` of it, whatever the ids: a block read with so much around it
    grows as the whole volume does. A radius beyond the size of the volume fills everything that can be reached.
    labels: (z, y, x) unsigned, 0 = background. Returns a new array of the same dtype. Raises ValueError for a negative radius
    and for a foreground of another shape or dtype.
    """
    if radius_vox < 0:
        raise ValueError(f"radius_vox must be >= 0, got {radius_vox}")
    if foreground is not None and (foreground.shape != labels.shape or foreground.dtype != bool):
        raise ValueError(f"foreground must be bool {labels.shape}, got {foreground.dtype} {foreground.shape}")
    grown = labels.reshape(-1).copy()
    free = grown == 0 if foreground is None else (grown == 0) & foreground.reshape(-1)
    if radius_vox > 0:
        queue = np.empty(np.count_nonzero(free), np.uint32 if free.size <= 2**32 else np.int64)
        n_filled = _fill_beside(grown, free, labels.shape, queue)
        _spread(grown, free, labels.shape, radius_vox - 1, queue, n_filled)
    return grown.reshape(labels.shape)


@njit(cache=True, nogil=True)
def _fill_beside(labels: np.ndarray, free: np.ndarray, shape_vox: tuple[int, int, int], queue: np.ndarray) -> int:
    """The first step, which looks at every voxel. free: bool, what may still be filled; queue: takes what is filled."""
    end = 0
    for voxel in range(len(labels)):
        if not free[voxel]:
            continue
        for direction in range(6):
            beside = neighbour(voxel, direction, shape_vox)
            # What this very step has filled is still free; it does not spread before the next one.
            if beside >= 0 and labels[beside] != 0 and not free[beside]:
                labels[voxel] = labels[beside]
                queue[end] = voxel
                end += 1
                break
    for voxel in queue[:end]:
        free[voxel] = False
    return end


@njit(cache=True, nogil=True)
def _spread(
    labels: np.ndarray, free: np.ndarray, shape_vox: tuple[int, int, int], n_steps: int, queue: np.ndarray, end: int
) -> None:
    """Further steps, from the voxels queue[:end] of the first."""
    first = 0
    for _ in range(n_steps):
        frontier = queue[first:end]
        if len(frontier) == 0:
            return
        first = end
        # A voxel that is reached from several sides goes to the first of them, in the order of directions as seen from it.
        for direction in range(6):
            for voxel in frontier:
                to = neighbour(as_index(voxel), direction ^ 1, shape_vox)
                if to >= 0 and free[to]:
                    free[to] = False
                    labels[to] = labels[voxel]
                    queue[end] = to
                    end += 1
