"""The score of every threshold on one val volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline_lib.artefacts import write_json
from pipeline_lib.components import segment_affinities
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.settings.stages import SweepStage
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities


def sweep_volume(settings: SweepStage, prediction: Path, volume: Volume, folder: Path) -> None:
    """Write `curve.json`: for each threshold what the segmentation would score. The volume is held in memory.

    A threshold is scored by the very segmentation that it would give: small segments removed, borders grown.
    """
    truth = GroundTruth.of(volume, settings.evaluation)
    affinities = np.asarray(open_affinities(prediction / "affinities.zarr" / "0").array[:3])
    points = []
    for threshold in tqdm(settings.sweep.thresholds, desc=f"thresholds on {volume.name}", unit="threshold"):
        labels = segment_affinities(affinities, threshold, **settings.segmentation.after_labelling)
        skeletons, voxels = truth.score_skeletons(labels), truth.score_voxels(labels)
        points.append(
            {
                "threshold": threshold,
                "n_segments": int(labels.max(initial=0)),
                "skeletons": skeletons.to_json() if skeletons is not None else None,
                "voxels": voxels.to_json() if voxels is not None else None,
            }
        )
    write_json(folder / "curve.json", {"schema": 1, "volume": volume.name, "points": points})
