"""Which voxels the region of a box holds, and which of these others hold, too.

The region of a box are the edges that start in it, so its voxels and one plane after it along each axis along which the volume
goes on. Shared are the voxels of those planes, and those of the box's first planes where the volume goes on before them:

                     |<- box ->|
    region:    . . . s v v v v s . . .        s: shared, v: held by no other region
                     |         '- the first voxel of the box after this one
                     '- also the plane after the box before this one
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.geometry import Box, Triple


def region_of(box: Box, shape_vox: Triple) -> Box:
    """The box and the planes after it. Raises ValueError for a box that is not inside the volume."""
    if min(box.start_vox) < 0 or any(b > n for b, n in zip(box.stop_vox, shape_vox, strict=True)):
        raise ValueError(f"{box} is not inside the volume of {shape_vox} voxels")
    z, y, x = (min(b + 1, n) for b, n in zip(box.stop_vox, shape_vox, strict=True))
    return Box(box.start_vox, (z, y, x))


def shared_voxels(box: Box, shape_vox: Triple) -> np.ndarray:
    """(z, y, x) bool over the region of a box."""
    shared = np.zeros(region_of(box, shape_vox).shape_vox, bool)
    for axis, (start, stop, size) in enumerate(zip(box.start_vox, box.stop_vox, shape_vox, strict=True)):
        planes = np.moveaxis(shared, axis, 0)
        planes[0] |= start > 0
        planes[-1] |= stop < size
    return shared


@njit(cache=True, nogil=True)
def is_shared(voxel: int, planes: np.ndarray, shape_vox: np.ndarray) -> bool:
    """Of a voxel that the region of a box holds. voxel: flat index in the volume. planes: (2, 3) start and stop of the box."""
    z, y, x = voxel // (shape_vox[1] * shape_vox[2]), voxel // shape_vox[2] % shape_vox[1], voxel % shape_vox[2]
    first = (z == planes[0, 0] > 0) or (y == planes[0, 1] > 0) or (x == planes[0, 2] > 0)
    return first or z == planes[1, 0] or y == planes[1, 1] or x == planes[1, 2]
