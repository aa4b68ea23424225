"""The scores of one segmentation, and its errors to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline_lib.artefacts import read_json, write_json, write_text
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.metrics import SkeletonError, SkeletonScores, worst_errors
from pipeline_lib.settings.stages import EvaluateStage
from pipeline_lib.volumes import Volume, open_array


def evaluate_volume(settings: EvaluateStage, segmentation: Path, volume: Volume, folder: Path) -> None:
    """Write `errors.csv`, `skeletons.csv` and, last, `metrics.json`. The volume is held in memory."""
    complete = read_json(segmentation / "complete.json")
    labels = np.asarray(open_array(segmentation / "segmentation.zarr" / "0")[:])
    truth = GroundTruth.of(volume, settings.evaluation)
    skeletons, voxels = truth.score_skeletons(labels), truth.score_voxels(labels)
    errors: list[SkeletonError] = []
    if truth.skeletons is not None:
        nodes = truth.node_segments(labels)
        tolerance = settings.evaluation.merge_tolerance
        errors = worst_errors(truth.skeletons, nodes, limit=settings.evaluation.worst_errors, merge_tolerance=tolerance)
    write_text(folder / "errors.csv", _errors_table(errors, volume))
    if skeletons is not None:
        write_text(folder / "skeletons.csv", _skeletons_table(skeletons))
    metrics = {
        "schema": 1,
        "volume": volume.name,
        "split": settings.split,
        "segmentation_id": segmentation.parent.name,
        "choice": complete["choice"],
        "n_segments": complete["n_segments"],
        "skeletons": skeletons.to_json() if skeletons is not None else None,
        "voxels": voxels.to_json() if voxels is not None else None,
    }
    write_json(folder / "metrics.json", metrics)
    if skeletons is not None:
        print(f"{volume.name}: NERL {skeletons.nerl:.3f} at merge tolerance {settings.evaluation.merge_tolerance}")
    if voxels is not None:
        print(f"{volume.name}: voxel VOI {voxels.voi_split:.3f} split + {voxels.voi_merge:.3f} merge")


def _errors_table(errors: list[SkeletonError], volume: Volume) -> str:
    header = ["kind", "loss_nm", "z_nm", "y_nm", "x_nm", "z_vox", "y_vox", "x_vox", "segments", "skeletons"]
    rows = []
    for error in errors:
        vox = nm_to_vox_floor(np.array([error.position_nm]), volume.voxel_size_nm)[0].tolist()
        place = [*(f"{p:.1f}" for p in error.position_nm), *vox]
        ids = [" ".join(map(str, error.segment_ids)), " ".join(map(str, error.skeleton_ids))]
        rows.append([error.kind, f"{error.loss_nm:.1f}", *place, *ids])
    return _csv([header, *rows])


def _skeletons_table(scores: SkeletonScores) -> str:
    header = ["skeleton", "length_nm", "erl_nm", "n_splits", "merged"]
    columns = (scores.skeleton_ids, scores.skeleton_length_nm, scores.skeleton_erl_nm, scores.skeleton_n_splits)
    rows = [
        [int(i), f"{length:.1f}", f"{erl:.1f}", int(splits), int(merged)]
        for i, length, erl, splits, merged in zip(*columns, scores.skeleton_is_merged, strict=True)
    ]
    return _csv([header, *rows])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
