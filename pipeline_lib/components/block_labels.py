"""Connected components of one block of a larger volume, and what it takes to join them with those of its neighbours.

An edge between two blocks is stored in the last plane of the first of them, and the second reads that plane as well. So both
find the same edges above the threshold in the same order, and each notes which of its components the edge ends at:

     block a              block b          `last` of a     `first` of b
     4 - 4 - 4     |    - 1 - 1                 4               1          a pair to join
     4   4   4     |      1   0
     6 - 6 - 6     |    - 2   0                 6               2          another one; 2 is in b only by this edge
             ^ the extra plane of b
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from pipeline_lib.components.edges import check_affinities, comparable
from pipeline_lib.components.links import LINK_OUT, LINK_X, LINK_Y, LINK_Z, link_above
from pipeline_lib.components.slabs import FillLinks, label_links, replace_labels, slabs_of, threads_for

Flags = tuple[bool, bool, bool]  # for z, y, x
_Side = tuple[int, int]  # an axis, and the index of a plane along it: 0 for the first face, -1 for the last one
_LINK_ALONG = (LINK_Z, LINK_Y, LINK_X)
_SMALLEST_VOX = 2  # of a component with no edge out of the block


@dataclass(frozen=True)
class BlockSummary:
    """The components of a block as far as other blocks are concerned. Open components are those with an edge to another block.

    n_labels: all components, open or not; their ids are 1..n_labels. open_ids: (F,) uint32, ascending. open_sizes_vox: (F,)
    uint32, how many voxels they have in this block. first, last: for z, y and x an array (K,) uint32, an entry for each edge
    above the threshold through the first (last) face of the block, in scan order of the face: the place in `open_ids` of the
    component at its end in this block. They are empty where the volume ends.
    """

    n_labels: int
    open_ids: np.ndarray
    open_sizes_vox: np.ndarray
    first: tuple[np.ndarray, ...]
    last: tuple[np.ndarray, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name, for a file; `from_arrays` takes them back."""
        sides = {f"{side}_{axis}": getattr(self, side)[i] for side in ("first", "last") for i, axis in enumerate("zyx")}
        own = {"n_labels": np.array(self.n_labels), "open_ids": self.open_ids, "open_sizes_vox": self.open_sizes_vox}
        return {**own, **sides}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> BlockSummary:
        first, last = (tuple(arrays[f"{side}_{axis}"] for axis in "zyx") for side in ("first", "last"))
        return cls(int(arrays["n_labels"]), arrays["open_ids"], arrays["open_sizes_vox"], first, last)


@dataclass(frozen=True)
class BlockLabels:
    """labels: (z, y, x) uint32 ids of the block, 1..n_labels in the order of their first voxels; 0 = background."""

    labels: np.ndarray
    summary: BlockSummary


def label_block(
    affinities: np.ndarray,
    threshold: float,
    *,
    goes_on_before: Flags,
    goes_on_after: Flags,
    min_size_vox: int = 0,
    threads: int | None = None,
) -> BlockLabels:
    """Connected components of one block: what of label_components(whole volume, threshold) can be known from it.

    goes_on_before, goes_on_after: for z, y and x, whether the volume goes on before (after) the block. affinities: as for
    label_components, of the block with one more plane before it along each axis where the volume goes on there:

        c e e e        voxels v of a block that has others before it along y and x: the edges into it are stored at e, in the
        e v v v .      extra planes; what is stored at their corner, c, is not used; edges to the voxels after it, at the dots,
        e v v v .      are stored in the block itself
          . . .

    A voxel is 0 only if none of its edges is above the threshold, neither in the block nor to another one. Edges that lead out
    of the volume are ignored. Components of fewer than `min_size_vox` voxels become 0, but not open ones, which have an edge to
    another block: their size is known once blocks are joined. threads: by default, all processors; the result is the same for
    any number. Beyond the input, at most about twice the memory of the labels is used.

    Raises ValueError as label_components does, and for blocks without voxels or of 2**32 - 1 voxels or more.
    """
    check_affinities(affinities)
    extra_vox = [int(goes_on) for goes_on in goes_on_before]
    shape_vox = tuple(n - extra for n, extra in zip(affinities.shape[1:], extra_vox, strict=True))
    if min(shape_vox) < 1:
        raise ValueError(f"a block must hold voxels, got {shape_vox} without the planes before it")
    if math.prod(shape_vox) >= 2**32 - 1:
        raise ValueError(f"a block must have fewer than 2**32 - 1 voxels, got {shape_vox}: take smaller blocks")
    threads = threads_for(threads, shape_vox[0])
    values, low, high = comparable(affinities, threshold)
    crossing = _edges_out(values, low, high, goes_on_before, goes_on_after)

    def links_from(_: int) -> FillLinks:
        padded = np.empty(values.shape[2:], np.uint8)

        def fill(z: int, links: np.ndarray) -> None:
            link_above(values, low, high, z + extra_vox[0], padded)
            np.copyto(links, padded[extra_vox[1] :, extra_vox[2] :])
            _replace_links_out(crossing, z, shape_vox[0], links)

        return fill

    labels, n_labels = label_links(shape_vox, links_from, threads=threads)
    return _summarised(labels, n_labels, crossing, min_size_vox, threads)


