"""Steps between voxels that share a face, on flat indices in scan order."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def neighbour(voxel: int, direction: int, shape_vox: tuple[int, int, int]) -> int:
    """The neighbour in one of the directions 0..5 (-z, +z, -y, +y, -x, +x), or -1 where the volume ends."""
    strides = (shape_vox[1] * shape_vox[2], shape_vox[2], 1)
    axis, step = direction // 2, 2 * (direction % 2) - 1
    place = np.int64(voxel) // strides[axis] % shape_vox[axis] + step
    return voxel + step * strides[axis] if 0 <= place < shape_vox[axis] else -1
