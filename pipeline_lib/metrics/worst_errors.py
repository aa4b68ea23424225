"""The single splits and mergers that cost the most run length, with the places where to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from pipeline_lib.metrics.skeleton_scores import Runs, measure_runs
from pipeline_lib.skeletons import Skeletons


@dataclass(frozen=True)
class SkeletonError:
    """One error of a segmentation.

    merger: one segment over two or more skeletons, the longest inside it first. position_nm: the node of the second longest
    that lies nearest to the longest.
    split: two segments next to each other along one skeleton. position_nm: middle of the first edge between them.
    loss_nm: by how much the expected run length would grow if this error were repaired: for a merger, if all its skeletons kept
    their runs inside the segment; for a split, if the two runs were one, mergers elsewhere disregarded.
    """

    kind: Literal["merger", "split"]
    segment_ids: tuple[int, ...]
    skeleton_ids: tuple[int, ...]
    position_nm: tuple[float, float, float]
    loss_nm: float


def worst_errors(
    skeletons: Skeletons, node_segments: np.ndarray, *, limit: int = 20, merge_tolerance: float = 0
) -> list[SkeletonError]:
    """At most `limit` errors, the most costly first; arguments and errors otherwise as for score_skeletons.

    Background is no segment here: neither a merger, nor a split where a skeleton passes through it.
    """
    runs = measure_runs(skeletons, node_segments)
    splits = _splits(skeletons, np.asarray(node_segments), runs)
    mergers = _mergers(skeletons, np.asarray(node_segments), runs, merge_tolerance, limit)
    return sorted(mergers + splits, key=lambda error: -error.loss_nm)[:limit]


def _mergers(
    skeletons: Skeletons, node_segments: np.ndarray, runs: Runs, merge_tolerance: float, limit: int
) -> list[SkeletonError]:
    table = runs.table
    merging = np.flatnonzero(runs.merging_pairs(merge_tolerance) & ~runs.in_background)
    squares = np.bincount(table.predicted_index[merging], runs.length_nm[merging] ** 2, len(table.predicted_ids))
    loss_nm = squares / runs.skeleton_length_nm.sum()
    segments = np.unique(table.predicted_index[merging])
    errors = []
    for segment in segments[np.argsort(-loss_nm[segments], kind="stable")[:limit]]:
        members = merging[table.predicted_index[merging] == segment]
        members = members[np.lexsort((-table.counts[members], -runs.length_nm[members]))]
        ids = table.truth_ids[table.truth_index[members]]
        segment_id = table.predicted_ids[segment]
        largest, second = (
            skeletons.node_positions_nm[(node_segments == segment_id) & (skeletons.node_skeleton_ids == i)] for i in ids[:2]
        )
        nearest = int(np.argmin(cKDTree(largest).query(second)[0]))
        position_nm, loss = _as_position(second[nearest]), float(loss_nm[segment])
        errors.append(SkeletonError("merger", (int(segment_id),), tuple(ids.tolist()), position_nm, loss))
    return errors


def _splits(skeletons: Skeletons, node_segments: np.ndarray, runs: Runs) -> list[SkeletonError]:
    table, n_segments = runs.table, len(runs.table.predicted_ids)
    ends = skeletons.edges[runs.split_edges]
    low, high = np.sort(np.searchsorted(table.predicted_ids, node_segments[ends]), axis=1).T
    # One error for each pair of segments along a skeleton, however often they alternate.
    keys = np.stack([runs.split_skeletons, low, high], axis=1)
    keys, first = np.unique(keys, axis=0, return_index=True)
    length_by_cell = dict(zip((table.truth_index * n_segments + table.predicted_index).tolist(), runs.length_nm, strict=True))
    errors = []
    for (skeleton, low_index, high_index), edge in zip(keys.tolist(), runs.split_edges[first], strict=True):
        # 0 where an edge between two skeletons leads into a segment that its own skeleton does not reach
        low_nm, high_nm = (length_by_cell.get(skeleton * n_segments + i, 0.0) for i in (low_index, high_index))
        segment_ids = tuple(table.predicted_ids[[low_index, high_index]].tolist())
        loss_nm = float(2 * low_nm * high_nm / runs.skeleton_length_nm.sum())
        position_nm = skeletons.node_positions_nm[skeletons.edges[edge]].mean(axis=0)
        skeleton_ids = (int(table.truth_ids[skeleton]),)
        errors.append(SkeletonError("split", segment_ids, skeleton_ids, _as_position(position_nm), loss_nm))
    return errors


def _as_position(position_nm: np.ndarray) -> tuple[float, float, float]:
    z, y, x = position_nm.tolist()
    return z, y, x
