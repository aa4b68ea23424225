"""Components of blocks joined to segments of the whole volume.

block          0           1           2
component   1  2  3     1  2  3     1  2
open, as    1  2        3     4     5           joined at faces: 1 - 3, 3 - 5 and 2 - 4
segment     1  2  3     1  4  2     1  5
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.components.block_labels import BlockSummary
from pipeline_lib.components.open_forest import OpenForest
from pipeline_lib.components.runs import as_index


@dataclass(frozen=True)
class JoinedBlocks:
    """The segments 1..n of a volume of B blocks, in the order of their first blocks and, within one, of their first ids in it.

    ids_before: (B + 1,) int64, how many segments begin in the blocks before each; the last entry is n. open_before: (B + 1,)
    int64, how many open components the blocks before each have. open_segments: (O,) uint32, or uint64 where n demands it: the
    segments of the open components of block b from open_before[b] to open_before[b + 1]; 0 = too small. All other components
    are segments of their own. The arrays may be memory-mapped.
    """

    ids_before: np.ndarray
    open_before: np.ndarray
    open_segments: np.ndarray

    @property
    def n_segments(self) -> int:
        return int(self.ids_before[-1])

    def table(self, block: int, summary: BlockSummary) -> np.ndarray:
        """(n_labels + 1,) of the dtype of `open_segments`: the segment of each id of a block; of 0, it is 0.

        Raises ValueError if n_labels and open_ids of the summary are not those with which the block was joined.
        """
        start, stop = self.open_before[block : block + 2]
        segments = np.asarray(self.open_segments[start:stop])
        table = np.zeros(summary.n_labels + 1, segments.dtype)
        same = len(segments) == len(summary.open_ids)
        if same:
            end = _fill_table(np.asarray(summary.open_ids), segments, int(self.ids_before[block]), table)
            same = end == self.ids_before[block + 1]
        if not same:
            raise ValueError(f"block {block} has other components than when it was joined; its input or settings have changed")
        return table


def join_blocks(counts: tuple[int, int, int], summaries: Iterable[BlockSummary], *, min_size_vox: int = 0) -> JoinedBlocks:
    """Components on both sides of an edge between blocks become one segment; those below `min_size_vox` voxels are dropped.

    counts: blocks along z, y, x. summaries: of all blocks in scan order, from label_block with the same `min_size_vox`. Each is
    taken once; only `last` of those is kept whose neighbours are still to come, about one layer of blocks. Besides, 8 bytes are
    held for each open component, or 12 with a size filter, and up to a quarter more.

    The result depends on nothing but the grid; with a single block, segments are those of label_components. Raises ValueError
    for another number of summaries and where two blocks do not agree on the edges between them.
    """
    strides = (counts[1] * counts[2], counts[2], 1)
    n_blocks = math.prod(counts)
    forest = OpenForest(min_size_vox)
    open_before = np.zeros(n_blocks + 1, np.int64)
    n_closed = np.zeros(n_blocks, np.int64)
    waiting: dict[tuple[int, int], np.ndarray] = {}
    n_taken = 0
    for block, summary in enumerate(summaries):
        n_taken += 1
        if n_taken > n_blocks:
            break
        forest.add(summary.open_ids, summary.open_sizes_vox)
        open_before[block + 1] = forest.n
        n_closed[block] = summary.n_labels - len(summary.open_ids)
        for axis, stride in enumerate(strides):
            place = block // stride % counts[axis]
            _check_ends(block, axis, summary, at_start=place == 0, at_end=place == counts[axis] - 1)
            if place > 0:
                last, first = waiting.pop((axis, block - stride)), np.asarray(summary.first[axis])
                if len(last) != len(first):
                    raise ValueError(
                        f"blocks {block - stride} and {block} have {len(last)} and {len(first)} edges between them along "
                        f"{'zyx'[axis]}: their input or settings are not the same"
                    )
                forest.join(last, int(open_before[block - stride]), first, int(open_before[block]))
            if place < counts[axis] - 1:
                waiting[axis, block] = np.asarray(summary.last[axis])
    if n_taken != n_blocks:
        raise ValueError(f"expected the summaries of {n_blocks} blocks, got {n_taken if n_taken < n_blocks else 'more'}")
    open_segments, ids_before = forest.number(open_before, n_closed)
    return JoinedBlocks(ids_before, open_before, open_segments)


def _check_ends(block: int, axis: int, summary: BlockSummary, *, at_start: bool, at_end: bool) -> None:
    """Raises ValueError for edges out of the volume, or to open components that the block does not have."""
    for places, outside in ((summary.first[axis], at_start), (summary.last[axis], at_end)):
        if outside and len(places):
            raise ValueError(f"block {block} has {len(places)} edges out of the volume along {'zyx'[axis]}")
        if len(places) and places.max() >= len(summary.open_ids):
            raise ValueError(
                f"block {block} has an edge to open component {places.max()} along {'zyx'[axis]}, of {len(summary.open_ids)}"
            )


@njit(cache=True, nogil=True)
def _fill_table(open_ids: np.ndarray, segments: np.ndarray, n_before: int, table: np.ndarray) -> int:
    """Segments that begin in the block follow n_before in the order of ids. Returns the last of them, or -1 for a gap."""
    n, place = n_before, 0
    for label in range(1, len(table)):
        if place < len(open_ids) and as_index(open_ids[place]) == label:
            segment = as_index(segments[place])
            place += 1
            if segment > n + 1:
                return -1
        else:
            segment = n + 1
        n = max(n, segment)
        table[label] = segment
    return n if place == len(open_ids) else -1
