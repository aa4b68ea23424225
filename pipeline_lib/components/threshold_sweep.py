"""Connected components at every threshold, from one pass over the edges in falling order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline_lib.components.label import check_affinities, find_root, level_of, to_levels
from pipeline_lib.errors import UserError

HIGHEST_LEVEL = 254  # at 255 no uint8 edge is left


class MergeForest(NamedTuple):
    """A union-find forest that remembers at which affinity each voxel was attached to its parent.

    At level n a voxel belongs to the segment at which one arrives by following `parents` as long as `attached_at` > n. The
    smaller tree is attached to the larger, so a way is at most log2(number of voxels) long.

    parents: (V,) uint32 voxel indices in scan order. attached_at: (V,) uint8 affinity of the edge to the parent; 0 = a root.
    touched_at: (V,) uint8 highest affinity of the voxel's own edges.
    """

    parents: np.ndarray
    attached_at: np.ndarray
    touched_at: np.ndarray


@dataclass(frozen=True)
class ThresholdSweep:
    """The segments of one volume at every threshold n / 255.

    thresholds: (T,) float, falling. n_segments: (T,) segments of two voxels or more at each.
    points: (P,) int64 voxel indices, or None.
    """

    shape_vox: tuple[int, int, int]
    thresholds: np.ndarray
    n_segments: np.ndarray
    forest: MergeForest
    points: np.ndarray | None

    def labels_at(self, threshold: float) -> np.ndarray:
        """(z, y, x) uint32: what label_components gives at this threshold, ids included."""
        labels = np.zeros(math.prod(self.shape_vox), np.uint32)
        _number(self.forest, self._level(threshold), labels)
        return labels.reshape(self.shape_vox)

    def point_labels_at(self, threshold: float) -> np.ndarray:
        """(P,) uint32 segments of the points given to the sweep; 0 = none. Equal ids mean the same segment, at this threshold.

        The ids are not those of labels_at. Raises ValueError if the sweep was given no points.
        """
        if self.points is None:
            raise ValueError("the sweep was made without points_vox")
        labels = np.zeros(len(self.points), np.uint32)
        _label_points(self.forest, self._level(threshold), self.points, labels)
        return labels

    def _level(self, threshold: float) -> int:
        level = level_of(threshold)
        if not level_of(self.thresholds[-1]) <= level <= HIGHEST_LEVEL:
            raise ValueError(
                f"the sweep holds thresholds from {self.thresholds[-1]:.4f} to {self.thresholds[0]:.4f}, got {threshold}"
            )
        return level


def sweep_thresholds(affinities: np.ndarray, *, lowest: float = 0.25, points_vox: np.ndarray | None = None) -> ThresholdSweep:
    """The segments of label_components at every threshold n / 255 from `lowest` up to 254 / 255; the input is not kept.

    affinities: (3, z, y, x) uint8, float16 or float32 as for label_components; exact at every n / 255 for floats, too.
    points_vox: (P, 3) integer voxels zyx at which point_labels_at reads segments without labelling the volume.
    Raises UserError for points outside the volume, ValueError as label_components does.
    """
    check_affinities(affinities)
    shape_vox = affinities.shape[1:]
    lowest_level = min(level_of(lowest), HIGHEST_LEVEL)
    points = None if points_vox is None else _flat_points(points_vox, shape_vox)
    levels = to_levels(affinities)
    for axis in range(3):
        levels[axis][(slice(None),) * axis + (slice(-1, None),)] = 0
    edges, n_by_level = _edges_by_level(levels.reshape(-1), lowest_level)
    n_voxels = math.prod(shape_vox)
    forest = MergeForest(np.arange(n_voxels, dtype=np.uint32), np.zeros(n_voxels, np.uint8), np.zeros(n_voxels, np.uint8))
    n_segments = np.zeros(HIGHEST_LEVEL + 1 - lowest_level, np.int64)
    strides = np.array([shape_vox[1] * shape_vox[2], shape_vox[2], 1], np.int64)
    _merge(edges, n_by_level, strides, forest, n_segments)
    thresholds = np.arange(HIGHEST_LEVEL, lowest_level - 1, -1) / 255
    return ThresholdSweep(shape_vox, thresholds, n_segments, forest, points)


def _flat_points(points_vox: np.ndarray, shape_vox: tuple[int, int, int]) -> np.ndarray:
    points_vox = np.asarray(points_vox, np.int64).reshape(-1, 3)
    outside = np.flatnonzero(np.any((points_vox < 0) | (points_vox >= shape_vox), axis=1))
    if len(outside):
        raise UserError(
            f"{len(outside)} of {len(points_vox)} points lie outside the volume of {shape_vox} voxels, the first at voxel "
            f"{tuple(points_vox[outside[0]].tolist())}: check the voxel size and the origin of the skeletons"
        )
    return np.asarray(np.ravel_multi_index(tuple(points_vox.T), shape_vox), np.int64)


def _edges_by_level(levels: np.ndarray, lowest_level: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the edges above the lowest level, the strongest first, and how many there are of each of the 256 levels."""
    n_by_level = np.bincount(levels, minlength=256)
    n_by_level[: lowest_level + 1] = 0
    starts = np.cumsum(n_by_level[::-1])[::-1] - n_by_level
    edges = np.empty(n_by_level.sum(), np.uint32 if levels.size < 2**32 else np.int64)
    _bucket(levels, lowest_level, starts, edges)
    return edges, n_by_level


