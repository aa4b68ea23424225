"""Sizes of all segments at all levels: voxels enter basins as the level falls below their strongest edge, and basins merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.components.falling import Falling, in_falling_order
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
    (entering,), ends = in_falling_order(strongest.reshape(-1), basins.reshape(-1))
    each_one = np.broadcast_to(np.int64(1), entering.shape)  # takes no memory
    return replay_sizes(Falling((entering, each_one), ends), tree, min_size_vox=min_size_vox)


def replay_sizes(gains: Falling, tree: MergeTree, *, min_size_vox: int) -> SizeHistory:
    """gains: rows (basin, number of voxels that enter it below this level); those of basin 0 do not count."""
    entering, n_vox = gains.columns
    (attached,), attached_ends = in_falling_order(tree.attached_at, np.arange(len(tree.parents)))
    histogram = np.zeros((256, N_BINS), np.int64)
    reached_at = np.zeros_like(tree.attached_at)
    least_vox = max(min_size_vox, 1)
    _replay(entering, n_vox, gains.ends, attached, attached_ends, tree, least_vox, histogram, reached_at)
    return SizeHistory(min_size_vox, histogram, reached_at, tree.count_segments(reached_at))


@njit(cache=True, nogil=True)
def _replay(
    entering: np.ndarray,
    n_vox: np.ndarray,
    entered: np.ndarray,
    attached: np.ndarray,
    attached_ends: np.ndarray,
    tree: MergeTree,
    min_size_vox: int,
    histogram: np.ndarray,
    reached_at: np.ndarray,
) -> None:
    """entering: basins that gain n_vox voxels; attached: basins in the order in which they were attached to their parents.

    entered, attached_ends: (257,) how many rows have come at each level.
    """
    roots = np.arange(len(tree.parents))
    size_vox = np.zeros(len(tree.parents), np.int64)
    now = np.zeros(N_BINS, np.int64)
    for level in range(255, 0, -1):
        i = entered[level + 1]
        while i < entered[level]:
            basin, gained = as_index(entering[i]), 0
            while i < entered[level] and as_index(entering[i]) == basin:  # voxels in a row are mostly of one basin
                gained += n_vox[i]
                i += 1
            if basin > 0:
                root = find_tree(roots, basin)
                _resize(root, size_vox[root] + gained, level, size_vox, now, min_size_vox, reached_at)
        for small in attached[attached_ends[level + 1] : attached_ends[level]]:
            large = find_tree(roots, as_index(tree.parents[small]))
            roots[small] = large
            gained = size_vox[small]
            count_resized(now, gained, 0)
            _resize(large, size_vox[large] + gained, level, size_vox, now, min_size_vox, reached_at)
        histogram[level - 1] = now


@njit(cache=True, nogil=True)
def _resize(
    root: int,
    new_vox: int,
    level: int,
    size_vox: np.ndarray,
    now: np.ndarray,
    min_size_vox: int,
    reached_at: np.ndarray,
) -> None:
    count_resized(now, size_vox[root], new_vox)
    size_vox[root] = new_vox
    if reached_at[root] == 0 and new_vox >= min_size_vox:
        reached_at[root] = level


@njit(cache=True, nogil=True)
def count_resized(histogram: np.ndarray, old_vox: int, new_vox: int) -> None:
    """histogram: (64,) segments by size; one of them changes its size, 0 = there is none."""
    if (old_vox ^ new_vox) <= (old_vox & new_vox):  # the highest bit is the same, so the bin is
        return
    histogram[_bin(old_vox)] -= old_vox > 0
    histogram[_bin(new_vox)] += new_vox > 0


@njit(cache=True, nogil=True)
def _bin(size_vox: int) -> int:
    """floor(log2(size_vox)), 0 for 0."""
    k = 0
    while size_vox > 1:
        size_vox >>= 1
        k += 1
    return k
