"""How basins merge as the threshold falls: a maximum spanning forest of the edges between them.

Edges are taken in bands of levels, the strongest first, of as many levels as fit a given number of edges. Within a band they
are sorted into one bucket for each level and merged in that order (Kruskal 1956); what a band has merged, the next need not
look at.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline_lib.components.basin_edges import visit_edges
from pipeline_lib.components.runs import as_index
from pipeline_lib.components.slabs import slabs_of


class MergeTree(NamedTuple):
    """A union-find forest of basins that remembers at which affinity each root was attached to another one.

    At level n a basin belongs to the segment of the basin at which one arrives by following `parents` while `attached_at` > n.
    The root of fewer basins is attached to that of more, so a way is at most log2(number of basins) long, and along it
    `attached_at` never rises.

    parents: (B + 1,) basin ids; basin 0 is none. attached_at: (B + 1,) uint8 affinity of the edge to the parent; 0 = a root.
    """

    parents: np.ndarray
    attached_at: np.ndarray

    def segments_at(self, level: int, *, of: np.ndarray | None = None) -> np.ndarray:
        """The basin that stands for the segment of each basin, or of the basins `of`, at this level."""
        basins = np.arange(len(self.parents), dtype=self.parents.dtype) if of is None else of.copy()
        _climb(self.parents, self.attached_at, level, basins)
        return basins

    def count_segments(self, from_level: np.ndarray) -> np.ndarray:
        """(256,) segments at each level, if a root stands for one below from_level[root], as long as it is a root."""
        # One segment begins at every from_level and ends where its root is attached, if it has begun by then.
        ends = np.bincount(from_level, minlength=257) - np.bincount(np.minimum(self.attached_at, from_level), minlength=257)
        return np.asarray(np.cumsum(ends[::-1])[::-1][1:])


def merge_basins(
    levels: np.ndarray, basins: np.ndarray, n_basins: int, *, lowest_level: int, threads: int, most_edges: int | None = None
) -> MergeTree:
    """The merges of all basins by edges above the lowest level.

    levels: (3, z, y, x) uint8, source-voxel storage. basins: (z, y, x) ids 1..n_basins, 0 where no edge is above the lowest
    level. most_edges: to be held in memory at once, by default a quarter of the voxels, so 2 bytes for each; a single level may
    exceed it.
    """
    if most_edges is None:
        most_edges = basins.size // 4
    tree = MergeTree(np.arange(n_basins + 1, dtype=basins.dtype), np.zeros(n_basins + 1, np.uint8))
    sizes = np.ones(n_basins + 1, basins.dtype)  # in basins
    roots = np.arange(n_basins + 1, dtype=basins.dtype)  # the same trees with shortened ways
    slabs = slabs_of(basins.shape[0], threads)
    with ThreadPoolExecutor(threads) as pool:

        def visit(band: tuple[int, int], places: np.ndarray, edges: np.ndarray) -> None:
            """places: (slabs, 256), a row for each thread."""
            _flatten(roots)
            arguments = [((slab.start, slab.stop), band, row, edges) for slab, row in zip(slabs, places, strict=True)]
            list(pool.map(lambda told: visit_edges(levels, basins, roots, *told), arguments))

        counts = np.zeros((len(slabs), 256), np.int64)
        visit((lowest_level, 255), counts, np.empty((2, 0), basins.dtype))
        highest = 255
        while highest > lowest_level:
            below = _end_of_band(counts.sum(axis=0), highest, lowest_level, most_edges)
            at_most = counts.copy()  # what a band has merged may leave fewer
            at_most[:, : below + 1] = at_most[:, highest + 1 :] = 0
            edges = np.empty((2, int(at_most.sum())), basins.dtype)
            if edges.size:
                starts = _starts(at_most)
                ends = starts.copy()
                visit((below, highest), ends, edges)
                _merge(edges, starts, ends, tree, roots, sizes)
            highest = below
    return tree


def _end_of_band(counts: np.ndarray, highest: int, lowest: int, most_edges: int) -> int:
    """The level above which the edges up to `highest` are at most `most_edges`, or those of the first level that has any."""
    below = highest - 1
    held = int(counts[highest])
    while below > lowest and (held == 0 or held + counts[below] <= most_edges):
        held += int(counts[below])
        below -= 1
    return below


def _starts(counts: np.ndarray) -> np.ndarray:
    """(slabs, 256): where each slab puts its first edge of each level: the highest level first, within it the first slab."""
    falling = counts[:, ::-1].T
    ends = np.cumsum(falling.reshape(-1)).reshape(falling.shape)
    return np.ascontiguousarray((ends - falling).T[:, ::-1])


@njit(cache=True)
def _climb(parents: np.ndarray, attached_at: np.ndarray, level: int, basins: np.ndarray) -> None:
    for i in range(len(basins)):
        basin = basins[i]
        while attached_at[basin] > level:
            basin = parents[basin]
        basins[i] = basin


@njit(cache=True, nogil=True)
def find_tree(roots: np.ndarray, basin: int) -> int:
    while roots[basin] != basin:
        roots[basin] = roots[roots[basin]]
        basin = as_index(roots[basin])
    return basin


@njit(cache=True, nogil=True)
def _flatten(roots: np.ndarray) -> None:
    for basin in range(len(roots)):
        roots[basin] = find_tree(roots, basin)


@njit(cache=True, nogil=True)
def _merge(
    edges: np.ndarray, starts: np.ndarray, ends: np.ndarray, tree: MergeTree, roots: np.ndarray, sizes: np.ndarray
) -> None:
    """starts, ends: (slabs, 256) of the edges of each slab and level in `edges`, (2, E)."""
    for level in range(255, 0, -1):
        for slab in range(len(starts)):
            for edge in range(starts[slab, level], ends[slab, level]):
                large, small = find_tree(roots, as_index(edges[0, edge])), find_tree(roots, as_index(edges[1, edge]))
                if large == small:
                    continue
                if sizes[large] < sizes[small]:
                    large, small = small, large
                roots[small] = tree.parents[small] = large
                tree.attached_at[small] = level
                sizes[large] += sizes[small]
