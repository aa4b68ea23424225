"""The file curve.json, and beside it what the bootstrap of the choice draws from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import write_json
from pipeline_lib.artefacts.npz import write_arrays
from pipeline_lib.components import HIGHEST_LEVEL, PointSweep
from pipeline_lib.metrics import LabelScores, SkeletonScores, ThresholdCurve

# Of each skeleton (S,), and of each threshold and skeleton (T, S).
SKELETONS_FILE = "skeletons.npz"
CURVE_FILE = "curve.json"


_NO_SCORES = ("threshold", "n_segments", "n_segments_by_size", "merge_tolerance", "nerl_by_tolerance")


@dataclass(frozen=True)
class TriedThreshold:
    """What the segmentation at one threshold scores, as far as there is a truth."""

    threshold: float
    n_segments: int
    skeletons: SkeletonScores | None
    voxels: LabelScores | None


def write_tried(folder: Path, volume: str, tried: Iterable[TriedThreshold], levels: dict[str, Any] | None) -> None:
    """The scores of thresholds, rising, which may be given one by one.

    levels: the scores of every level, as `levels_of` gives them.
    """
    points, erl_nm, voi_sum = [], [], []
    arrays: dict[str, np.ndarray] = {}
    for found in tried:
        points.append(
            {
                "threshold": found.threshold,
                "n_segments": found.n_segments,
                "skeletons": found.skeletons.to_json() if found.skeletons is not None else None,
                "voxels": found.voxels.to_json() if found.voxels is not None else None,
            }
        )
        if found.skeletons is not None:
            arrays = {"length_nm": found.skeletons.skeleton_length_nm, "n_nodes": found.skeletons.skeleton_n_nodes}
            erl_nm.append(found.skeletons.skeleton_erl_nm)
            voi_sum.append(found.skeletons.skeleton_voi_split + found.skeletons.skeleton_voi_merge)
    if arrays:
        arrays |= {"erl_nm": np.array(erl_nm), "voi_sum": np.array(voi_sum)}
    _write(folder, volume, points, arrays, levels)


def write_levels(folder: Path, volume: str, curve: ThresholdCurve, levels: dict[str, Any]) -> None:
    """The scores of every level, as tried thresholds too."""
    arrays = {"length_nm": curve.skeleton_length_nm, "erl_nm": curve.skeleton_erl_nm[::-1]}
    _write(folder, volume, _points_of(levels), arrays, levels)


def levels_of(curve: ThresholdCurve, sweep: PointSweep) -> dict[str, Any]:
    """Scores of all levels, numbers of segments, and how many of all have 1, 2 to 3, 4 to 7, .. voxels, small ones included."""
    told = slice(HIGHEST_LEVEL, HIGHEST_LEVEL - len(curve.thresholds), -1)
    histogram = sweep.histogram[told]
    n_bins = int(np.flatnonzero(histogram.any(axis=0)).max(initial=0)) + 1
    sizes = histogram[:, :n_bins].tolist()
    return {"n_segments": sweep.n_segments[told].tolist(), "n_segments_by_size": sizes, **curve.to_json()}


def _points_of(levels: dict[str, Any]) -> list[dict[str, Any]]:
    """The levels as points, rising like those of a list of thresholds."""
    by_tolerance = levels["nerl_by_tolerance"]
    columns = {name: values for name, values in levels.items() if name not in _NO_SCORES}
    points = []
    for i in reversed(range(len(levels["threshold"]))):
        skeletons = {name: values[i] for name, values in columns.items()}
        skeletons["merge_tolerance"] = levels["merge_tolerance"]
        skeletons["nerl_by_tolerance"] = {key: values[i] for key, values in by_tolerance.items()}
        point = {"threshold": levels["threshold"][i], "n_segments": levels["n_segments"][i]}
        points.append({**point, "skeletons": skeletons, "voxels": None})
    return points


def _write(
    folder: Path, volume: str, points: list[dict[str, Any]], arrays: dict[str, np.ndarray], levels: dict[str, Any] | None
) -> None:
    write_arrays(folder / SKELETONS_FILE, arrays, compressed=True)
    write_json(folder / CURVE_FILE, {"schema": 2, "volume": volume, "points": points, "levels": levels})
