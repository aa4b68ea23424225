"""The links of one plane of voxels: which edges between neighbours hold, as bits of each voxel.

A voxel keeps the links to its neighbours before it in scan order, so that one plane knows all that joins it to what has been
seen. (An affinity is stored the other way round, at the first voxel of its edge.)

            z - 1
              | LINK_Z
     LINK_Y   |
    y - 1 --- v --- x - 1
                LINK_X

LINK_OUT marks a voxel with an edge, in whatever direction, to one that is not among those labelled: then it is in a component
even if it is alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LINK_X, LINK_Y, LINK_Z, LINK_OUT = 1, 2, 4, 8


@njit(cache=True, nogil=True)
def link_above(values: np.ndarray, low: Any, high: Any, z: int, links: np.ndarray) -> None:
    """links (y, x) uint8 of plane z: the edges with low < value <= high. values: (3, z, y, x), source-voxel storage."""
    n_y, n_x = links.shape
    for y in range(n_y):
        row = links[y]
        row[0] = 0
        along_x = values[2, z, y]
        for x in range(1, n_x):
            row[x] = LINK_X * (low < along_x[x - 1] and along_x[x - 1] <= high)
        if y > 0:
            along_y = values[1, z, y - 1]
            for x in range(n_x):
                row[x] |= LINK_Y * (low < along_y[x] and along_y[x] <= high)
        if z > 0:
            along_z = values[0, z - 1, y]
            for x in range(n_x):
                row[x] |= LINK_Z * (low < along_z[x] and along_z[x] <= high)


@njit(cache=True, nogil=True)
def unlink_outside(foreground: np.ndarray, z: int, links: np.ndarray) -> None:
    """Removes from the links of plane z those with an end outside of `foreground`, (z, y, x) bool."""
    n_y, n_x = links.shape
    for y in range(n_y):
        row, here = links[y], foreground[z, y]
        for x in range(1, n_x):
            row[x] &= 255 - LINK_X * (not here[x - 1])
        if y > 0:
            before = foreground[z, y - 1]
            for x in range(n_x):
                row[x] &= 255 - LINK_Y * (not before[x])
        if z > 0:
            below = foreground[z - 1, y]
            for x in range(n_x):
                row[x] &= 255 - LINK_Z * (not below[x])
        for x in range(n_x):
            row[x] *= here[x]
