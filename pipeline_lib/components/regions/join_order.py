"""In which order the regions of a grid of blocks are joined."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline_lib.geometry import BlockGrid


class Join(NamedTuple):
    """The regions `left` and `right` become region `joined`."""

    left: int
    right: int
    joined: int


def join_rounds(grid: BlockGrid) -> list[list[Join]]:
    """Rounds of joins after which one region holds the whole grid; those of one round do not depend on each other.

    Regions 0 to len(grid) - 1 are the blocks, in the order of the grid; then each join has the next number. A round joins pairs
    of neighbours along one axis, that along which regions are shortest: what is kept of a region grows with its surface.

        0 1 2      round 1     6  2      round 2         round 3
        3 4 5      ------->    7  5      ------->  8 9   ------->  10         (blocks longer along y than along x)
    """
    regions, region_vox = np.arange(len(grid)).reshape(grid.counts), list(grid.block_vox)
    n_regions, rounds = len(grid), []
    while regions.size > 1:
        axis = min((axis for axis in range(3) if regions.shape[axis] > 1), key=lambda axis: region_vox[axis])
        along = np.moveaxis(regions, axis, 0)
        left, right = along[: len(along) // 2 * 2 : 2], along[1::2]
        joined = np.arange(n_regions, n_regions + left.size).reshape(left.shape)
        rounds.append([Join(*row) for row in np.stack([left, right, joined], axis=-1).reshape(-1, 3).tolist()])
        regions = np.moveaxis(np.concatenate([joined, along[2 * len(left) :]]), 0, axis)
        n_regions += left.size
        region_vox[axis] *= 2
    return rounds
