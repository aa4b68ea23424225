"""Of a forest, what its terminals can reach; all other segments are counted and gone.

The level falls: clusters gain voxels, merge, and terminals enter. As long as no terminal has entered a segment, nothing outside
can join it: it is closed, and all that is kept is how many closed segments of which size there are at each level. The first
terminal opens it: from then on it is a kept cluster, and the voxels that it has and those that come to it later are its gains.

    level      cluster 1     cluster 2                        level    closed    kept cluster 1
      9        4 voxels                                         9         1
      7                      5 voxels, terminal u      ->       7         1       5 voxels, u
      3        2 voxels                                         3         1
      2            merge, terminal v                            2         0       6 voxels, v
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline_lib.components.falling import Falling, in_falling_order
from pipeline_lib.components.merge_tree import MergeTree, find_tree
from pipeline_lib.components.regions.forest import Gains
from pipeline_lib.components.runs import as_index
from pipeline_lib.components.segment_sizes import N_BINS, count_resized


class Reduced(NamedTuple):
    """tree, gains, n_closed, histogram: as in RegionForest. clusters: (T,) in which each terminal is now, 0 = in none."""

    tree: MergeTree
    clusters: np.ndarray
    gains: Gains
    n_closed: np.ndarray
    histogram: np.ndarray


class _State(NamedTuple):
    """Of each of N clusters that were given, and of each kept one; index 0 is none.

    roots: (N + 1,) union-find. n_vox: (N + 1,) voxels of a closed root; of an open one, those gained at this level. kept_as:
    (N + 1,) the kept cluster that stands for an open root, 0 = closed. parents, attached_at: the kept tree; n_in: how many
    kept clusters one stands for. gaining: open roots with gains at this level, in any order. by_size: (64,) closed segments.
    n_kept, n_gaining, n_large: (1,) how many there are; large are the closed segments of at least `least_vox`, (1,).
    """

    roots: np.ndarray
    n_vox: np.ndarray
    kept_as: np.ndarray
    parents: np.ndarray
    attached_at: np.ndarray
    n_in: np.ndarray
    gaining: np.ndarray
    by_size: np.ndarray
    n_kept: np.ndarray
    n_gaining: np.ndarray
    n_large: np.ndarray
    least_vox: np.ndarray


def reduce_forest(
    n_clusters: int, joins: Falling, gains: Falling, clusters: np.ndarray, strongest: np.ndarray, *, min_size_vox: int
) -> Reduced:
    """joins: rows (cluster, cluster); gains: rows (cluster, voxels); those of cluster 0 do not count.

    clusters: (T,) unsigned, of the terminals; strongest: (T,) uint8, below which level each is in the segment of its cluster.
    """
    (order,), ends = in_falling_order(strongest, np.arange(len(strongest)))
    entering = Falling((clusters[order],), ends)
    state = _state(n_clusters, min(n_clusters, len(order)), clusters.dtype, max(min_size_vox, 2))
    n_closed, histogram = np.zeros(256, np.int64), np.zeros((256, N_BINS), np.int64)
    kept_gains = []
    for level in range(255, 0, -1):
        (gaining, n_vox), (ends_a, ends_b), (terminals,) = gains.at(level), joins.at(level), entering.at(level)
        _fall_below(level, gaining, n_vox, ends_a, ends_b, terminals, state)
        kept_gains.append(_take_gains(state, level))
        n_closed[level - 1], histogram[level - 1] = state.n_large[0], state.by_size
    n_kept = int(state.n_kept[0])
    tree = MergeTree(state.parents[: n_kept + 1].copy(), state.attached_at[: n_kept + 1].copy())
    clusters = np.zeros_like(clusters)
    clusters[order] = entering.columns[0]
    return Reduced(tree, clusters, Gains(*map(np.concatenate, zip(*kept_gains, strict=True))), n_closed, histogram)


def _state(n_clusters: int, most_kept: int, ids: np.dtype, least_vox: int) -> _State:
    return _State(
        roots=np.arange(n_clusters + 1, dtype=ids),
        n_vox=np.zeros(n_clusters + 1, np.int64),
        kept_as=np.zeros(n_clusters + 1, ids),
        parents=np.arange(most_kept + 1, dtype=ids),
        attached_at=np.zeros(most_kept + 1, np.uint8),
        n_in=np.ones(most_kept + 1, ids),
        gaining=np.zeros(most_kept, ids),
        by_size=np.zeros(N_BINS, np.int64),
        n_kept=np.zeros(1, np.int64),
        n_gaining=np.zeros(1, np.int64),
        n_large=np.zeros(1, np.int64),
        least_vox=np.array([least_vox]),
    )


def _take_gains(state: _State, level: int) -> Gains:
    """What open segments have gained at this level; they begin the next one with nothing."""
    roots = state.gaining[: state.n_gaining[0]]
    n_vox = state.n_vox[roots]
    state.n_vox[roots] = state.n_gaining[0] = 0
    roots, n_vox = roots[n_vox > 0], n_vox[n_vox > 0]  # without those that have merged since
    return Gains(state.kept_as[roots], np.full(len(roots), level, np.uint8), n_vox)


@njit(cache=True, nogil=True)
def _fall_below(
    level: int,
    gaining: np.ndarray,
    n_vox: np.ndarray,
    ends_a: np.ndarray,
    ends_b: np.ndarray,
    terminals: np.ndarray,
    state: _State,
) -> None:
    """terminals: the clusters of those that enter; becomes their kept clusters."""
    i = 0
    while i < len(gaining):
        cluster, gained = as_index(gaining[i]), 0
        while i < len(gaining) and as_index(gaining[i]) == cluster:  # voxels in a row are mostly of one cluster
            gained += n_vox[i]
            i += 1
        if cluster > 0:
            _grow(state, find_tree(state.roots, cluster), gained)
    for i in range(len(ends_a)):
        a, b = find_tree(state.roots, as_index(ends_a[i])), find_tree(state.roots, as_index(ends_b[i]))
        if a != b:
            _join(state, level, a, b)
    for i in range(len(terminals)):
        root = find_tree(state.roots, as_index(terminals[i]))
        if state.kept_as[root] == 0:
            _open(state, root)
        terminals[i] = state.kept_as[root]


@njit(cache=True, nogil=True)
def _grow(state: _State, root: int, gained: int) -> None:
    before = state.n_vox[root]
    state.n_vox[root] += gained
    if state.kept_as[root] == 0:
        _count_closed(state, before, before + gained)
    elif before == 0 and gained > 0:
        state.gaining[state.n_gaining[0]] = root
        state.n_gaining[0] += 1


@njit(cache=True, nogil=True)
def _count_closed(state: _State, old_vox: int, new_vox: int) -> None:
    count_resized(state.by_size, old_vox, new_vox)
    state.n_large[0] += int(new_vox >= state.least_vox[0]) - int(old_vox >= state.least_vox[0])


@njit(cache=True, nogil=True)
def _join(state: _State, level: int, a: int, b: int) -> None:
    """An open root stays one as long as it does not join another open one: there are no more of them than kept clusters."""
    if state.kept_as[b] > 0 and (state.kept_as[a] == 0 or state.n_in[state.kept_as[a]] < state.n_in[state.kept_as[b]]):
        a, b = b, a
    gained = state.n_vox[b]
    if state.kept_as[b] > 0:
        large, small = state.kept_as[a], state.kept_as[b]
        state.parents[small] = large
        state.attached_at[small] = level
        state.n_in[large] += state.n_in[small]
    else:
        _count_closed(state, gained, 0)
    state.n_vox[b] = 0
    state.roots[b] = a
    _grow(state, a, gained)


@njit(cache=True, nogil=True)
def _open(state: _State, root: int) -> None:
    gained = state.n_vox[root]
    _count_closed(state, gained, 0)
    state.n_kept[0] += 1
    state.kept_as[root] = state.n_kept[0]
    state.n_vox[root] = 0
    _grow(state, root, gained)
