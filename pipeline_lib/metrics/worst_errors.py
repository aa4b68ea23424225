"""The single splits, gaps and mergers that cost the most run length, with the places where to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pipeline_lib.metrics.contingency import Contingency
from pipeline_lib.metrics.skeleton_scores import Runs, measure_runs
from pipeline_lib.skeletons import Skeletons


@dataclass(frozen=True)
class SkeletonError:
    """One error of a segmentation.

    merger: one segment over two or more skeletons, the longest inside it first. position_nm: the node of the second longest
    that lies nearest to the longest.
    split: segments next to each other along one skeleton, or with nothing but background between them. gap: background inside
    or at the end of one segment, or all along a skeleton; segment_ids are those next to it, the longest there first.
    position_nm: middle of the first edge between the segments; in background, of its nodes the one nearest to their mean.

        split   1--1--1--2--2        split   1--1--0--0--2--2        gap   1--1--0--1--1

    loss_nm: by how much the expected run length would grow if this error were repaired: for a merger, if its segment were cut
    into one for each skeleton; else, if the runs of the segments and what lies between them were one, mergers elsewhere and
    other edges between these segments disregarded.
    """

    kind: Literal["merger", "split", "gap"]
    segment_ids: tuple[int, ...]
    skeleton_ids: tuple[int, ...]
    position_nm: tuple[float, float, float]
    loss_nm: float


def worst_errors(
    skeletons: Skeletons, node_segments: np.ndarray, *, limit: int = 20, merge_tolerance: float = 0
) -> list[SkeletonError]:
    """At most `limit` errors, the most costly first; arguments and errors otherwise as for score_skeletons.

    Background is no merger, and an edge between two skeletons is no split.
    """
    runs = measure_runs(skeletons, node_segments)
    errors = _mergers(skeletons, runs, merge_tolerance, limit) + _splits(skeletons, runs, limit) + _gaps(skeletons, runs, limit)
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
    """One error for each pair of segments along a skeleton, however often they alternate."""
    table, n_cells = runs.table, len(runs.table.counts)
    edges = skeletons.edges[runs.split_edges]
    cells = np.sort(runs.node_cells[edges], axis=1)
    inside = table.truth_index[cells[:, 0]] == table.truth_index[cells[:, 1]]
    edges, cells = edges[inside], cells[inside]
    pairs, first, pair_of = np.unique(cells[:, 0] * n_cells + cells[:, 1], return_index=True, return_inverse=True)
    cells = np.stack(np.divmod(pairs, n_cells), axis=1)
    runs_nm = runs.length_nm[cells]
    between_nm = np.bincount(pair_of, skeletons.edge_lengths_nm[runs.split_edges[inside]], len(pairs))
    loss_nm = _gain_nm(runs_nm.sum(axis=1) + between_nm, (runs_nm**2).sum(axis=1), runs)
    errors = []
    for i in np.argsort(-loss_nm, kind="stable")[:limit]:
        position_nm = skeletons.node_positions_nm[edges[first[i]]].mean(axis=0)
        errors.append(_along_skeleton("split", table, cells[i], _as_position(position_nm), float(loss_nm[i])))
    return errors


def _gaps(skeletons: Skeletons, runs: Runs, limit: int) -> list[SkeletonError]:
    """One error for each stretch of background along a skeleton, with all segments around it."""
    table, n_cells = runs.table, len(runs.table.counts)
    scored = np.flatnonzero(runs.node_cells >= 0)
    in_background = np.zeros(len(runs.node_cells), bool)
    in_background[scored] = runs.in_background[runs.node_cells[scored]]
    cells = runs.node_cells[skeletons.edges]
    inside = (cells >= 0).all(axis=1) & (table.truth_index[cells[:, 0]] == table.truth_index[cells[:, 1]])
    chosen = np.flatnonzero(inside & in_background[skeletons.edges].any(axis=1))
    edges = skeletons.edges[chosen]
    edges = np.where(in_background[edges[:, :1]], edges, edges[:, ::-1])  # the end in background first
    through = in_background[edges[:, 1]]
    links = coo_array((np.ones(np.count_nonzero(through), bool), edges[through].T), shape=(len(in_background),) * 2)
    stretch_of_node = connected_components(links, directed=False)[1]
    stretches, stretch_of = np.unique(stretch_of_node[edges[:, 0]], return_inverse=True)
    background_nm = np.bincount(stretch_of, skeletons.edge_lengths_nm[chosen], len(stretches))
    sides = np.unique((stretch_of * n_cells + runs.node_cells[edges[:, 1]])[~through])
    side_of, around = np.divmod(sides, n_cells)
    runs_nm = runs.length_nm[around]
    joined_nm = background_nm + np.bincount(side_of, runs_nm, len(stretches))
    loss_nm = _gain_nm(joined_nm, np.bincount(side_of, runs_nm**2, len(stretches)), runs)
    errors = []
    for i in np.argsort(-loss_nm, kind="stable")[:limit]:
        nodes = np.flatnonzero(stretch_of_node == stretches[i])
        positions_nm = skeletons.node_positions_nm[nodes]
        middle = int(np.argmin(np.linalg.norm(positions_nm - positions_nm.mean(axis=0), axis=1)))
        segments = around[side_of == i]
        segments = segments[np.argsort(-runs.length_nm[segments], kind="stable")]
        kind: Literal["split", "gap"] = "split" if len(segments) > 1 else "gap"
        cells_of_error = segments if len(segments) else runs.node_cells[nodes[:1]]
        errors.append(_along_skeleton(kind, table, cells_of_error, _as_position(positions_nm[middle]), float(loss_nm[i])))
    return errors


def _gain_nm(joined_nm: np.ndarray, squares_nm2: np.ndarray, runs: Runs) -> np.ndarray:
    """What the expected run length gains where runs of these summed squares become one."""
    return (joined_nm**2 - squares_nm2) / runs.skeleton_length_nm.sum()


def _along_skeleton(
    kind: Literal["split", "gap"],
    table: Contingency,
    cells: np.ndarray,
    position_nm: tuple[float, float, float],
    loss_nm: float,
) -> SkeletonError:
    """An error of one skeleton. cells: of its segments, or of background where there is none."""
    segment_ids = tuple(i for i in table.predicted_ids[table.predicted_index[cells]].tolist() if i != 0)
    return SkeletonError(kind, segment_ids, (int(table.truth_ids[table.truth_index[cells[0]]]),), position_nm, loss_nm)


def _as_position(position_nm: np.ndarray) -> tuple[float, float, float]:
    z, y, x = position_nm.tolist()
    return z, y, x
