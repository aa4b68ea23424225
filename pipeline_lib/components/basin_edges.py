"""The edges between basins that a spanning forest can need, found row by row."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline_lib.components.detours import strongest_detours

_AT_ONCE = 8  # marks that are looked at as one word, since most are not set


@njit(cache=True, nogil=True)
def visit_edges(
    levels: np.ndarray,
    basins: np.ndarray,
    roots: np.ndarray,
    planes: tuple[int, int],
    band: tuple[int, int],
    places: np.ndarray,
    edges: np.ndarray,
) -> None:
    """Edges from one tree to another with band[0] < level <= band[1] and no stronger detour that start in the given planes.

    Each raises places[level] by one. edges: (2, E), takes the trees at the ends of an edge at edges[:, places[level]]; without
    room, (2, 0), edges are only counted.
    """
    _, n_z, n_y, n_x = levels.shape
    found = np.zeros(-(-n_x // _AT_ONCE) * _AT_ONCE, np.bool_)
    detours = np.empty(n_x, np.uint8)
    for z in range(*planes):
        for axis in range(3):
            if axis == 0 and z == n_z - 1:
                continue
            for y in range(n_y - (axis == 1)):
                values = levels[axis, z, y]
                here, there = basins[z, y], basins[z + (axis == 0), y + (axis == 1), int(axis == 2) :]
                strongest_detours(levels, axis, z, y, detours)
                found[len(there) :] = False
                for x in range(len(there)):
                    in_band = (values[x] > band[0]) & (values[x] <= band[1])
                    found[x] = (here[x] != there[x]) & in_band & (values[x] >= detours[x])
                _place_row(found, values, (here, there), roots, places, edges)


@njit(cache=True, nogil=True)
def _place_row(
    found: np.ndarray,
    values: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    roots: np.ndarray,
    places: np.ndarray,
    edges: np.ndarray,
) -> None:
    """found: (x,) bool, where an edge may be needed. values: (x,) levels of the edges; ends: the basins at their ends."""
    words = found.view(np.uint64)
    for word in range(len(words)):
        if words[word] == 0:
            continue
        for x in range(_AT_ONCE * word, _AT_ONCE * (word + 1)):
            if found[x]:
                a, b = roots[ends[0][x]], roots[ends[1][x]]
                if a != b:
                    if edges.shape[1] > 0:
                        edges[0, places[values[x]]] = a
                        edges[1, places[values[x]]] = b
                    places[values[x]] += 1
