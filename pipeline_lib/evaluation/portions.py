"""The tables of many blocks, joined for so many segments at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

MOST_CELLS = 2_000_000  # of the tables of blocks joined at once
_CELL_BYTES = 200  # that joining holds for each of them


def cells_bytes(n_cells: int) -> int:
    """What joining so many cells holds, one portion after the other."""
    return _CELL_BYTES * min(n_cells, MOST_CELLS)


def portions(drawn: Sequence[np.ndarray], n_cells: int) -> Iterator[tuple[np.uint64, np.uint64]]:
    """Ranges of ids, half-open, that divide the segments of all tables, so that few of the `n_cells` cells lie in each.

    drawn: of each table the segments of every n-th cell in rising order, where there are n tables.
    """
    n_parts = max(1, -(-n_cells // MOST_CELLS))
    ids = np.sort(np.concatenate(drawn))
    inner = np.unique(ids[np.arange(1, n_parts) * len(ids) // n_parts])
    return pairwise([np.uint64(0), *inner[inner > 0].astype(np.uint64), np.uint64(np.iinfo(np.uint64).max)])
