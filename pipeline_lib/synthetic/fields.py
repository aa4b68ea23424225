"""Seeded random fields that are the same however a volume is cut into slabs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


class SmoothField:
    """A random field of mean 0 and standard deviation 1 that varies over about `scale_nm`, kept on a coarse grid."""

    def __init__(self, size_nm: Sequence[float] | np.ndarray, scale_nm: float, rng: np.random.Generator) -> None:
        self.spacing_nm = scale_nm / 2
        cells = np.ceil(np.asarray(size_nm) / self.spacing_nm).astype(int) + 3
        grid = ndimage.gaussian_filter(rng.standard_normal(tuple(cells), dtype=np.float32), 0.8, mode="wrap")
        self.grid = (grid - grid.mean()) / max(float(grid.std()), 1e-6)

    def at(self, z_start: int, z_stop: int, shape_vox: Sequence[int], voxel_size_nm: np.ndarray) -> np.ndarray:
        """(z_stop - z_start, y, x) float32 in the voxel centres of these sections, by linear interpolation."""
        values = self.grid
        ranges = [(z_start, z_stop), (0, shape_vox[1]), (0, shape_vox[2])]
        for axis, (start, stop) in enumerate(ranges):
            position = (np.arange(start, stop) + 0.5) * voxel_size_nm[axis] / self.spacing_nm
            low = position.astype(int)
            weight = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            values = (1 - weight) * values.take(low, axis) + weight * values.take(low + 1, axis)
        return values


def white_noise(key: tuple[int, int], z_start: int, z_stop: int, shape_vox: Sequence[int]) -> np.ndarray:
    """(z_stop - z_start, y, x) float32 standard normal values; each section has a stream of its own, named by `key` and z."""
    shape = (int(shape_vox[1]), int(shape_vox[2]))
    sections = [np.random.default_rng((*key, z)).standard_normal(shape, dtype=np.float32) for z in range(z_start, z_stop)]
    return np.stack(sections)
