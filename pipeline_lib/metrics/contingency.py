"""How often each true id meets each predicted id, and the measures that follow from that table alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit

_CHUNK = 1 << 20  # elements grouped at once, so that copies and hash table stay small


@dataclass(frozen=True)
class Contingency:
    """The cells of the table that are not 0, ordered by true and then predicted id.

    truth_ids: (T,), predicted_ids: (P,) in rising order. truth_index, predicted_index: (K,) places in them of each cell.
    counts: (K,) int64 how many elements a cell holds.
    """

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    truth_index: np.ndarray
    predicted_index: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_cells(cls, truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> Contingency:
        """From (K,) true ids, predicted ids and numbers of elements; cells of equal ids become one."""
        cell_of, first = _group(truth.astype(np.uint64, copy=False), predicted.astype(np.uint64, copy=False))
        total = np.zeros(len(first), np.int64)
        np.add.at(total, cell_of, counts)
        return _ordered(truth[first], predicted[first], total)[0]

    def cells(self) -> dict[str, np.ndarray]:
        """The arguments of `of_cells`."""
        truth, predicted = self.truth_ids[self.truth_index], self.predicted_ids[self.predicted_index]
        return {"truth": truth, "predicted": predicted, "counts": self.counts}

    def chosen(self, cells: np.ndarray) -> Contingency:
        """The table of those cells, (K,) bool, alone."""
        return _ordered(*(ids[cells] for ids in self.cells().values()))[0]

    @property
    def truth_counts(self) -> np.ndarray:
        return np.bincount(self.truth_index, self.counts, len(self.truth_ids))

    @property
    def predicted_counts(self) -> np.ndarray:
        return np.bincount(self.predicted_index, self.counts, len(self.predicted_ids))

    def variation_of_information(self) -> tuple[float, float]:
        """(split, merge) = (H(predicted | truth), H(truth | predicted)) in bits (Meila 2007)."""
        split, merge = self.cell_entropies()
        total = self.counts.sum()
        return float(split.sum() / total) + 0.0, float(merge.sum() / total) + 0.0  # no -0.0

    def cell_entropies(self) -> tuple[np.ndarray, np.ndarray]:
        """(K,) (split, merge): what each cell adds to the VOI, in bits times elements."""
        split = -self.counts * np.log2(self.counts / self.truth_counts[self.truth_index])
        merge = -self.counts * np.log2(self.counts / self.predicted_counts[self.predicted_index])
        return split, merge

    def pair_counts(self) -> tuple[float, float, float]:
        """Ordered pairs, an element with itself included, that share (both ids, the true id, the predicted id)."""
        squares = [np.square(counts, dtype=float) for counts in (self.counts, self.truth_counts, self.predicted_counts)]
        return float(squares[0].sum()), float(squares[1].sum()), float(squares[2].sum())


def tabulate(truth: np.ndarray, predicted: np.ndarray, *, where: np.ndarray | None = None) -> Contingency:
    """The table of two integer id arrays of one shape; every element counts, whatever its ids, or those `where` is True.

    Fast where equal pairs follow each other, as along a row of voxels; besides the table it holds a million elements at once.
    """
    truth, predicted = truth.reshape(-1), predicted.reshape(-1)
    if len(truth) <= _CHUNK and where is None:
        return tabulate_elements(truth, predicted)[0]
    chosen = None if where is None else where.reshape(-1)

    def chunk(start: int) -> Contingency:
        part = slice(start, start + _CHUNK)
        ids = truth[part], predicted[part]
        return tabulate_elements(*(ids if chosen is None else (i[chosen[part]] for i in ids)))[0]

    return joined(chunk(start) for start in range(0, max(len(truth), 1), _CHUNK))


def tabulate_elements(truth: np.ndarray, predicted: np.ndarray) -> tuple[Contingency, np.ndarray]:
    """The table of two (N,) id arrays, and the cell (N,) of each element."""
    for ids in (truth, predicted):
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"ids are integers, got {ids.dtype}")
    cell_of, first = _group(truth.astype(np.uint64, copy=False), predicted.astype(np.uint64, copy=False))
    counts = np.bincount(cell_of, minlength=len(first))
    table, place = _ordered(truth[first], predicted[first], counts)
    return table, place[cell_of]


def joined(tables: Iterable[Contingency]) -> Contingency:
    """The table of the whole from those of its parts, which have the same types of ids; parts may be given one by one."""
    empty = np.zeros(0, np.uint64)
    pending: list[Contingency] = []
    n_joined = n_pending = 0
    for table in tables:
        pending.append(table)
        n_pending += len(table.counts)
        if n_pending > 2 * n_joined + _CHUNK:  # seldom enough that all joins cost little more than the last
            pending = [_join(pending)]
            n_joined = n_pending = len(pending[0].counts)
    return _join(pending) if pending else tabulate_elements(empty, empty)[0]


def _join(tables: list[Contingency]) -> Contingency:
    if len(tables) == 1:
        return tables[0]
    for name in ("truth_ids", "predicted_ids"):
        if len(types := {getattr(table, name).dtype for table in tables}) > 1:
            raise ValueError(f"tables to join must agree in the type of {name}, got {' and '.join(sorted(map(str, types)))}")
    cells = [table.cells() for table in tables]
    return Contingency.of_cells(*(np.concatenate([c[name] for c in cells]) for name in ("truth", "predicted", "counts")))


def _ordered(truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> tuple[Contingency, np.ndarray]:
    """The table of K distinct pairs of ids, and where each of them stands in it."""
    truth_ids, truth_index = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_index = np.unique(predicted, return_inverse=True)
    order = np.argsort(truth_index * len(predicted_ids) + predicted_index)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Contingency(truth_ids, predicted_ids, truth_index[order], predicted_index[order], counts[order]), place


@njit(cache=True)
def _group(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups of equal pairs of two (N,) uint64 arrays: the group (N,) of each element, and the first element (K,) of each.

    An open-addressed hash table with linear probing, at most half full.
    """
    group_of = np.empty(len(a), np.int64)
    first = np.empty(1 << 9, np.int64)
    slots = np.full(1 << 10, -1, np.int64)
    n_groups = 0
    for i in range(len(a)):
        if i > 0 and a[i] == a[i - 1] and b[i] == b[i - 1]:
            group_of[i] = group_of[i - 1]
            continue
        slot = _slot(slots, first, a, b, i)
        if slots[slot] < 0:
            if n_groups == len(first):
                first = np.concatenate((first, np.empty(n_groups, np.int64)))
                slots = np.full(2 * len(slots), -1, np.int64)
                for group in range(n_groups):
                    slots[_slot(slots, first, a, b, first[group])] = group
                slot = _slot(slots, first, a, b, i)
            slots[slot] = n_groups
            first[n_groups] = i
            n_groups += 1
        group_of[i] = slots[slot]
    return group_of, first[:n_groups].copy()


@njit(cache=True)
def _slot(slots: np.ndarray, first: np.ndarray, a: np.ndarray, b: np.ndarray, i: int) -> np.int64:
    """Where the group of element i stands in the hash table, or the free place for it."""
    mixed = (a[i] * np.uint64(0x9E3779B97F4A7C15)) ^ (b[i] + np.uint64(0x7F4A7C15))
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0 and (a[first[slots[slot]]] != a[i] or b[first[slots[slot]]] != b[i]):
        slot = (slot + 1) & (len(slots) - 1)
    return slot
