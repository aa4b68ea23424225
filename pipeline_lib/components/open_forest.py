"""A union-find forest of components that go on in other blocks.

They are numbered 1, 2, ... as their blocks come. The root of a tree is the first of its components, whatever the order of the
joins, and every parent comes before its children.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.runs import ALONE, as_index, join_runs

_MOST_IN_32_BITS = 2**32 - 1
_ROOM = 5 / 4  # for how many times as many components there is room when there was none left


def index_type(largest: int) -> type[np.unsignedinteger]:
    """uint32 where it holds this number, otherwise uint64."""
    return np.uint32 if largest <= _MOST_IN_32_BITS else np.uint64


class OpenForest:
    """Grows by one block after the other. Sizes are held only if there is a minimal size above 2, and no further than up to it.

    parents: (more than n,) of component i at i. closed_before: the same, how many components of its block are not open and come
    before it. sizes_vox: the same, or empty.
    """

    def __init__(self, min_size_vox: int) -> None:
        self.n = 0
        self.min_size_vox = min_size_vox if min_size_vox > 2 else 0  # with an edge, there are two voxels
        self.parents = np.zeros(1, np.uint32)
        self.closed_before = np.zeros(1, np.uint32)
        self.sizes_vox = np.zeros(1, index_type(min_size_vox))

    def add(self, open_ids: np.ndarray, open_sizes_vox: np.ndarray) -> None:
        """The open components of the next block, each alone at first. open_ids: (F,) ascending; open_sizes_vox: (F,)."""
        added = slice(self.n + 1, self.n + 1 + len(open_ids))
        self.n += len(open_ids)
        self.parents = _with_room(self.parents.astype(index_type(self.n), copy=False), added.stop)
        self.closed_before = _with_room(self.closed_before, added.stop)
        self.closed_before[added] = open_ids - np.arange(1, len(open_ids) + 1, dtype=np.uint32)
        if self.min_size_vox:
            self.sizes_vox = _with_room(self.sizes_vox, added.stop)
            self.sizes_vox[added] = np.minimum(open_sizes_vox, self.sizes_vox.dtype.type(self.min_size_vox))

    def join(self, last: np.ndarray, n_before_last: int, first: np.ndarray, n_before_first: int) -> None:
        """Joins last[i] with first[i]: places (K,) among the open components of two blocks, with so many before each block."""
        _join(self.parents, last, n_before_last + 1, first, n_before_first + 1)

    def number(self, open_before: np.ndarray, n_closed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segments of all components, and (B + 1,) int64 of how many begin before each block. This ends the forest.

        open_before: (B + 1,) int64, number of open components before each block; n_closed: (B,) int64, of others in each block.
        The segments: (n,) uint32, or uint64 where it must be, 1..N in the order of blocks and ids, counting the components that
        are not open; 0 where the sizes of a tree add up to less than `min_size_vox`.
        """
        parents, sizes_vox = self.parents[: self.n + 1], self.sizes_vox[: self.n + 1]
        n_kept = _settle(parents, sizes_vox, self.min_size_vox)
        dtype = index_type(n_kept + int(n_closed.sum()))
        segments = self.closed_before[: self.n + 1].astype(dtype, copy=False)
        ids_before = np.zeros(len(open_before), np.int64)
        _number(parents, sizes_vox, self.min_size_vox, open_before, n_closed, ids_before, segments)
        return segments[1:], ids_before


def _with_room(array: np.ndarray, length: int) -> np.ndarray:
    """The array or, if it is shorter than `length`, more of it, with zeros; in place where the system can."""
    if length > len(array):
        array.resize(int(_ROOM * length), refcheck=False)
    return array


@njit(cache=True, nogil=True)
def _join(parents: np.ndarray, last: np.ndarray, first_of_last: int, first: np.ndarray, first_of_first: int) -> None:
    for i in range(len(last)):
        if i == 0 or last[i] != last[i - 1] or first[i] != first[i - 1]:  # where two components touch, they often touch again
            join_runs(parents, first_of_last + as_index(last[i]), first_of_first + as_index(first[i]))


@njit(cache=True, nogil=True)
def _settle(parents: np.ndarray, sizes_vox: np.ndarray, min_size_vox: int) -> int:
    """Every parent becomes the root, and has the size of its tree, up to min_size_vox. Returns the number of large trees."""
    for component in range(1, len(parents)):
        if parents[component] == ALONE:
            parents[component] = component
        root = as_index(parents[as_index(parents[component])])
        parents[component] = root
        if root != component and min_size_vox > 0:
            sizes_vox[root] = min(as_index(sizes_vox[root]) + as_index(sizes_vox[component]), min_size_vox)
    n_kept = 0
    for component in range(1, len(parents)):
        is_root = as_index(parents[component]) == component
        n_kept += is_root and (min_size_vox == 0 or as_index(sizes_vox[component]) >= min_size_vox)
    return n_kept


@njit(cache=True, nogil=True)
def _number(
    parents: np.ndarray,
    sizes_vox: np.ndarray,
    min_size_vox: int,
    open_before: np.ndarray,
    n_closed: np.ndarray,
    ids_before: np.ndarray,
    segments: np.ndarray,
) -> None:
    """segments: (n + 1,), holds closed_before and takes the segments. ids_before: (B + 1,), written."""
    for block in range(len(n_closed)):
        n_roots = 0
        for component in range(open_before[block] + 1, open_before[block + 1] + 1):
            root = as_index(parents[component])
            if root != component:
                segments[component] = segments[root]
            elif min_size_vox == 0 or as_index(sizes_vox[component]) >= min_size_vox:
                n_roots += 1
                segments[component] = ids_before[block] + as_index(segments[component]) + n_roots
            else:
                segments[component] = 0
        ids_before[block + 1] = ids_before[block] + n_closed[block] + n_roots
