"""Components of linked voxels: runs along x, numbered in scan order and joined in a union-find forest.

A run is a row of voxels that are linked along x. Of the links between rows only those are followed that can join anything new:
a link is skipped where the other three sides of one of its squares are links of an earlier rank (runs, then links along y, then
along z, each in scan order). Here run 5 needs the link at a to join run 2, but not those at b and c:

    row y - 1   [1] [2  2  2] [3]
                     |  |  |
    row y           [5  5  5] [6]
                     a  b  c
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pipeline_lib.components.links import LINK_OUT, LINK_Y, LINK_Z

ALONE = 0  # in place of a parent: a run of one voxel without any link so far


@njit(cache=True, nogil=True)
def as_index(value: Any) -> Any:
    """An unsigned integer as a signed one: numba turns uint64 + int64 into a float."""
    return np.int64(value)


@njit(cache=True, nogil=True)
def find_root(parents: np.ndarray, run: int) -> int:
    """The first run of a tree, halving the way to it."""
    above = as_index(parents[run])
    if above == ALONE:
        return run
    while above != run:
        parents[run] = parents[above]
        run = as_index(parents[run])
        above = as_index(parents[run])
    return run


@njit(cache=True, nogil=True)
def join_runs(parents: np.ndarray, a: int, b: int) -> None:
    """One tree out of those of two runs. Its root is its first run, so every parent comes before its children."""
    a, b = find_root(parents, a), find_root(parents, b)
    parents[max(a, b)] = min(a, b)
    parents[min(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def join_plane(
    links: np.ndarray, links_below: np.ndarray, runs: np.ndarray, runs_below: np.ndarray, parents: np.ndarray, n_runs: int
) -> int:
    """Numbers the runs of one plane from n_runs + 1 on and joins them with one another and with the plane before it.

    links, links_below: (y, x) of this plane and the one before. runs: (y, x), written; runs_below: of the plane before, or
    (0, 0) for the first plane of a slab, whose links along z are left to `join_seam`. parents: (any number of runs + 1,).
    Returns the number of runs so far.
    """
    n_y, n_x = links.shape
    needed = np.empty(n_x, np.uint8)
    at_y, at_z = np.empty(n_x + 1, np.int32), np.empty(n_x + 1, np.int32)
    no_links = np.zeros(n_x, np.uint8)
    first_plane = runs_below.size == 0
    for y in range(n_y):
        n_runs = _number_row(links[y], runs[y], parents, n_runs)
        before = links[y - 1] if y > 0 else no_links
        below = no_links if first_plane else links_below[y]
        _needed_links(links[y], before, below, needed)
        n_at_y, n_at_z = 0, 0
        for x in range(n_x):  # without branches, as these links come at random
            at_y[n_at_y] = at_z[n_at_z] = x
            n_at_y += (needed[x] & LINK_Y) // LINK_Y
            n_at_z += (needed[x] & LINK_Z) // LINK_Z
        for x in at_y[:n_at_y]:
            join_runs(parents, as_index(runs[y, x]), as_index(runs[y - 1, x]))
        if not first_plane:
            for x in at_z[:n_at_z]:
                join_runs(parents, as_index(runs[y, x]), as_index(runs_below[y, x]))
    return n_runs


@njit(cache=True, nogil=True)
def _number_row(links: np.ndarray, runs: np.ndarray, parents: np.ndarray, n_runs: int) -> int:
    for x in range(len(links)):
        linked = links[x] & 1
        n_runs += 1 - linked
        runs[x] = n_runs
        # The run's own root from its second voxel on, or at once with a link out; ALONE before.
        parents[n_runs] = (linked | links[x] // LINK_OUT) * n_runs
    return n_runs


@njit(cache=True, nogil=True)
def _needed_links(links: np.ndarray, before: np.ndarray, below: np.ndarray, needed: np.ndarray) -> None:
    """Links along y and z that no square makes superfluous. before, below: links of the rows at y - 1 and z - 1."""
    needed[0] = links[0]
    left, here, before_here, below_here, out = links[:-1], links[1:], before[1:], below[1:], needed[1:]
    for x in range(len(here)):
        beside_y = (left[x] // LINK_Y) & here[x] & before_here[x] & 1
        beside_z = (left[x] // LINK_Z) & here[x] & below_here[x] & 1
        out[x] = here[x] & (255 - LINK_Y * beside_y) & (255 - LINK_Z * beside_z)
    for x in range(len(links)):
        around = (before[x] // LINK_Z) & (links[x] // LINK_Y) & (below[x] // LINK_Y) & 1
        needed[x] &= 255 - LINK_Z * around


@njit(cache=True, nogil=True)
def join_seam(links: np.ndarray, runs: np.ndarray, runs_below: np.ndarray, parents: np.ndarray) -> None:
    """Joins the first plane of a slab with the last one of the slab before."""
    n_y, n_x = links.shape
    for y in range(n_y):
        for x in range(n_x):
            if links[y, x] & LINK_Z:
                join_runs(parents, as_index(runs[y, x]), as_index(runs_below[y, x]))


@njit(cache=True, nogil=True)
def number_trees(parents: np.ndarray, first: int, last: int, n_trees: int) -> int:
    """Turns the parents of the runs first..last into ids of their trees, from n_trees + 1 on; returns how many there are.

    A parent has its id before its children ask for it. Of a run alone, parents[ALONE] = 0 stays.
    """
    for run in range(first, last + 1):
        above = as_index(parents[run])
        is_root = above == run
        n_trees += is_root
        parents[run] = n_trees if is_root else parents[above]
    return n_trees


@njit(cache=True, nogil=True)
def replace_runs(labels: np.ndarray, ids: np.ndarray) -> None:
    """labels: (n,) runs, which become ids[run]."""
    for i in range(len(labels)):
        labels[i] = ids[labels[i]]
