"""What a sweep knows of points: when each comes into a segment, and how the segments that hold any merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.components.merge_tree import MergeTree


@dataclass(frozen=True)
class PointHistory:
    """The segments of P points at all levels, without the volume.

    clusters: (P,) index of the cluster in which each point starts. appears_at: (P,) uint8; a point is in background at this
    level and above, in the segment of its cluster below it; 0 = always in background. tree: how clusters merge.
    """

    clusters: np.ndarray
    appears_at: np.ndarray
    tree: MergeTree

    def labels_at(self, level: int) -> np.ndarray:
        """(P,) segments at a level, in one numbering of clusters + 1; 0 = background."""
        return np.where(self.appears_at > level, self.tree.segments_at(level, of=self.clusters) + 1, 0)

    def joined_at(self, pairs: np.ndarray) -> np.ndarray:
        """(M,) uint8 below which level the two points of each pair, (M, 2), lie in one segment; 0 = at none."""
        joined = np.minimum(self.appears_at[pairs[:, 0]], self.appears_at[pairs[:, 1]])
        _lower_to_meeting(self.tree.parents, self.tree.attached_at, self.clusters[pairs], joined)
        return joined


def trace_points(basins: np.ndarray, strongest: np.ndarray, tree: MergeTree, reached_at: np.ndarray | None) -> PointHistory:
    """basins, strongest: (P,) at the points. reached_at: as in SizeHistory, for segments of a minimal size."""
    appears_at = np.where(basins > 0, strongest, 0).astype(np.uint8)
    if reached_at is not None:
        _lower_to_reached(tree.parents, tree.attached_at, basins, reached_at, appears_at)
    on_the_way = np.zeros(len(tree.parents), bool)
    _mark_ways(tree.parents, tree.attached_at, basins, on_the_way)
    kept = np.flatnonzero(on_the_way)
    parents = np.searchsorted(kept, tree.parents[kept])
    return PointHistory(np.searchsorted(kept, basins), appears_at, MergeTree(parents, tree.attached_at[kept]))


@njit(cache=True)
def _mark_ways(parents: np.ndarray, attached_at: np.ndarray, basins: np.ndarray, marked: np.ndarray) -> None:
    for start in basins:
        basin = start
        while not marked[basin]:
            marked[basin] = True
            if attached_at[basin] > 0:
                basin = parents[basin]


@njit(cache=True)
def _lower_to_reached(
    parents: np.ndarray, attached_at: np.ndarray, basins: np.ndarray, reached_at: np.ndarray, appears_at: np.ndarray
) -> None:
    for i in range(len(basins)):
        basin = basins[i]
        while reached_at[basin] == 0 and attached_at[basin] > 0:
            appears_at[i] = min(appears_at[i], attached_at[basin])
            basin = parents[basin]
        appears_at[i] = min(appears_at[i], reached_at[basin])


@njit(cache=True)
def _lower_to_meeting(parents: np.ndarray, attached_at: np.ndarray, pairs: np.ndarray, joined: np.ndarray) -> None:
    """Both climb, the one that was attached first, until they meet."""
    for i in range(len(pairs)):
        a, b = pairs[i]
        while a != b and joined[i] > 0:
            if attached_at[a] < attached_at[b]:
                a, b = b, a
            joined[i] = min(joined[i], attached_at[a])
            a = parents[a]
