"""How often each true id meets each predicted id, and the measures that follow from that table alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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

    @property
    def truth_counts(self) -> np.ndarray:
        return np.bincount(self.truth_index, self.counts, len(self.truth_ids))

    @property
    def predicted_counts(self) -> np.ndarray:
        return np.bincount(self.predicted_index, self.counts, len(self.predicted_ids))

    def variation_of_information(self) -> tuple[float, float]:
        """(split, merge) = (H(predicted | truth), H(truth | predicted)) in bits (Meila 2007)."""
        p = self.counts / self.counts.sum()
        split = -np.sum(p * np.log2(self.counts / self.truth_counts[self.truth_index]))
        merge = -np.sum(p * np.log2(self.counts / self.predicted_counts[self.predicted_index]))
        return float(split) + 0.0, float(merge) + 0.0  # no -0.0

    def pair_counts(self) -> tuple[float, float, float]:
        """Ordered pairs, an element with itself included, that share (both ids, the true id, the predicted id)."""
        squares = [np.square(counts, dtype=float) for counts in (self.counts, self.truth_counts, self.predicted_counts)]
        return float(squares[0].sum()), float(squares[1].sum()), float(squares[2].sum())


def tabulate(truth: np.ndarray, predicted: np.ndarray) -> Contingency:
    """The table of two id arrays of equal length; every element counts, whatever its ids."""
    truth_ids, truth_index = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_index = np.unique(predicted, return_inverse=True)
    cells, counts = np.unique(truth_index * len(predicted_ids) + predicted_index, return_counts=True)
    return Contingency(truth_ids, predicted_ids, *np.divmod(cells, max(len(predicted_ids), 1)), counts)
