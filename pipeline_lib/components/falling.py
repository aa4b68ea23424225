"""Rows in falling order of their level, as the level of a sweep falls past them: a counting sort."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Falling(NamedTuple):
    """Rows with a level above 0, the highest level first, within a level in the order given.

    columns: arrays of as many rows. ends: (257,) how many rows have this level or a higher one; those of level 0 are left out.
    """

    columns: tuple[np.ndarray, ...]
    ends: np.ndarray

    def at(self, level: int) -> tuple[np.ndarray, ...]:
        """The rows of one level, 1 to 255."""
        rows = slice(self.ends[level + 1], self.ends[level])
        return tuple(column[rows] for column in self.columns)


def in_falling_order(levels: np.ndarray, *columns: np.ndarray) -> Falling:
    """levels: (n,) uint8; columns: (n,) each. Takes the memory of the columns once more."""
    counts = np.zeros(256, np.int64)
    _count(levels, counts)
    ends = np.zeros(257, np.int64)
    ends[:256] = np.cumsum(counts[::-1])[::-1]
    ends[0] = ends[1]
    placed = tuple(np.empty(ends[1], column.dtype) for column in columns)
    for column, to in zip(columns, placed, strict=True):
        _place(column, levels, ends[1:].copy(), to)
    return Falling(placed, ends)


@njit(cache=True, nogil=True)
def _count(levels: np.ndarray, counts: np.ndarray) -> None:
    for i in range(len(levels)):
        counts[levels[i]] += 1


@njit(cache=True, nogil=True)
def _place(column: np.ndarray, levels: np.ndarray, places: np.ndarray, placed: np.ndarray) -> None:
    """places: (256,) where the next row of each level goes."""
    for i in range(len(column)):
        level = levels[i]
        if level > 0:
            placed[places[level]] = column[i]
            places[level] += 1
