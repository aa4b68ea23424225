"""Scores of all runs on skeletons drawn anew: the same draws for all, so that their differences mean something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib.metrics import SkeletonTable
from pipeline_lib.metrics.bootstrap import N_DRAWS, draw_weights
from pipeline_lib.report.compared.measures import NERL, VOI_NODES, Measure
from pipeline_lib.report.compared.runs import SPLITS, ScoredRun

TESTED = (NERL, VOI_NODES)

# Runs are comparable on a volume where its name, the merge tolerance and the skeletons are the same.
Scored = tuple[str, float, bytes, bytes, bytes]


@dataclass(frozen=True)
class Drawn:
    """Of R runs: on which volumes each is scored, and its mean score over them in D draws of skeletons, (R, D) per measure.

    A score is NaN where a run has no skeletons, and in a draw that holds no skeleton with edges. n_free: (R,) skeletons with
    edges beyond the first one of each volume; 0 where some volume has fewer than two, of which all draws are the same.
    """

    volumes: tuple[tuple[Scored, ...], ...]
    n_free: np.ndarray
    scores: Mapping[Measure, np.ndarray]


def draw_scores(runs: Sequence[ScoredRun], split: str, *, n_draws: int = N_DRAWS) -> Drawn:
    """A volume's skeletons are drawn among themselves, and each volume counts the same, as where the threshold is chosen."""
    tables = [[(volume.name, volume.skeletons) for volume in run.of_split(split) if volume.skeletons] for run in runs]
    scores = {measure: np.full((len(runs), n_draws), np.nan) for measure in TESTED}
    members: dict[Scored, list[tuple[int, SkeletonTable]]] = {}
    for index, found in enumerate(tables):
        for name, table in found:
            members.setdefault(_scored(name, table), []).append((index, table))
        if found:
            for drawn in scores.values():
                drawn[index] = 0.0
    for number, found_in in enumerate(members.values()):
        rows = [index for index, _ in found_in]
        shares = np.array([1 / len(tables[index]) for index in rows])
        for measure, drawn in _drawn([table for _, table in found_in], n_draws, number).items():
            scores[measure][rows] += shares[:, None] * drawn
    n_edged = [[np.count_nonzero(table.skeleton_max_erl_nm) for _, table in found] for found in tables]
    n_free = [sum(found) - len(found) if min(found, default=0) >= 2 else 0 for found in n_edged]
    volumes = tuple(tuple(sorted(_scored(*entry) for entry in found)) for found in tables)
    return Drawn(volumes, np.array(n_free, int), scores)


def with_intervals(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """With the intervals of mean scores over several volumes, which no metrics.json has."""
    found = list(runs)
    for split in SPLITS:
        several = [i for i, run in enumerate(runs) if sum(volume.skeletons is not None for volume in run.of_split(split)) > 1]
        drawn = draw_scores([runs[i] for i in several], split)
        for row, i in enumerate(several):
            if drawn.n_free[row]:
                ends = {measure: np.nanpercentile(scores[row], [2.5, 97.5]) for measure, scores in drawn.scores.items()}
                told = {(split, measure.key): (float(low), float(high)) for measure, (low, high) in ends.items()}
                found[i] = replace(found[i], intervals={**found[i].intervals, **told})
    return found


def _scored(name: str, table: SkeletonTable) -> Scored:
    # to 0.1 nm: a length can have been summed in another order
    told = (table.skeleton_ids, table.skeleton_n_nodes, table.skeleton_length_nm.round(1))
    ids, n_nodes, length_nm = (np.ascontiguousarray(column).tobytes() for column in told)
    return (name, table.merge_tolerance, ids, n_nodes, length_nm)


def _drawn(tables: Sequence[SkeletonTable], n_draws: int, seed: int) -> dict[Measure, np.ndarray]:
    """(T, D) scores of tables of the same skeletons; the draws of one volume follow from the seed."""
    first = tables[0]
    length_nm, n_nodes = first.skeleton_length_nm, first.skeleton_n_nodes.astype(float)
    runs = np.stack([length_nm * table.skeleton_erl_nm for table in tables])
    voi = np.stack([n_nodes * (table.skeleton_voi_split + table.skeleton_voi_merge) for table in tables])
    columns = np.concatenate([runs, voi, [length_nm * first.skeleton_max_erl_nm, n_nodes]]).T
    sums = np.concatenate([weights @ columns for weights in draw_weights(len(length_nm), n_draws, seed)]).T
    n = len(tables)
    perfect = np.where(sums[-2] > 0, sums[-2], np.nan)
    return {NERL: sums[:n] / perfect, VOI_NODES: sums[n : 2 * n] / np.where(sums[-2] > 0, sums[-1], np.nan)}
