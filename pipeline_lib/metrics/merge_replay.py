"""The bookkeeping behind a threshold curve: nodes leave background, segments merge, edges come to lie in one segment.

A cell is a pair of a segment and a skeleton that share nodes, with their number and the run length inside. When two segments
merge, the cells of the one with fewer are moved to the other. What the scores need is kept up to date in the tallies:

    sum of c log2 c over cells and over segments          ->  VOI
    per skeleton, summed squares of the runs              ->  ERL without mergers
      per tolerance, those in merging segments            ->  what a merger costs, if
      the skeleton is a member of any merging segment
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, typed, types

from pipeline_lib.components import HIGHEST_LEVEL
from pipeline_lib.components.merge_tree import find_tree


class Events(NamedTuple):
    """What happens as the level falls; each kind in falling order of its `_at`, the level below which it holds.

    A node leaves background and joins its cluster; a cluster is attached to a parent; an edge comes to lie in one segment and
    gives its length to the cell of its skeleton there.
    """

    node_at: np.ndarray
    node_cluster: np.ndarray
    node_skeleton: np.ndarray
    cluster_at: np.ndarray
    cluster: np.ndarray
    parent: np.ndarray
    edge_at: np.ndarray
    edge_cluster: np.ndarray
    edge_skeleton: np.ndarray
    edge_length_nm: np.ndarray


class Tallies(NamedTuple):
    """At each of T levels, falling. cells, segments: (T,) sums of c log2 c over their nodes c, background among them.

    squares: (T, tolerances) nm2, summed over the runs that count. The others are at the first tolerance: skeleton_squares:
    (T, S), of each skeleton; mergers, background_mergers: (T,) memberships of merging segments, and of background.
    """

    cells: np.ndarray
    segments: np.ndarray
    squares: np.ndarray
    skeleton_squares: np.ndarray
    mergers: np.ndarray
    background_mergers: np.ndarray


class _Cells(NamedTuple):
    """Linked lists of the cells of each cluster that is a root; -1 ends a list. Index n_clusters stands for background.

    shared: (cells,) nodes, length_nm: of the runs, that a segment and a skeleton share.

    merging: (tolerances, clusters + 1) members of more nodes than tolerated; from two on the segment merges.
    member_of: (tolerances, S) how many merging segments a skeleton is a member of. merged: (tolerances, S) squares of its runs
    in merging segments. whole: (S,) squares of all its runs. sums: (2,) those of Tallies over cells and segments.
    """

    first: np.ndarray
    n_cells: np.ndarray
    n_nodes: np.ndarray
    next: np.ndarray
    skeleton: np.ndarray
    shared: np.ndarray
    length_nm: np.ndarray
    merging: np.ndarray
    member_of: np.ndarray
    merged: np.ndarray
    whole: np.ndarray
    sums: np.ndarray


def replay(events: Events, n_nodes: np.ndarray, tolerances: np.ndarray, *, lowest_level: int, n_clusters: int) -> Tallies:
    """n_nodes: (S,) of each skeleton. tolerances: (K,) nodes."""
    n_levels, n_skeletons = HIGHEST_LEVEL + 1 - lowest_level, len(n_nodes)
    n_cells = len(events.node_at) + n_skeletons
    shape = (len(tolerances), n_skeletons)
    cells = _Cells(
        first=np.full(n_clusters + 1, -1),
        n_cells=np.zeros(n_clusters + 1, np.int64),
        n_nodes=np.zeros(n_clusters + 1, np.int64),
        next=np.full(n_cells, -1),
        skeleton=np.zeros(n_cells, np.int64),
        shared=np.zeros(n_cells, np.int64),
        length_nm=np.zeros(n_cells),
        merging=np.zeros((len(tolerances), n_clusters + 1), np.int64),
        member_of=np.zeros(shape, np.int64),
        merged=np.zeros(shape),
        whole=np.zeros(n_skeletons),
        sums=np.zeros(2),
    )
    tallies = Tallies(
        np.zeros(n_levels),
        np.zeros(n_levels),
        np.zeros((n_levels, len(tolerances))),
        np.zeros((n_levels, n_skeletons)),
        np.zeros(n_levels, np.int64),
        np.zeros(n_levels, np.int64),
    )
    index = typed.Dict.empty(types.int64, types.int64)
    _replay(events, n_nodes.astype(np.int64), tolerances, cells, index, tallies)
    return tallies


@njit(cache=True)
def _replay(
    events: Events, n_nodes: np.ndarray, tolerances: np.ndarray, cells: _Cells, index: dict[int, int], tallies: Tallies
) -> None:
    background = len(cells.first) - 1
    n_used = 0
    for skeleton in range(len(n_nodes)):
        cell = _cell_of(cells, index, background, skeleton, n_used)
        _grow(cells, tolerances, background, cell, n_nodes[skeleton], 0.0)
        n_used += 1
    roots = np.arange(background)
    node, attached, edge = 0, 0, 0
    for i in range(len(tallies.cells)):
        level = 255 - i
        while attached < len(events.cluster_at) and events.cluster_at[attached] == level:
            small, large = find_tree(roots, events.cluster[attached]), find_tree(roots, events.parent[attached])
            # The longer list stays; which of the two clusters then stands for the segment makes no difference here.
            if cells.n_cells[small] > cells.n_cells[large]:
                small, large = large, small
            roots[small] = large
            _move(cells, index, tolerances, small, large)
            attached += 1
        while node < len(events.node_at) and events.node_at[node] == level:
            skeleton = events.node_skeleton[node]
            _take_from_background(cells, index, tolerances, skeleton)
            root = find_tree(roots, events.node_cluster[node])
            cell = _cell_of(cells, index, root, skeleton, n_used)
            n_used += cell == n_used
            _grow(cells, tolerances, root, cell, 1, 0.0)
            node += 1
        while edge < len(events.edge_at) and events.edge_at[edge] == level:
            root = find_tree(roots, events.edge_cluster[edge])
            cell = index[root * len(n_nodes) + events.edge_skeleton[edge]]  # that of the edge's first node
            _grow(cells, tolerances, root, cell, 0, events.edge_length_nm[edge])
            edge += 1
        _take_stock(cells, i, tallies)


@njit(cache=True)
def _cell_of(cells: _Cells, index: dict[int, int], root: int, skeleton: int, spare: int) -> int:
    """The cell of a segment and a skeleton; where there is none, the spare one, empty and put at the head of the list."""
    key = root * len(cells.whole) + skeleton
    if key in index:
        return index[key]
    index[key] = spare
    cells.skeleton[spare] = skeleton
    cells.shared[spare], cells.length_nm[spare] = 0, 0.0
    cells.next[spare] = cells.first[root]
    cells.first[root] = spare
    cells.n_cells[root] += 1
    return spare


@njit(cache=True)
def _grow(cells: _Cells, tolerances: np.ndarray, root: int, cell: int, count: int, length_nm: float) -> None:
    skeleton, before = cells.skeleton[cell], cells.shared[cell]
    gained = (cells.length_nm[cell] + length_nm) ** 2 - cells.length_nm[cell] ** 2
    cells.shared[cell] += count
    cells.length_nm[cell] += length_nm
    cells.sums[0] += _c_log2_c(cells.shared[cell]) - _c_log2_c(before)
    cells.sums[1] += _c_log2_c(cells.n_nodes[root] + count) - _c_log2_c(cells.n_nodes[root])
    cells.n_nodes[root] += count
    cells.whole[skeleton] += gained
    for k in range(len(tolerances)):
        merges = cells.merging[k, root] > 1
        if merges:
            cells.merged[k, skeleton] += gained
        if before <= tolerances[k] < cells.shared[cell]:
            cells.merging[k, root] += 1
            if merges:
                cells.member_of[k, skeleton] += 1
            elif cells.merging[k, root] == 2:
                _count_merger(cells, tolerances[k], k, root, 1)


@njit(cache=True)
def _count_merger(cells: _Cells, tolerance: float, k: int, root: int, sign: int) -> None:
    """Books all cells of a segment as those of a merger, or takes that back."""
    cell = cells.first[root]
    while cell >= 0:
        cells.merged[k, cells.skeleton[cell]] += sign * cells.length_nm[cell] ** 2
        cells.member_of[k, cells.skeleton[cell]] += sign * (cells.shared[cell] > tolerance)
        cell = cells.next[cell]


@njit(cache=True)
def _move(cells: _Cells, index: dict[int, int], tolerances: np.ndarray, small: int, large: int) -> None:
    for k in range(len(tolerances)):
        if cells.merging[k, small] > 1:
            _count_merger(cells, tolerances[k], k, small, -1)
    cells.sums[1] -= _c_log2_c(cells.n_nodes[small])
    cell = cells.first[small]
    while cell >= 0:
        following, skeleton = cells.next[cell], cells.skeleton[cell]
        count, length_nm = cells.shared[cell], cells.length_nm[cell]
        cells.sums[0] -= _c_log2_c(count)
        cells.whole[skeleton] -= length_nm**2
        index.pop(small * len(cells.whole) + skeleton)
        _grow(cells, tolerances, large, _cell_of(cells, index, large, skeleton, cell), count, length_nm)
        cell = following
    cells.first[small] = -1


@njit(cache=True)
def _take_from_background(cells: _Cells, index: dict[int, int], tolerances: np.ndarray, skeleton: int) -> None:
    """One node less of a skeleton; there are no runs in background."""
    background = len(cells.first) - 1
    cell = index[background * len(cells.whole) + skeleton]
    cells.shared[cell] -= 1
    cells.n_nodes[background] -= 1
    cells.sums[0] += _c_log2_c(cells.shared[cell]) - _c_log2_c(cells.shared[cell] + 1)
    cells.sums[1] += _c_log2_c(cells.n_nodes[background]) - _c_log2_c(cells.n_nodes[background] + 1)
    for k in range(len(tolerances)):
        if cells.shared[cell] <= tolerances[k] < cells.shared[cell] + 1:
            if cells.merging[k, background] > 1:
                cells.member_of[k, skeleton] -= 1
            cells.merging[k, background] -= 1
            if cells.merging[k, background] == 1:
                _count_merger(cells, tolerances[k], k, background, -1)


@njit(cache=True)
def _take_stock(cells: _Cells, i: int, tallies: Tallies) -> None:
    tallies.cells[i], tallies.segments[i] = cells.sums
    n_background = cells.merging[0, len(cells.first) - 1]
    tallies.background_mergers[i] = n_background if n_background > 1 else 0
    for skeleton in range(len(cells.whole)):
        tallies.mergers[i] += cells.member_of[0, skeleton]
        for k in range(len(cells.merged)):
            squares = cells.whole[skeleton]
            if cells.member_of[k, skeleton] > 0:
                squares -= cells.merged[k, skeleton]
            tallies.squares[i, k] += squares
            if k == 0:
                tallies.skeleton_squares[i, skeleton] = squares


@njit(cache=True)
def _c_log2_c(count: int) -> float:
    return count * np.log2(count) if count > 0 else 0.0
