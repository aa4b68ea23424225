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
    loss_nm: by how much the expected run length would grow if this error were repaired: for a merger, if its segment were cut
    into one for each skeleton; for a split, if the two runs were one, mergers elsewhere disregarded.
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
    errors = _mergers(skeletons, runs, merge_tolerance, limit) + _splits(skeletons, runs, limit)
    return sorted(errors, key=lambda error: -error.loss_nm)[:limit]


def _mergers(skeletons: Skeletons, runs: Runs, merge_tolerance: float, limit: int) -> list[SkeletonError]:
    table = runs.table
    merging = np.flatnonzero(runs.merging_pairs(merge_tolerance) & ~runs.in_background)
    loss_nm = _gains_nm2(runs, merge_tolerance) / runs.skeleton_length_nm.sum()
    segments = np.unique(table.predicted_index[merging])
    errors = []
    for segment in segments[np.argsort(-loss_nm[segments], kind="stable")[:limit]]:
        members = merging[table.predicted_index[merging] == segment]
        members = members[np.lexsort((-table.counts[members], -runs.length_nm[members]))]
        largest, second = (skeletons.node_positions_nm[runs.node_cells == cell] for cell in members[:2])
        nearest = int(np.argmin(cKDTree(largest).query(second)[0]))
        skeleton_ids = tuple(table.truth_ids[table.truth_index[members]].tolist())
        segment_ids, loss = (int(table.predicted_ids[segment]),), float(loss_nm[segment])
        errors.append(SkeletonError("merger", segment_ids, skeleton_ids, _as_position(second[nearest]), loss))
    return errors


def _gains_nm2(runs: Runs, merge_tolerance: float) -> np.ndarray:
    """(P,) squares of the runs that would count if the merger of each segment were repaired.

    Those in the segment, and those that its skeletons have in other merging segments, as far as they are members nowhere else.
    """
    table, merging = runs.table, runs.merging_pairs(merge_tolerance)
    lost_nm2 = runs.length_nm**2 * runs.merged_pairs(merge_tolerance)
    gains_nm2 = np.bincount(table.predicted_index, lost_nm2, len(table.predicted_ids))
    n_memberships = np.bincount(table.truth_index[merging], minlength=len(table.truth_ids))
    only = np.flatnonzero(merging & (n_memberships == 1)[table.truth_index])
    elsewhere_nm2 = np.bincount(table.truth_index, lost_nm2)[table.truth_index[only]] - lost_nm2[only]
    return np.asarray(gains_nm2 + np.bincount(table.predicted_index[only], elsewhere_nm2, len(table.predicted_ids)))


def _splits(skeletons: Skeletons, runs: Runs, limit: int) -> list[SkeletonError]:
    table = runs.table
    ends = np.sort(table.predicted_index[runs.node_cells[skeletons.edges[runs.split_edges]]], axis=1)
    # One error for each pair of segments along a skeleton, however often they alternate; the sort keeps the order of edges.
    keys = np.column_stack([runs.split_skeletons, ends])
    order = np.lexsort(keys.T[::-1])
    keys = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    keys, edges = keys[is_first], runs.split_edges[order[is_first]]
    low_nm, high_nm = (_length_inside(runs, keys[:, 0], segments) for segments in keys[:, 1:].T)
    loss_nm = 2 * low_nm * high_nm / runs.skeleton_length_nm.sum()
    errors = []
    for i in np.argsort(-loss_nm, kind="stable")[:limit]:
        skeleton_ids = (int(table.truth_ids[keys[i, 0]]),)
        segment_ids = tuple(table.predicted_ids[keys[i, 1:]].tolist())
        position_nm = skeletons.node_positions_nm[skeletons.edges[edges[i]]].mean(axis=0)
        errors.append(SkeletonError("split", segment_ids, skeleton_ids, _as_position(position_nm), float(loss_nm[i])))
    return errors


def _length_inside(runs: Runs, skeletons: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The run length of pairs of a skeleton and a segment, given as places in the table.

    0 where they share no node, as where an edge between two skeletons leads into a segment that its own does not reach.
    """
    table, n_segments = runs.table, len(runs.table.predicted_ids)
    cells, wanted = table.truth_index * n_segments + table.predicted_index, skeletons * n_segments + segments
    place = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    return np.where(cells[place] == wanted, runs.length_nm[place], 0.0)


def _as_position(position_nm: np.ndarray) -> tuple[float, float, float]:
    z, y, x = position_nm.tolist()
    return z, y, x
