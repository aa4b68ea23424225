"""The voxels that a ball can touch."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def window(ball: np.ndarray, margin: float, size: np.ndarray, z_start: int, shape: tuple[int, int, int]) -> np.ndarray:
    """(3, 2) int64 half-open ranges in a slab of `shape` from section `z_start`; empty where the ball is outside.

    ball: centre zyx and radius in nm; margin: how far beyond its surface, in nm; size: of a voxel in nm.
    """
    ranges = np.empty((3, 2), np.int64)
    for axis in range(3):
        first = z_start if axis == 0 else 0
        extent = ball[3] + margin
        ranges[axis, 0] = max(0, int(np.floor((ball[axis] - extent) / size[axis])) - first)
        ranges[axis, 1] = min(shape[axis], int(np.floor((ball[axis] + extent) / size[axis])) + 1 - first)
    return ranges


@njit(cache=True)
def distance(ball: np.ndarray, z: float, y: float, x: float) -> float:
    """From a point in nm to the surface of the ball, negative inside."""
    dz, dy, dx = z - ball[0], y - ball[1], x - ball[2]
    return np.sqrt(dz * dz + dy * dy + dx * dx) - ball[3]
