"""Run lengths, splits and mergers of a segmentation, measured on skeletons of the true neurons."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numba import njit

from pipeline_lib.errors import UserError
from pipeline_lib.metrics.bootstrap import bootstrap_intervals
from pipeline_lib.metrics.contingency import Contingency, tabulate_elements
from pipeline_lib.skeletons import Skeletons

REPORTED_TOLERANCES = (0, 5, 20, 50, 100, math.inf)


@dataclass(frozen=True)
class SkeletonScores:
    """Scores of a segmentation on skeletons; lengths in nm, VOI in bits. Nodes of skeleton 0 count nowhere.

    An edge of a skeleton is right for the segment of its two nodes, unless one of them lies in background (omitted), they lie
    in two segments (split), or the segment merges skeletons (merged: see `score_skeletons`).

    erl_nm: expected run length: the length of right edges around a random point, in its segment. max_erl_nm: that of a
    perfect segmentation. nerl: their ratio, 0 to 1, at `merge_tolerance` nodes; NERLs of two tolerances cannot be compared.
    nerl_by_tolerance: for each of REPORTED_TOLERANCES, keyed "0", "5", .. "inf"; "inf" is the ceiling if no merger existed.
    voi_split, voi_merge, rand_split, rand_merge: over nodes, predicted 0 counting as one more segment.
    n_splits: split edges. n_mergers: memberships (segment, skeleton) of merging segments, background among them;
    n_non0_mergers without it. n_nodes, background_fraction: nodes, and the part of them in background.

    Of each skeleton, in the order of skeleton_ids (S,): skeleton_length_nm; skeleton_erl_nm, its own expected run length, so
    that erl_nm is their mean weighted by length; skeleton_max_erl_nm, the same of max_erl_nm; skeleton_n_nodes;
    skeleton_voi_split and skeleton_voi_merge, so that voi_split and voi_merge are their means weighted by nodes;
    skeleton_n_splits; skeleton_is_merged, by a segment other than background.
    mergers: (n_mergers, 2) uint64, the memberships: segment id, skeleton id.
    """

    nerl: float
    erl_nm: float
    max_erl_nm: float
    merge_tolerance: float
    nerl_by_tolerance: dict[str, float]
    voi_split: float
    voi_merge: float
    rand_split: float
    rand_merge: float
    n_splits: int
    n_mergers: int
    n_non0_mergers: int
    n_skeletons: int
    n_nodes: int
    background_fraction: float
    skeleton_ids: np.ndarray
    skeleton_length_nm: np.ndarray
    skeleton_erl_nm: np.ndarray
    skeleton_max_erl_nm: np.ndarray
    skeleton_n_nodes: np.ndarray
    skeleton_voi_split: np.ndarray
    skeleton_voi_merge: np.ndarray
    skeleton_n_splits: np.ndarray
    skeleton_is_merged: np.ndarray
    mergers: np.ndarray

    @property
    def voi_sum(self) -> float:
        return self.voi_split + self.voi_merge

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as under "skeletons" in metrics.json; an infinite tolerance is written "inf".

        With the intervals of `bootstrap_intervals`, each null where there is none.
        """
        ci95 = {f"{name}_ci95": list(ends) if ends else None for name, ends in asdict(bootstrap_intervals(self)).items()}
        return {
            "nerl": self.nerl,
            "merge_tolerance": "inf" if math.isinf(self.merge_tolerance) else self.merge_tolerance,
            "nerl_by_tolerance": dict(self.nerl_by_tolerance),
            "erl_nm": self.erl_nm,
            "max_erl_nm": self.max_erl_nm,
            "voi_split": self.voi_split,
            "voi_merge": self.voi_merge,
            "voi_sum": self.voi_sum,
            "rand_split": self.rand_split,
            "rand_merge": self.rand_merge,
            "n_splits": self.n_splits,
            "n_mergers": self.n_mergers,
            "n_non0_mergers": self.n_non0_mergers,
            "n_skeletons": self.n_skeletons,
            "n_nodes": self.n_nodes,
            "background_fraction": self.background_fraction,
            **ci95,
        }


def tolerance_key(tolerance: float) -> str:
    return "inf" if math.isinf(tolerance) else f"{tolerance:g}"


