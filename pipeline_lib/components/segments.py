"""Segments put in order after labelling: small ones dropped, eroded margins given back."""

from __future__ import annotations

import fastremap
import numpy as np
from numba import njit


def remove_small_segments(labels: np.ndarray, min_size_vox: int) -> np.ndarray:
    """Segments of fewer than `min_size_vox` voxels become 0; the others are numbered 1..n in the order of their first voxels.

    labels: (z, y, x) unsigned, 0 = background. Returns a new array of the same dtype.
    """
    compact, _ = fastremap.renumber(labels, preserve_zero=True, in_place=False)
    sizes_vox = np.bincount(compact.reshape(-1))
    kept = sizes_vox >= min_size_vox
    kept[0] = False
    new_ids = np.where(kept, np.cumsum(kept), 0).astype(labels.dtype)
    return new_ids[compact]


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
    grown = np.array(labels, order="C")
    free = grown == 0 if foreground is None else (grown == 0) & foreground
    _grow(grown, np.ascontiguousarray(free), radius_vox)
    return grown


@njit(cache=True)
def _grow(labels: np.ndarray, free: np.ndarray, radius_vox: int) -> None:
    """`free` marks what may still be filled; a voxel leaves it at the end of the step that fills it."""
    queue = np.empty(free.sum(), np.int64)
    first, end = 0, 0
    for step in range(radius_vox):
        frontier = np.arange(labels.size) if step == 0 else queue[first:end]
        first, end = end, _fill_neighbours(labels, free, frontier, queue, end)
        if first == end:
            return
        for voxel in queue[first:end]:
            free.reshape(-1)[voxel] = False


@njit(cache=True)
def _fill_neighbours(labels: np.ndarray, free: np.ndarray, frontier: np.ndarray, queue: np.ndarray, end: int) -> int:
    """Gives the free neighbours of `frontier` the smallest id that touches them and appends them to `queue[:end]`."""
    n_z, n_y, n_x = labels.shape
    for voxel in frontier:
        z, y, x = voxel // (n_y * n_x), voxel // n_x % n_y, voxel % n_x
        label = labels[z, y, x]
        # What this very step has filled is still free; it does not spread before the next one.
        if label == 0 or free[z, y, x]:
            continue
        for direction in range(6):
            axis, step = direction // 2, 2 * (direction % 2) - 1
            to_z, to_y, to_x = z + step * (axis == 0), y + step * (axis == 1), x + step * (axis == 2)
            if not (0 <= to_z < n_z and 0 <= to_y < n_y and 0 <= to_x < n_x) or not free[to_z, to_y, to_x]:
                continue
            if labels[to_z, to_y, to_x] == 0:
                queue[end] = (to_z * n_y + to_y) * n_x + to_x
                end += 1
                labels[to_z, to_y, to_x] = label
            elif label < labels[to_z, to_y, to_x]:
                labels[to_z, to_y, to_x] = label
    return end
