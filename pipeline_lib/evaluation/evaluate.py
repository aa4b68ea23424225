"""The scores of one segmentation, and its errors to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import read_json, write_json, write_text
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.evaluation.tables import errors_table, objects_table, read_skeletons, skeletons_table
from pipeline_lib.evaluation.verify import verify_with_funlib
from pipeline_lib.metrics import SkeletonError, SkeletonScores, compare_skeleton_scores, score_skeletons, worst_errors
from pipeline_lib.settings.stages import EvaluateStage
from pipeline_lib.skeletons import Skeletons
from pipeline_lib.volumes import Volume, open_array


def evaluate_volume(
    settings: EvaluateStage,
    segmentation: Path,
    volume: Volume,
    folder: Path,
    *,
    against: Path | None = None,
    verify: bool = False,
) -> None:
    """Write `errors.csv`, `skeletons.csv`, `objects.csv` and, last, `metrics.json`; the volume is read block by block.

    against: the folder of another evaluation of this volume, to compare with; by default that of the settings. verify: also
    score with funlib.evaluate, where that is installed; other scores of its are a UserError, and nothing is written.
    """
    if against is None and settings.evaluation.against is not None:
        against = Path(settings.evaluation.against) / folder.name
    complete = read_json(segmentation / "complete.json")
    labels = open_array(segmentation / "segmentation.zarr" / "0")
    if labels.shape != volume.shape_vox:
        raise UserError(
            f"{segmentation / 'segmentation.zarr'} has shape {labels.shape}, but volume {volume.name} {volume.shape_vox}; "
            "give the segmentation of this volume"
        )
    truth = GroundTruth.of(volume, settings.evaluation, in_memory=False)
    tolerance = settings.evaluation.merge_tolerance
    skeletons: SkeletonScores | None = None
    errors: list[SkeletonError] = []
    if truth.skeletons is not None:
        nodes = truth.node_segments(labels)
        skeletons = score_skeletons(truth.skeletons, nodes, merge_tolerance=tolerance)
        errors = worst_errors(truth.skeletons, nodes, limit=settings.evaluation.worst_errors, merge_tolerance=tolerance)
        if verify:
            _verify(truth.skeletons, nodes, skeletons)
    elif verify:
        raise UserError(f"there is nothing to verify: volume {volume.name} is not scored against skeletons")
    comparison = _compare(skeletons, against, volume) if against is not None else None
    voxels = truth.score_voxels(labels)
    write_text(folder / "errors.csv", errors_table(errors, volume))
    if skeletons is not None:
        write_text(folder / "skeletons.csv", skeletons_table(skeletons))
    if voxels is not None:
        write_text(folder / "objects.csv", objects_table(voxels))
    metrics = {
        "schema": 1,
        "volume": volume.name,
        "split": settings.split,
        "segmentation_id": segmentation.parent.name,
        "choice": complete["choice"],
        "n_segments": complete["n_segments"],
        "skeletons": skeletons.to_json() if skeletons is not None else None,
        "voxels": voxels.to_json() if voxels is not None else None,
        "comparison": comparison,
    }
    write_json(folder / "metrics.json", metrics)
    if skeletons is not None:
        print(f"{volume.name}: NERL {skeletons.nerl:.3f} at merge tolerance {tolerance}")
    if voxels is not None:
        print(f"{volume.name}: voxel VOI {voxels.voi_split:.3f} split + {voxels.voi_merge:.3f} merge")
    if comparison is not None:
        print(f"{volume.name} against {comparison['against']}: {comparison['verdict']}")


def _verify(skeletons: Skeletons, nodes: np.ndarray, scores: SkeletonScores) -> None:
    if scores.merge_tolerance != 0:
        scores = score_skeletons(skeletons, nodes)
    found = verify_with_funlib(skeletons, nodes, scores)
    print("\n".join(found.lines))
    if found.agrees is False:
        raise UserError("funlib.evaluate gives other scores, see above; please report this with the skeletons")


def _compare(skeletons: SkeletonScores | None, against: Path, volume: Volume) -> dict[str, Any]:
    """As under "comparison" in metrics.json."""
    if not (against / "metrics.json").is_file():
        raise UserError(
            f"cannot compare with {against}: it holds no metrics.json; give the folder of one volume, "
            "evaluations/<id>/<volume>, or in evaluation.against the folder above it"
        )
    other = read_json(against / "metrics.json")
    if other["volume"] != volume.name:
        raise UserError(f"cannot compare volume {volume.name} with {against}, an evaluation of volume {other['volume']}")
    if skeletons is None or other["skeletons"] is None:
        which = f"volume {volume.name}" if skeletons is None else against
        raise UserError(
            f"cannot compare with {against}: {which} is not scored against skeletons; see evaluation.skeleton_metrics"
        )
    table = read_skeletons(against / "skeletons.csv", merge_tolerance=float(other["skeletons"]["merge_tolerance"]))
    return {"against": other["segmentation_id"], **compare_skeleton_scores(skeletons, table).to_json()}
