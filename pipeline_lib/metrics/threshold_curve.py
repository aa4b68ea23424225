"""Skeleton scores at every threshold of a sweep, kept up to date as segments merge instead of computed anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_lib.components import HIGHEST_LEVEL, PointHistory
from pipeline_lib.metrics.merge_replay import Events, Tallies, replay
from pipeline_lib.metrics.skeleton_scores import REPORTED_TOLERANCES, no_run_length, per_length, tolerance_key
from pipeline_lib.skeletons import Skeletons


@dataclass(frozen=True)
class ThresholdCurve:
    """What score_skeletons gives at each of T thresholds, falling; fields of that name are defined there.

    nerl and the counts of mergers are at `merge_tolerance`. skeleton_erl_nm: (T, S), of each skeleton.
    """

    thresholds: np.ndarray
    merge_tolerance: float
    nerl: np.ndarray
    nerl_by_tolerance: dict[str, np.ndarray]
    voi_split: np.ndarray
    voi_merge: np.ndarray
    n_splits: np.ndarray
    n_mergers: np.ndarray
    n_non0_mergers: np.ndarray
    background_fraction: np.ndarray
    skeleton_ids: np.ndarray
    skeleton_length_nm: np.ndarray
    skeleton_erl_nm: np.ndarray

    @property
    def voi_sum(self) -> np.ndarray:
        return self.voi_split + self.voi_merge

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without those of single skeletons."""
        names = ("nerl", "voi_split", "voi_merge", "voi_sum", "n_splits", "n_mergers", "n_non0_mergers", "background_fraction")
        return {
            "threshold": self.thresholds.tolist(),
            "merge_tolerance": "inf" if math.isinf(self.merge_tolerance) else self.merge_tolerance,
            "nerl_by_tolerance": {key: values.tolist() for key, values in self.nerl_by_tolerance.items()},
            **{name: getattr(self, name).tolist() for name in names},
        }


def score_thresholds(
    skeletons: Skeletons,
    history: PointHistory,
    *,
    lowest_level: int,
    merge_tolerance: float = 0,
    tolerances: Sequence[float] = REPORTED_TOLERANCES,
) -> ThresholdCurve:
    """Scores at all levels from HIGHEST_LEVEL down to `lowest_level`, equal to score_skeletons at each.

    history: of the nodes of `skeletons`, in their order. A merge costs as many steps as the smaller of the two segments holds
    skeletons, however many nodes they have. Raises UserError where the skeletons have no length.
    """
    node_ids = skeletons.node_skeleton_ids
    scored = node_ids != 0
    skeleton_ids, skeleton_of = np.unique(node_ids, return_inverse=True)
    if len(skeleton_ids) and skeleton_ids[0] == 0:
        skeleton_ids, skeleton_of = skeleton_ids[1:], skeleton_of - 1
    edges = skeletons.edges[np.all(scored[skeletons.edges], axis=1)]
    edge_lengths_nm = skeletons.edge_lengths_nm[np.all(scored[skeletons.edges], axis=1)]
    length_nm = np.bincount(skeleton_of[edges[:, 0]], edge_lengths_nm, len(skeleton_ids))
    own = skeleton_of[edges[:, 0]] == skeleton_of[edges[:, 1]]
    own_length_nm = np.bincount(skeleton_of[edges[own, 0]], edge_lengths_nm[own], len(skeleton_ids))
    if not own_length_nm.sum() > 0:
        raise no_run_length(len(skeleton_ids), int(np.count_nonzero(own)))
    joined_at = history.joined_at(edges)
    nodes = np.flatnonzero(scored)
    events = Events(
        *_falling(history.appears_at[nodes], history.clusters[nodes], skeleton_of[nodes]),
        *_falling(history.tree.attached_at, np.arange(len(history.tree.parents)), history.tree.parents),
        *_falling(joined_at, history.clusters[edges[:, 0]], skeleton_of[edges[:, 0]], np.where(own, edge_lengths_nm, 0.0)),
    )
    told = np.array([merge_tolerance, *tolerances], float)
    n_nodes = np.bincount(skeleton_of[nodes], minlength=len(skeleton_ids))
    tallies = replay(events, n_nodes, told, lowest_level=lowest_level, n_clusters=len(history.tree.parents))
    return _curve(
        tallies, events, history.appears_at[edges].min(axis=1), (skeleton_ids, length_nm, own_length_nm, n_nodes), told
    )


def _falling(at: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """The rows with a level above 0, the highest first."""
    order = np.argsort(255 - at, kind="stable")[: np.count_nonzero(at)]
    return at[order], *(column[order] for column in columns)


def _curve(
    tallies: Tallies,
    events: Events,
    edge_appears_at: np.ndarray,
    of_skeletons: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    tolerances: np.ndarray,
) -> ThresholdCurve:
    skeleton_ids, length_nm, own_length_nm, n_nodes = of_skeletons
    levels = HIGHEST_LEVEL - np.arange(len(tallies.cells))
    total = n_nodes.sum()
    nerl = np.clip(tallies.squares / np.sum(own_length_nm**2), 0, 1)
    of_truth = np.sum(n_nodes * np.log2(np.maximum(n_nodes, 1)))
    return ThresholdCurve(
        thresholds=levels / 255,
        merge_tolerance=float(tolerances[0]),
        nerl=nerl[:, 0],
        nerl_by_tolerance={tolerance_key(t): nerl[:, i] for i, t in enumerate(tolerances) if i > 0},
        voi_split=np.maximum(of_truth - tallies.cells, 0) / total,
        voi_merge=np.maximum(tallies.segments - tallies.cells, 0) / total,
        n_splits=_above(edge_appears_at, levels) - _above(events.edge_at, levels),
        n_mergers=tallies.mergers,
        n_non0_mergers=tallies.mergers - tallies.background_mergers,
        background_fraction=1 - _above(events.node_at, levels) / total,
        skeleton_ids=skeleton_ids,
        skeleton_length_nm=length_nm,
        skeleton_erl_nm=per_length(tallies.skeleton_squares, length_nm),
    )


def _above(at: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """How many values lie above each of the levels."""
    return np.asarray(len(at) - np.cumsum(np.bincount(at, minlength=256))[levels])