@njit(cache=True)
def _bucket(levels: np.ndarray, lowest_level: int, starts: np.ndarray, edges: np.ndarray) -> None:
    for edge in range(len(levels)):
        level = levels[edge]
        if level > lowest_level:
            edges[starts[level]] = edge
            starts[level] += 1


@njit(cache=True)
def _merge(edges: np.ndarray, n_by_level: np.ndarray, strides: np.ndarray, forest: MergeForest, n_segments: np.ndarray) -> None:
    n_voxels = len(forest.parents)
    shortcuts = np.arange(1, n_voxels + 1).astype(np.uint32)  # the same trees with shortened ways, as index + 1
    size_vox = np.ones(n_voxels, np.uint32)
    done, n_now = 0, 0
    for i in range(len(n_segments)):
        value = 255 - i
        for edge in edges[done : done + n_by_level[value]]:
            a = int(edge) % n_voxels
            b = a + strides[int(edge) // n_voxels]
            for voxel in (a, b):
                if forest.touched_at[voxel] == 0:
                    forest.touched_at[voxel] = value
                    n_now += 1
            large, small = find_root(shortcuts, a), find_root(shortcuts, b)
            if large == small:
                continue
            if size_vox[large] < size_vox[small]:
                large, small = small, large
            shortcuts[small] = large + 1
            forest.parents[small] = large
            forest.attached_at[small] = value
            size_vox[large] += size_vox[small]
            n_now -= 1
        done += n_by_level[value]
        n_segments[i] = n_now


@njit(cache=True)
def _segment_root(forest: MergeForest, level: int, voxel: int) -> int:
    while forest.attached_at[voxel] > level:
        voxel = int(forest.parents[voxel])
    return voxel


@njit(cache=True)
def _number(forest: MergeForest, level: int, labels: np.ndarray) -> None:
    id_of_root = np.zeros(len(labels), np.uint32)
    n_segments = 0
    for voxel in range(len(labels)):
        if forest.touched_at[voxel] > level:
            root = _segment_root(forest, level, voxel)
            if id_of_root[root] == 0:
                n_segments += 1
                id_of_root[root] = n_segments
            labels[voxel] = id_of_root[root]


@njit(cache=True)
def _label_points(forest: MergeForest, level: int, points: np.ndarray, labels: np.ndarray) -> None:
    for i, voxel in enumerate(points):
        if forest.touched_at[voxel] > level:
            labels[i] = _segment_root(forest, level, voxel) + 1
