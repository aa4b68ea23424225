"""What a sweep over all blocks tells of points and sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.components.falling import in_falling_order
from pipeline_lib.components.point_history import PointHistory, trace_points
from pipeline_lib.components.regions.forest import RegionForest
from pipeline_lib.components.segment_sizes import replay_sizes
from pipeline_lib.components.threshold_sweep import points_inside
from pipeline_lib.geometry import Box


@dataclass(frozen=True)
class PointSweep:
    """history: of the points, in their order. n_segments: (256,), histogram: (256, 64) at each level, as in SizeHistory.

    A segment counts, and appears in the history, once it has `min_size_vox` voxels; the histogram has all of them.
    """

    history: PointHistory
    n_segments: np.ndarray
    histogram: np.ndarray


def finish_sweep(forest: RegionForest, points_vox: np.ndarray) -> PointSweep:
    """forest: of the whole volume. points_vox: (P, 3) integer voxels zyx in any order, among those given to reduce_block.

    Raises ValueError for a forest of a part of the volume or points that were not given to reduce_block, UserError for points
    outside the volume.
    """
    if forest.box != Box.of_shape(forest.shape_vox):
        raise ValueError(f"the regions joined so far hold {forest.box}, not the volume of {forest.shape_vox} voxels")
    points = points_inside(points_vox, forest.shape_vox)
    known = forest.terminals
    voxels = np.ravel_multi_index(tuple(points.T), forest.shape_vox)
    at = np.searchsorted(known.voxels, voxels)
    strange = np.flatnonzero(np.append(known.voxels, -1)[at] != voxels)
    if len(strange):
        raise ValueError(
            f"{len(strange)} of {len(points)} points were not given to reduce_block, the first at voxel "
            f"{tuple(points[strange[0]].tolist())}"
        )
    gains = in_falling_order(forest.gains.levels, forest.gains.clusters, forest.gains.n_vox)
    sizes = replay_sizes(gains, forest.tree, min_size_vox=forest.min_size_vox)
    history = trace_points(known.clusters[at], known.strongest[at], forest.tree, sizes.reached_at)
    return PointSweep(history, forest.n_closed + sizes.n_segments, forest.histogram + sizes.histogram)
