"""Labelling of a whole volume: slabs of planes on several threads, then the seams between them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from pipeline_lib.components.links import LINK_Z
from pipeline_lib.components.runs import ALONE, join_plane, join_seam, number_trees, replace_runs

FillLinks = Callable[[int, np.ndarray], None]  # writes the links of plane z into a (y, x) uint8 array
_NO_PLANE = np.empty((0, 0), np.uint8)


def threads_for(threads: int | None, n_planes: int) -> int:
    """`threads`, by default as many as the processors that this process may use, but not more than there are planes."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if threads is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = int(os.environ.get("NUMBA_NUM_THREADS") or usable or 1)
    return max(1, min(threads, n_planes))


def id_type(n_ids: int) -> type[np.unsignedinteger]:
    """uint32, or uint64 where that is too small for so many ids and 0."""
    return np.uint32 if n_ids < 2**32 - 1 else np.uint64


def slabs_of(n_planes: int, n_slabs: int) -> list[range]:
    """The planes in contiguous parts of nearly equal size."""
    ends = [i * n_planes // n_slabs for i in range(n_slabs + 1)]
    return [range(a, b) for a, b in pairwise(ends)]


def label_links(
    shape_vox: tuple[int, ...],
    links_from: Callable[[int], FillLinks],
    *,
    threads: int,
    dtype: type[np.unsignedinteger] | None = None,
) -> tuple[np.ndarray, int]:
    """Components of linked voxels: (z, y, x) ids 1..n in the order of their first voxels, 0 = a voxel without a link; and n.

    links_from(z) gives a function that is then called for the planes from z on, one after the other, in a thread of its own.
    The result does not depend on `threads`. dtype: by default uint32, or uint64 where the number of voxels demands it.
    """
    if dtype is None:
        dtype = id_type(math.prod(shape_vox))
    labels = np.empty(shape_vox, dtype)
    if labels.size == 0:
        return labels, 0
    # A slab numbers its runs from its number of voxels before it on: the ids keep the scan order, and memory that no run
    # asks for is never touched.
    parents = np.empty(labels.size + 1, dtype)
    parents[ALONE] = 0
    plane_size = math.prod(shape_vox[1:])
    slabs = slabs_of(shape_vox[0], threads)

    def join_slab(slab: range) -> tuple[int, np.ndarray]:
        links = np.zeros((2, *shape_vox[1:]), np.uint8)
        fill = links_from(slab.start)
        n_runs, seam = slab.start * plane_size, _NO_PLANE
        for z in slab:
            here, below = links[z % 2], links[1 - z % 2]
            fill(z, here)
            if z == slab.start:
                seam = here & LINK_Z
            runs_below = labels[z - 1] if z > slab.start else _NO_PLANE.astype(dtype)
            n_runs = join_plane(here, below, labels[z], runs_below, parents, n_runs)
        return n_runs, seam

    with ThreadPoolExecutor(threads) as pool:
        joined = list(pool.map(join_slab, slabs))
        for slab, (_, seam) in zip(slabs[1:], joined[1:], strict=True):
            join_seam(seam, labels[slab.start], labels[slab.start - 1], parents)
        n_segments = 0
        for slab, (last_run, _) in zip(slabs, joined, strict=True):
            n_segments = number_trees(parents, slab.start * plane_size + 1, last_run, n_segments)
    replace_labels(labels, parents, threads=threads)
    return labels, n_segments


def replace_labels(labels: np.ndarray, ids: np.ndarray, *, threads: int) -> None:
    """labels: (z, y, x), C-contiguous; each becomes ids[label], in place."""

    def replace(slab: range) -> None:
        replace_runs(labels[slab.start : slab.stop].reshape(-1), ids)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(replace, slabs_of(labels.shape[0], threads)))
