"""Sizes of all segments at all levels: voxels enter basins as the level falls below their strongest edge, and basins merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.components.merge_tree import MergeTree, find_tree
from pipeline_lib.components.runs import as_index

N_BINS = 64


@dataclass(frozen=True)
class SizeHistory:
    """histogram: (256, 64) at each level, segments of 2**k to 2**(k + 1) - 1 voxels; the first bin stays 0.

    reached_at: (B + 1,) uint8; a basin stands for a segment of at least `min_size_vox` voxels below this level, as long as it
    is a root of the tree; 0 = never. n_segments: (256,) such segments at each level.
    """

    min_size_vox: int
    histogram: np.ndarray
    reached_at: np.ndarray
    n_segments: np.ndarray


def trace_sizes(basins: np.ndarray, strongest: np.ndarray, tree: MergeTree, *, min_size_vox: int) -> SizeHistory:
    """basins, strongest: (z, y, x) as in ThresholdSweep. Takes about one more volume of basins while it runs."""
    counts = np.bincount(strongest.reshape(-1), minlength=256)
    starts = np.cumsum(counts[::-1])[::-1] - counts  # the strongest first
    entering = np.empty(basins.size, basins.dtype)
    _sort_voxels(basins.reshape(-1), strongest.reshape(-1), starts, entering)
    attached = np.argsort(-tree.attached_at.astype(np.int16), kind="stable")[: np.count_nonzero(tree.attached_at)]
    histogram = np.zeros((256, N_BINS), np.int64)
    reached_at = np.zeros_like(tree.attached_at)
    _replay(entering, counts, attached, tree, max(min_size_vox, 1), histogram, reached_at)
    return SizeHistory(min_size_vox, histogram, reached_at, tree.count_segments(reached_at))


@njit(cache=True)
def _sort_voxels(basins: np.ndarray, strongest: np.ndarray, starts: np.ndarray, entering: np.ndarray) -> None:
    for voxel in range(len(basins)):
        entering[starts[strongest[voxel]]] = basins[voxel]
        starts[strongest[voxel]] += 1


@njit(cache=True)
def _replay(
    entering: np.ndarray,
    counts: np.ndarray,
    attached: np.ndarray,
    tree: MergeTree,
    min_size_vox: int,
    histogram: np.ndarray,
    reached_at: np.ndarray,
) -> None:
    """attached: basins in the order in which they were attached to their parents."""
    roots = np.arange(len(tree.parents))
    size_vox = np.zeros(len(tree.parents), np.int64)
    now = np.zeros(N_BINS, np.int64)
    n_entered, n_attached = 0, 0
    for level in range(255, 0, -1):
        for basin in entering[n_entered : n_entered + counts[level]]:
            if basin > 0:
                root = find_tree(roots, as_index(basin))
                _resize(root, size_vox[root] + 1, level, size_vox, now, min_size_vox, reached_at)
        n_entered += counts[level]
        while n_attached < len(attached) and tree.attached_at[attached[n_attached]] == level:
            small = attached[n_attached]
            large = find_tree(roots, as_index(tree.parents[small]))
            roots[small] = large
            gained = size_vox[small]
            now[_bin(gained)] -= gained > 0
            _resize(large, size_vox[large] + gained, level, size_vox, now, min_size_vox, reached_at)
            n_attached += 1
        histogram[level - 1] = now


@njit(cache=True)
def _resize(
    root: int,
    new_vox: int,
    level: int,
    size_vox: np.ndarray,
    now: np.ndarray,
    min_size_vox: int,
    reached_at: np.ndarray,
) -> None:
    now[_bin(size_vox[root])] -= size_vox[root] > 0
    now[_bin(new_vox)] += new_vox > 0
    size_vox[root] = new_vox
    if reached_at[root] == 0 and new_vox >= min_size_vox:
        reached_at[root] = level


@njit(cache=True)
def _bin(size_vox: int) -> int:
    """floor(log2(size_vox)), 0 for 0."""
    k = 0
    while size_vox > 1:
        size_vox >>= 1
        k += 1
    return k
