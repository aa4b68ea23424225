"""Basins: voxels joined along the strongest edge of each, one plane at a time.

Every voxel has an edge that no other of its edges exceeds. Where it leads, the next such edge is at least as strong, so a voxel
reaches all of its basin, the component of these edges, as soon as it is joined to anything at all: at every level below its own
strongest edge. That one byte is all that a sweep has to know inside basins, whatever the threshold.

    affinity         9   7   3   8         voxel:      a b c d e
    voxels         a - b - c - d - e       strongest:  9 9 7 8 8      basins:  a b c | d e,  joined at 3

Among equals the edge that starts first in scan order is picked; without such an order picks could run in circles.
(One round of Boruvka's algorithm for a maximum spanning forest.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.links import LINK_X, LINK_Y, LINK_Z
from pipeline_lib.components.slabs import FillLinks, label_links

# Which neighbour a voxel has picked: the links to those before it, and the same for those after it.
_BEFORE = LINK_X | LINK_Y | LINK_Z
_AFTER_X, _AFTER_Y, _AFTER_Z = 8 * LINK_X, 8 * LINK_Y, 8 * LINK_Z


def find_basins(levels: np.ndarray, lowest_level: int, threads: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Basins (z, y, x) 1..B, 0 where no edge is above the lowest level; the strongest affinity of each voxel; and B.

    levels: (3, z, y, x) uint8, source-voxel storage.
    """
    shape_vox = levels.shape[1:]
    strongest = np.zeros(shape_vox, np.uint8)

    def links_from(first: int) -> FillLinks:
        picks = np.zeros((2, *shape_vox[1:]), np.uint8)
        if first > 0:
            pick_strongest(levels, lowest_level, first - 1, picks[(first - 1) % 2], np.empty_like(picks[0]))

        def fill(z: int, links: np.ndarray) -> None:
            pick_strongest(levels, lowest_level, z, picks[z % 2], strongest[z])
            link_picked(levels, z, picks[z % 2], picks[1 - z % 2], links)

        return fill

    basins, n_basins = label_links(shape_vox, links_from, threads=threads)
    return basins, strongest, n_basins


@njit(cache=True, nogil=True)
def pick_strongest(levels: np.ndarray, lowest_level: int, z: int, picks: np.ndarray, strongest: np.ndarray) -> None:
    """Of plane z, (y, x) uint8: what each voxel has picked, 0 if no edge is above the lowest level; its strongest affinity."""
    _, n_z, n_y, n_x = levels.shape
    edges = np.zeros((6, n_x), np.uint8)
    from_z, from_y, from_x, to_z, to_y, to_x = edges
    for y in range(n_y):
        if z > 0:
            from_z[:] = levels[0, z - 1, y]
        if z < n_z - 1:
            to_z[:] = levels[0, z, y]
        if y > 0:
            from_y[:] = levels[1, z, y - 1]
        if y < n_y - 1:
            to_y[:] = levels[1, z, y]
        else:
            to_y[:] = 0
        to_x[:-1] = from_x[1:] = levels[2, z, y, :-1]
        _pick_row(edges, lowest_level, picks[y], strongest[y])


@njit(cache=True, nogil=True)
def _pick_row(edges: np.ndarray, lowest_level: int, picks: np.ndarray, strongest: np.ndarray) -> None:
    from_z, from_y, from_x, to_z, to_y, to_x = edges
    for x in range(len(picks)):
        most = max(from_z[x], from_y[x], from_x[x], to_z[x], to_y[x], to_x[x])
        strongest[x] = most
        # In falling order of where the edge starts; the last one to hold wins.
        pick = np.uint8(_AFTER_X)
        pick = np.uint8(_AFTER_Y) if to_y[x] == most else pick
        pick = np.uint8(_AFTER_Z) if to_z[x] == most else pick
        pick = np.uint8(LINK_X) if from_x[x] == most else pick
        pick = np.uint8(LINK_Y) if from_y[x] == most else pick
        pick = np.uint8(LINK_Z) if from_z[x] == most else pick
        picks[x] = pick if most > lowest_level else np.uint8(0)


@njit(cache=True, nogil=True)
def link_picked(levels: np.ndarray, z: int, picks: np.ndarray, picks_below: np.ndarray, links: np.ndarray) -> None:
    """links (y, x) of plane z: the edges that one of their ends has picked, and those of the highest level, 255.

    picks_below: of plane z - 1. At the highest level all joins are one, so all edges are taken: there are fewer basins so.
    """
    n_y, n_x = links.shape
    for y in range(n_y):
        row, here, along_x = links[y], picks[y], levels[2, z, y]
        for x in range(n_x):
            row[x] = here[x] & _BEFORE
        for x in range(1, n_x):
            row[x] |= LINK_X * ((here[x - 1] & _AFTER_X != 0) | (along_x[x - 1] == 255))
        if y > 0:
            before, along_y = picks[y - 1], levels[1, z, y - 1]
            for x in range(n_x):
                row[x] |= LINK_Y * ((before[x] & _AFTER_Y != 0) | (along_y[x] == 255))
        if z > 0:
            below, along_z = picks_below[y], levels[0, z - 1, y]
            for x in range(n_x):
                row[x] |= LINK_Z * ((below[x] & _AFTER_Z != 0) | (along_z[x] == 255))
