"""The scores of many thresholds on one val volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline_lib.artefacts import replacing, write_json
from pipeline_lib.components import HIGHEST_LEVEL, ThresholdSweep, finish_components, level_of, sweep_thresholds
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.metrics import SkeletonScores, ThresholdCurve, score_thresholds
from pipeline_lib.settings.scoring import SegmentationSettings
from pipeline_lib.settings.stages import SweepStage
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities

# Of each skeleton (S,), and of each threshold and skeleton (T, S): what the paired bootstrap of the choice draws from.
SKELETONS_FILE = "skeletons.npz"


def sweep_volume(settings: SweepStage, prediction: Path, volume: Volume, folder: Path, *, threads: int | None = None) -> None:
    """Write `skeletons.npz` and `curve.json`: for each threshold what the segmentation would score.

    A threshold is scored by the very segmentation that it would give: small segments removed, borders grown. Where segments are
    components and nothing else, the scores at skeleton nodes are told of every level, too. The volume is held in memory.
    """
    truth = GroundTruth.of(volume, settings.evaluation)
    tried, lowest = settings.sweep.thresholds, settings.sweep.lowest
    affinities = np.asarray(open_affinities(prediction / "affinities.zarr" / "0").array[:3])
    lowest = lowest if tried == "all" else min(lowest, tried[0])
    sweep = sweep_thresholds(affinities, lowest=lowest, points_vox=truth.node_voxels, threads=threads)
    curve = n_segments = None
    if truth.skeletons is not None and settings.segmentation.only_components:
        sizes = sweep.sizes(min_size_vox=settings.segmentation.min_size_vox)
        history, tolerance = sweep.point_history(sizes=sizes), settings.evaluation.merge_tolerance
        curve = score_thresholds(truth.skeletons, history, lowest_level=level_of(lowest), merge_tolerance=tolerance)
        n_segments = sizes.n_segments[HIGHEST_LEVEL : HIGHEST_LEVEL - len(curve.thresholds) : -1]
    levels = None
    if curve is not None and n_segments is not None:
        levels = {"n_segments": n_segments.tolist(), **curve.to_json()}
    if tried == "all":
        if curve is None or levels is None:
            raise UserError(
                f"sweep.thresholds: all scores components at the nodes of skeletons, but volume {volume.name} has no skeletons"
            )
        points, of_skeletons = _points_of(levels), _of_curve(curve)
    else:
        points, of_skeletons = _try_each(tried, settings.segmentation, sweep, affinities, truth)
    with replacing(folder / SKELETONS_FILE) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **of_skeletons)
    write_json(folder / "curve.json", {"schema": 2, "volume": volume.name, "points": points, "levels": levels})


def _try_each(
    thresholds: tuple[float, ...],
    method: SegmentationSettings,
    sweep: ThresholdSweep,
    affinities: np.ndarray,
    truth: GroundTruth,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    points, scores = [], []
    for threshold in tqdm(thresholds, desc="thresholds", unit="threshold"):
        labels = finish_components(sweep.labels_at(threshold), affinities, **method.after_labelling)
        skeletons, voxels = truth.score_skeletons(labels), truth.score_voxels(labels)
        scores.append(skeletons)
        points.append(
            {
                "threshold": threshold,
                "n_segments": int(labels.max(initial=0)),
                "skeletons": skeletons.to_json() if skeletons is not None else None,
                "voxels": voxels.to_json() if voxels is not None else None,
            }
        )
    return points, _of_scores([found for found in scores if found is not None])


def _of_scores(scores: list[SkeletonScores]) -> dict[str, np.ndarray]:
    if not scores:
        return {}
    voi = [found.skeleton_voi_split + found.skeleton_voi_merge for found in scores]
    return {
        "length_nm": scores[0].skeleton_length_nm,
        "n_nodes": scores[0].skeleton_n_nodes,
        "erl_nm": np.array([found.skeleton_erl_nm for found in scores]),
        "voi_sum": np.array(voi),
    }


def _of_curve(curve: ThresholdCurve) -> dict[str, np.ndarray]:
    return {"length_nm": curve.skeleton_length_nm, "erl_nm": curve.skeleton_erl_nm[::-1]}


def _points_of(levels: dict[str, Any]) -> list[dict[str, Any]]:
    """The levels as points, rising like those of a list of thresholds."""
    by_tolerance = levels["nerl_by_tolerance"]
    columns = {name: values for name, values in levels.items() if name not in ("threshold", "n_segments", "merge_tolerance")}
    del columns["nerl_by_tolerance"]
    points = []
    for i in reversed(range(len(levels["threshold"]))):
        skeletons = {name: values[i] for name, values in columns.items()}
        skeletons["merge_tolerance"] = levels["merge_tolerance"]
        skeletons["nerl_by_tolerance"] = {key: values[i] for key, values in by_tolerance.items()}
        point = {"threshold": levels["threshold"][i], "n_segments": levels["n_segments"][i]}
        points.append({**point, "skeletons": skeletons, "voxels": None})
    return points