def score_skeletons(skeletons: Skeletons, node_segments: np.ndarray, *, merge_tolerance: float = 0) -> SkeletonScores:
    """Scores of the segments found at the nodes of `skeletons`.

    node_segments: (N,) segment id of each node, 0 = background. merge_tolerance: before it is decided which segments merge,
    every pair of a skeleton and a segment that share at most so many nodes is set aside; an edge inside a merging segment is
    then merged only if its skeleton keeps a pair with some merging segment.

    A node without edges adds no length, but counts in VOI and Rand and can make its segment merge; a skeleton without edges has
    the expected run length 0 and no weight in the mean. An edge with an end in skeleton 0 counts nowhere. An edge between two
    skeletons is right in no segmentation, a perfect one included; its length, and its split, count for that of its first node.

    ERL: Januszewski et al. 2018 (doi:10.1038/s41592-018-0049-4); rules of funlib.evaluate and, for the tolerance, of BANIS.
    Raises ValueError for a wrong number of segments or a negative tolerance, UserError where the skeletons have no length.
    """
    if not merge_tolerance >= 0:
        raise ValueError(f"merge_tolerance must be >= 0, got {merge_tolerance}")
    runs = measure_runs(skeletons, node_segments)
    table, length_nm = runs.table, runs.skeleton_length_nm
    n_skeletons, skeleton_n_nodes = len(table.truth_ids), table.truth_counts.astype(np.int64)
    skeleton_max_erl_nm = runs.skeleton_max_erl_nm
    max_erl_nm = float(np.sum(length_nm * skeleton_max_erl_nm) / length_nm.sum())
    skeleton_erl_nm = runs.skeleton_erl_nm(merge_tolerance)
    erl_nm = runs.erl_nm(merge_tolerance)
    merging = runs.merging_pairs(merge_tolerance)
    non0_merging = merging & ~runs.in_background
    pairs = table.predicted_ids[table.predicted_index], table.truth_ids[table.truth_index]
    voi_split, voi_merge = table.variation_of_information()
    skeleton_voi = [np.bincount(table.truth_index, bits, n_skeletons) / skeleton_n_nodes for bits in table.cell_entropies()]
    both, same_skeleton, same_segment = table.pair_counts()
    n_nodes = int(table.counts.sum())
    return SkeletonScores(
        nerl=erl_nm / max_erl_nm,
        erl_nm=erl_nm,
        max_erl_nm=max_erl_nm,
        merge_tolerance=merge_tolerance,
        nerl_by_tolerance={tolerance_key(t): runs.erl_nm(t) / max_erl_nm for t in REPORTED_TOLERANCES},
        voi_split=voi_split,
        voi_merge=voi_merge,
        rand_split=both / same_skeleton,
        rand_merge=both / same_segment,
        n_splits=len(runs.split_edges),
        n_mergers=int(np.count_nonzero(merging)),
        n_non0_mergers=int(np.count_nonzero(non0_merging)),
        n_skeletons=n_skeletons,
        n_nodes=n_nodes,
        background_fraction=float(table.counts[runs.in_background].sum() / n_nodes),
        skeleton_ids=table.truth_ids,
        skeleton_length_nm=length_nm,
        skeleton_erl_nm=skeleton_erl_nm,
        skeleton_max_erl_nm=skeleton_max_erl_nm,
        skeleton_n_nodes=skeleton_n_nodes,
        skeleton_voi_split=skeleton_voi[0],
        skeleton_voi_merge=skeleton_voi[1],
        skeleton_n_splits=np.bincount(runs.split_skeletons, minlength=n_skeletons),
        skeleton_is_merged=np.bincount(table.truth_index[non0_merging], minlength=n_skeletons) > 0,
        mergers=np.stack([ids[merging].astype(np.uint64) for ids in pairs], axis=1),
    )


@dataclass(frozen=True)
class Runs:
    """Every pair of a skeleton and a segment that share nodes, with the skeleton's run length inside the segment.

    table: the K pairs and their numbers of nodes. node_cells: (N,) the pair of each node, -1 for one of skeleton 0.
    length_nm: (K,) summed length of the edges with both ends in the pair; 0 in background. skeleton_length_nm: (S,) of all
    edges that start in a skeleton; skeleton_own_length_nm: (S,) of those that end in it, too.
    split_edges: (n_splits,) their indices in Skeletons.edges; split_skeletons: (n_splits,) place in table.truth_ids of the
    skeleton of each.
    """

    table: Contingency
    node_cells: np.ndarray
    length_nm: np.ndarray
    skeleton_length_nm: np.ndarray
    skeleton_own_length_nm: np.ndarray
    split_edges: np.ndarray
    split_skeletons: np.ndarray

    @property
    def in_background(self) -> np.ndarray:
        """(K,) bool."""
        return np.asarray(self.table.predicted_ids[self.table.predicted_index] == 0)

    def merging_pairs(self, tolerance: float) -> np.ndarray:
        """(K,) bool: pairs of more than `tolerance` nodes whose segment has two such pairs or more."""
        kept = self.table.counts > tolerance
        n_skeletons = np.bincount(self.table.predicted_index[kept], minlength=len(self.table.predicted_ids))
        return np.asarray(kept & (n_skeletons > 1)[self.table.predicted_index])

    def merged_pairs(self, tolerance: float) -> np.ndarray:
        """(K,) bool: pairs whose run does not count: the segment merges, and the skeleton has a merging pair somewhere."""
        table, merging = self.table, self.merging_pairs(tolerance)
        segment_merges = np.bincount(table.predicted_index[merging], minlength=len(table.predicted_ids)) > 0
        skeleton_merges = np.bincount(table.truth_index[merging], minlength=len(table.truth_ids)) > 0
        return np.asarray(segment_merges[table.predicted_index] & skeleton_merges[table.truth_index])

    def erl_nm(self, tolerance: float) -> float:
        """Mean of skeleton_erl_nm, weighted by length."""
        length_nm = self.skeleton_length_nm
        return float(np.sum(length_nm * self.skeleton_erl_nm(tolerance)) / length_nm.sum())

    def skeleton_erl_nm(self, tolerance: float) -> np.ndarray:
        """(S,) expected run length of each skeleton by itself; 0 for one without length."""
        squares = self.length_nm**2 * ~self.merged_pairs(tolerance)
        return per_length(np.bincount(self.table.truth_index, squares, len(self.table.truth_ids)), self.skeleton_length_nm)

    @property
    def skeleton_max_erl_nm(self) -> np.ndarray:
        """(S,) that of a perfect segmentation: the length, but for edges that lead into another skeleton."""
        return per_length(self.skeleton_own_length_nm**2, self.skeleton_length_nm)


