"""Connected components at every threshold, from one pass over the volume."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.components.edges import check_affinities, level_of, to_levels
from pipeline_lib.components.merge_tree import MergeTree, merge_basins
from pipeline_lib.components.point_history import PointHistory, trace_points
from pipeline_lib.components.segment_sizes import SizeHistory, trace_sizes
from pipeline_lib.components.slabs import slabs_of, threads_for
from pipeline_lib.components.strongest import find_basins
from pipeline_lib.errors import UserError

HIGHEST_LEVEL = 254  # at 255 no uint8 edge is left


@dataclass(frozen=True)
class ThresholdSweep:
    """The segments of one volume at every threshold n / 255; 5 bytes for each voxel, and some for each basin.

    thresholds: (T,) float, falling. n_segments: (T,) segments of two voxels or more at each.
    basins: (z, y, x) ids 1..B of voxels that are together as soon as they are in any segment; 0 = never in one.
    strongest: (z, y, x) uint8, below which level a voxel is in a segment. tree: how basins merge.
    point_basins, point_strongest: the same at the P points given to the sweep, or None.
    """

    thresholds: np.ndarray
    n_segments: np.ndarray
    basins: np.ndarray
    strongest: np.ndarray
    tree: MergeTree
    point_basins: np.ndarray | None = None
    point_strongest: np.ndarray | None = None

    def labels_at(self, threshold: float) -> np.ndarray:
        """(z, y, x): what label_components gives at this threshold, ids included; for floats at the n / 255 below it."""
        labels = np.empty_like(self.basins)
        segments = self.tree.segments_at(level := self.level(threshold))
        _number(self.basins.reshape(-1), self.strongest.reshape(-1), level, segments, labels.reshape(-1))
        return labels

    def point_labels_at(self, threshold: float) -> np.ndarray:
        """(P,) segments of the points given to the sweep; 0 = none. Equal ids mean the same segment, at this threshold.

        The ids are not those of labels_at. Raises ValueError if the sweep was given no points.
        """
        basins, strongest = self._points()
        level = self.level(threshold)
        return np.where(strongest > level, self.tree.segments_at(level, of=basins), 0)

    def sizes(self, *, min_size_vox: int = 2) -> SizeHistory:
        """Sizes of the segments at every level, and from which level on each reaches `min_size_vox` voxels."""
        return trace_sizes(self.basins, self.strongest, self.tree, min_size_vox=min_size_vox)

    def point_history(self, *, sizes: SizeHistory | None = None) -> PointHistory:
        """How the points come into segments and how these merge, as the threshold falls.

        sizes: with these, a segment counts once it has reached their minimal size. Raises ValueError if the sweep was given no
        points.
        """
        basins, strongest = self._points()
        return trace_points(basins, strongest, self.tree, None if sizes is None else sizes.reached_at)

    def level(self, threshold: float) -> int:
        """Raises ValueError for a threshold that the sweep does not hold."""
        level = level_of(threshold)
        if not level_of(self.thresholds[-1]) <= level <= HIGHEST_LEVEL:
            raise ValueError(
                f"the sweep holds thresholds from {self.thresholds[-1]:.4f} to {self.thresholds[0]:.4f}, got {threshold}"
            )
        return level

    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        if self.point_basins is None or self.point_strongest is None:
            raise ValueError("the sweep was made without points_vox")
        return self.point_basins, self.point_strongest


def sweep_thresholds(
    affinities: np.ndarray, *, lowest: float = 0.25, points_vox: np.ndarray | None = None, threads: int | None = None
) -> ThresholdSweep:
    """The segments of label_components at every threshold n / 255 from `lowest` up to 254 / 255; the input is not kept.

    affinities: (3, z, y, x) uint8, float16 or float32 as for label_components; exact at every n / 255 for floats, too.
    points_vox: (P, 3) integer voxels zyx at which point_labels_at reads segments without labelling the volume. threads: by
    default, all processors; the segments are the same for any number.
    Voxels are joined to basins along the strongest edge of each, and basins by a maximum spanning forest of the edges between
    them. Raises UserError for points outside the volume, ValueError as label_components does.
    """
    check_affinities(affinities)
    lowest_level = min(level_of(lowest), HIGHEST_LEVEL)
    shape_vox = affinities.shape[1:]
    points = None if points_vox is None else points_inside(points_vox, shape_vox)
    threads = threads_for(threads, shape_vox[0])
    levels = to_levels(affinities)
    basins, strongest, n_basins = find_basins(levels, lowest_level, threads)
    tree = merge_basins(levels, basins, n_basins, lowest_level=lowest_level, threads=threads)
    tops = _tops(basins, strongest, n_basins, threads)
    n_segments = tree.count_segments(tops)[HIGHEST_LEVEL : lowest_level - 1 if lowest_level else None : -1]
    thresholds = np.arange(HIGHEST_LEVEL, lowest_level - 1, -1) / 255
    if points is None:
        return ThresholdSweep(thresholds, n_segments, basins, strongest, tree)
    at = tuple(points.T)
    return ThresholdSweep(thresholds, n_segments, basins, strongest, tree, basins[at], strongest[at])


def points_inside(points_vox: np.ndarray, shape_vox: tuple[int, ...]) -> np.ndarray:
    """(P, 3) int64 voxels, all of them inside a volume of this shape."""
    points_vox = np.asarray(points_vox)
    if points_vox.size and not np.issubdtype(points_vox.dtype, np.integer):
        raise ValueError(f"points_vox are voxels, so integers, got {points_vox.dtype}")
    points_vox = points_vox.astype(np.int64).reshape(-1, 3)
    outside = np.flatnonzero(np.any((points_vox < 0) | (points_vox >= shape_vox), axis=1))
    if len(outside):
        raise UserError(
            f"{len(outside)} of {len(points_vox)} points lie outside the volume of {shape_vox} voxels, the first at voxel "
            f"{tuple(points_vox[outside[0]].tolist())}: check the voxel size and the origin of the skeletons"
        )
    return points_vox


def _tops(basins: np.ndarray, strongest: np.ndarray, n_basins: int, threads: int) -> np.ndarray:
    """(B + 1,) uint8 below which level there is a segment in each basin."""

    def of_slab(slab: range) -> np.ndarray:
        planes = slice(slab.start, slab.stop)
        tops = np.zeros(n_basins + 1, np.uint8)
        _raise_tops(basins[planes].reshape(-1), strongest[planes].reshape(-1), tops)
        return tops

    with ThreadPoolExecutor(threads) as pool:
        tops = np.maximum.reduce(list(pool.map(of_slab, slabs_of(basins.shape[0], threads))))
    tops[0] = 0
    return np.asarray(tops)


@njit(cache=True, nogil=True)
def _raise_tops(basins: np.ndarray, strongest: np.ndarray, tops: np.ndarray) -> None:
    for voxel in range(len(basins)):
        tops[basins[voxel]] = max(tops[basins[voxel]], strongest[voxel])


@njit(cache=True)
def _number(basins: np.ndarray, strongest: np.ndarray, level: int, segments: np.ndarray, labels: np.ndarray) -> None:
    id_of = np.zeros_like(segments)
    n_segments = 0
    for voxel in range(len(basins)):
        labels[voxel] = 0
        if strongest[voxel] > level:
            segment = segments[basins[voxel]]
            if id_of[segment] == 0:
                n_segments += 1
                id_of[segment] = n_segments
            labels[voxel] = id_of[segment]
