"""Ids of one block turned into those of the whole volume."""

from __future__ import annotations

import numpy as np

from pipeline_lib.components.slabs import replace_labels, threads_for


def relabel(labels: np.ndarray, table: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """table[labels]: written over `labels` if they have the dtype of the table and are C-contiguous, otherwise a new array.

    labels: (z, y, x) unsigned. table: (n + 1,) unsigned, new ids of the labels 0..n. threads: by default, all processors.
    Raises ValueError if a label is not in the table.
    """
    if labels.size and labels.max() >= len(table):
        raise ValueError(f"the table has ids up to {len(table) - 1}, the labels go up to {labels.max()}")
    relabelled = np.ascontiguousarray(labels, table.dtype)
    replace_labels(relabelled, table, threads=threads_for(threads, len(labels)))
    return relabelled