def per_length(squares_nm2: np.ndarray, length_nm: np.ndarray) -> np.ndarray:
    """Expected run lengths from sums of squared runs, (..., S); 0 for skeletons without length."""
    return np.divide(squares_nm2, length_nm, out=np.zeros_like(squares_nm2), where=length_nm > 0)


def measure_runs(skeletons: Skeletons, node_segments: np.ndarray) -> Runs:
    """The run lengths from which scores and errors follow; see score_skeletons for arguments and errors."""
    node_segments = np.asarray(node_segments)
    node_ids = skeletons.node_skeleton_ids
    if node_segments.shape != node_ids.shape:
        raise ValueError(f"{len(node_ids)} nodes but segments of shape {node_segments.shape}")
    scored = node_ids != 0
    table, cells = tabulate_elements(node_ids[scored], node_segments[scored])
    node_cells = np.full(len(node_ids), -1)
    node_cells[scored] = cells
    n_own, length_nm, skeleton_length_nm, own_length_nm, split = _measure_edges(
        skeletons.edges, skeletons.node_positions_nm, node_cells, (table.truth_index, table.predicted_index), _index_of_0(table)
    )
    if not own_length_nm.sum() > 0:
        raise no_run_length(len(table.truth_ids), n_own)
    split_edges = np.flatnonzero(split)
    split_skeletons = table.truth_index[node_cells[skeletons.edges[split_edges, 0]]]
    return Runs(table, node_cells, length_nm, skeleton_length_nm, own_length_nm, split_edges, split_skeletons)


def no_run_length(n_skeletons: int, n_edges: int) -> UserError:
    return UserError(
        f"no run length to score: the {n_skeletons} skeletons have {n_edges} edges of 0 nm in all; "
        "give skeletons with edges inside this volume"
    )


def _index_of_0(table: Contingency) -> int:
    """The place of background in table.predicted_ids, or -1."""
    return int(np.flatnonzero(table.predicted_ids == 0)[0]) if 0 in table.predicted_ids else -1


@njit(cache=True)
def _measure_edges(
    edges: np.ndarray, positions_nm: np.ndarray, node_cells: np.ndarray, ends: tuple[np.ndarray, np.ndarray], background: int
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number of edges inside skeletons, length_nm, skeleton_length_nm and skeleton_own_length_nm of Runs, (M,) is split.

    node_cells: -1 for nodes of skeleton 0. ends: skeleton and segment of each cell, as places in the table.
    """
    skeletons, segments = ends
    length_nm = np.zeros(len(skeletons))
    skeleton_length_nm = np.zeros(skeletons.max() + 1 if len(skeletons) else 0)
    own_length_nm = np.zeros_like(skeleton_length_nm)
    split = np.zeros(len(edges), np.bool_)
    n_own = 0
    for edge in range(len(edges)):
        a, b = edges[edge, 0], edges[edge, 1]
        cell, other = node_cells[a], node_cells[b]
        if cell < 0 or other < 0:
            continue
        square_nm2 = 0.0
        for axis in range(3):
            square_nm2 += (positions_nm[a, axis] - positions_nm[b, axis]) ** 2
        edge_length_nm = np.sqrt(square_nm2)
        skeleton_length_nm[skeletons[cell]] += edge_length_nm
        if skeletons[cell] == skeletons[other]:
            own_length_nm[skeletons[cell]] += edge_length_nm
            n_own += 1
        if segments[cell] == background or segments[other] == background:
            continue
        if segments[cell] != segments[other]:
            split[edge] = True
        elif cell == other:
            length_nm[cell] += edge_length_nm
    return n_own, length_nm, skeleton_length_nm, own_length_nm, split
