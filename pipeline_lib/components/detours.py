"""Ways round an edge: edges that a stronger detour makes superfluous.

Every edge is one side of up to four squares, two in each plane that it lies in. Where the other three sides of a square are all
stronger, its two voxels are joined by them before the edge itself would join them, at whatever threshold: a maximum spanning
forest does without it. Of four equal sides the one goes that starts last in scan order.

        7
      v---o
    9 |   | 8         the edge of 6 is superfluous, whichever axis it lies along
      w---o
        6
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def strongest_detours(levels: np.ndarray, axis: int, z: int, y: int, detours: np.ndarray) -> None:
    """detours (x,) uint8: edges along `axis` that start in row (z, y) are superfluous below this level.

    levels: (3, z, y, x) uint8, source-voxel storage. Edges that lead out of the volume are no part of any way.
    """
    _, n_z, n_y, n_x = levels.shape
    detours[:] = 0
    if axis == 2:
        _raise(detours[: n_x - 1], levels, axis, (z, y), (n_z, n_y), 1)
    else:
        _raise(detours, levels, axis, (z, y), (n_z, n_y), 0)
        to_z, to_y = z + (axis == 0), y + (axis == 1)
        edges, here, there = levels[axis, z, y], levels[2, z, y, :-1], levels[2, to_z, to_y, :-1]
        _raise_row(detours[1:], edges[:-1], here, there, 0)
        _raise_row(detours[:-1], edges[1:], here, there, 0)


@njit(cache=True, nogil=True)
def _raise(
    detours: np.ndarray, levels: np.ndarray, axis: int, row: tuple[int, int], n_rows: tuple[int, int], shift: int
) -> None:
    """By the squares that reach into the rows before and after, along z and along y. shift: 1 for edges along x."""
    z, y = row
    n = len(detours)
    to_z, to_y = z + (axis == 0), y + (axis == 1)
    for side in range(2):
        if side == axis:
            continue
        step_z, step_y = int(side == 0), int(side == 1)
        if row[side] > 0:
            beside = levels[axis, z - step_z, y - step_y, :n]
            here, there = levels[side, z - step_z, y - step_y], levels[side, to_z - step_z, to_y - step_y]
            # If the side is along an earlier axis, all three others start before the edge: then equal ones do, too.
            _raise_row(detours, beside, here[:n], there[shift:], int(side < axis))
        if row[side] < n_rows[side] - 1:
            beside = levels[axis, z + step_z, y + step_y, :n]
            _raise_row(detours, beside, levels[side, z, y, :n], levels[side, to_z, to_y, shift:], 0)


@njit(cache=True, nogil=True)
def _raise_row(detours: np.ndarray, beside: np.ndarray, here: np.ndarray, there: np.ndarray, equals: int) -> None:
    """equals: 1 if edges as strong as the detour are superfluous, too (but those of 255, which are joined at first)."""
    for x in range(len(detours)):
        weakest = min(beside[x], here[x], there[x])
        detours[x] = max(detours[x], weakest + np.uint8(equals if weakest < 255 else 0))