def _edges_out(values: np.ndarray, low: Any, high: Any, goes_on_before: Flags, goes_on_after: Flags) -> dict[_Side, np.ndarray]:
    """For each face behind which the volume goes on, bool (the two other axes): the edges above the threshold through it."""
    crossing = {}
    for axis in range(3):
        within = tuple(slice(int(goes_on_before[other]), None) for other in range(3) if other != axis)
        for index, goes_on in ((0, goes_on_before[axis]), (-1, goes_on_after[axis])):
            if goes_on:
                stored = values[axis].take(index, axis)[within]
                crossing[axis, index] = (low < stored) & (stored <= high)
    return crossing


def _replace_links_out(crossing: Mapping[_Side, np.ndarray], z: int, n_z: int, links: np.ndarray) -> None:
    """In the links of plane z, those to voxels before the block become LINK_OUT, and edges to voxels after it are added so."""
    for (axis, index), edges in crossing.items():
        if axis == 0:
            if z != index % n_z:
                continue
            ends, out = links, edges
        else:
            ends, out = links[index] if axis == 1 else links[:, index], edges[z]
        if index == 0:
            ends &= np.uint8(255 - _LINK_ALONG[axis])
        ends |= np.uint8(LINK_OUT) * out


def _summarised(
    labels: np.ndarray, n_labels: int, crossing: Mapping[_Side, np.ndarray], min_size_vox: int, threads: int
) -> BlockLabels:
    """Drops small components that are not open, and tells of those that are."""
    ends = {side: labels.take(side[1], side[0])[edges] for side, edges in crossing.items()}
    is_open = np.zeros(n_labels + 1, bool)
    for labels_at_ends in ends.values():
        is_open[labels_at_ends] = True
    opened = np.flatnonzero(is_open)
    table = _sizes(labels, n_labels, threads)
    open_sizes_vox, open_ids = table[opened], opened.astype(np.uint32)
    if min_size_vox > _SMALLEST_VOX:
        n_labels = _number_kept(table, is_open, min_size_vox)  # sizes become ids
        replace_labels(labels, table, threads=threads)
        open_ids = table[opened]
    table[opened] = np.arange(len(opened))
    nothing = np.empty(0, np.uint32)
    first, last = ([table[ends[axis, i]] if (axis, i) in ends else nothing for axis in range(3)] for i in (0, -1))
    return BlockLabels(labels, BlockSummary(n_labels, open_ids, open_sizes_vox, tuple(first), tuple(last)))


def _sizes(labels: np.ndarray, n_labels: int, threads: int) -> np.ndarray:
    """(n_labels + 1,) uint32 voxels of each label, by as many threads as need no more memory than the labels."""
    slabs = slabs_of(len(labels), max(1, min(threads, labels.size // (n_labels + 1))))
    sizes_vox = np.zeros((len(slabs), n_labels + 1), np.uint32)
    with ThreadPoolExecutor(len(slabs)) as pool:
        list(pool.map(lambda slab, sizes: _count(labels[slab.start : slab.stop].reshape(-1), sizes), slabs, sizes_vox))
    for other in sizes_vox[1:]:
        sizes_vox[0] += other
    return sizes_vox[0]


@njit(cache=True, nogil=True)
def _count(labels: np.ndarray, sizes_vox: np.ndarray) -> None:
    """Adds the voxels of each label, as many at a time as follow each other."""
    start = 0
    for i in range(1, len(labels) + 1):
        if i == len(labels) or labels[i] != labels[start]:
            sizes_vox[labels[start]] += i - start
            start = i


@njit(cache=True, nogil=True)
def _number_kept(sizes_vox: np.ndarray, is_open: np.ndarray, min_size_vox: int) -> int:
    """Sizes become ids 1..n of the components that are kept, 0 of the others. Returns n."""
    n_kept = 0
    sizes_vox[0] = 0
    for label in range(1, len(sizes_vox)):
        kept = is_open[label] or sizes_vox[label] >= min_size_vox
        n_kept += kept
        sizes_vox[label] = n_kept if kept else 0
    return n_kept
