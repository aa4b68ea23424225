"""The threshold that is best on the val volumes: the only one that test volumes are scored at."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pipeline_lib.artefacts import read_json
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.curve import SKELETONS_FILE
from pipeline_lib.metrics.bootstrap import draw_weights

# Higher is better for each; a point of a curve holds the scores of one threshold on one volume.
_VALUES: dict[str, Callable[[dict[str, Any]], float]] = {
    "nerl": lambda point: point["skeletons"]["nerl"],
    "voi_skeletons": lambda point: -(point["skeletons"]["voi_split"] + point["skeletons"]["voi_merge"]),
    "voi_voxels": lambda point: -point["voxels"]["voi_sum"],
}
_NEEDS = {"nerl": "skeletons", "voi_skeletons": "skeletons", "voi_voxels": "voxels"}
_ROUNDING = 1e-9  # of the same score, computed in another order
_WITHIN = 0.01  # of the best value, to be called as good


def choose_threshold(curves: list[Path], *, by: str) -> dict[str, Any]:
    """The content of choice.json from the curve.json of all val volumes; each volume counts the same.

    Of equally good thresholds the highest is taken: a split is cheaper than a merger. Also told: the best threshold by every
    other value, and the best among those without a merger except with background; how flat the curve is around the choice:
    the thresholds next to it with a value within one percent of its own, and all those that a paired bootstrap over the val
    skeletons cannot tell from it (95 %; nothing where voxels are scored, or VOI was not kept skeleton by skeleton).
    """
    told = [read_json(path) for path in curves]
    for curve in told:
        if any(point[_NEEDS[by]] is None for point in curve["points"]):
            raise UserError(f"choice.by is {by}, but val volume {curve['volume']} has no {_NEEDS[by]} to score")
    thresholds = [point["threshold"] for point in told[0]["points"]]
    best_by = {}
    for name, need in _NEEDS.items():
        if all(point[need] is not None for curve in told for point in curve["points"]):
            values = _mean_values(told, name)
            best_by[name] = _best(values, thresholds)
            clean = [i for i in range(len(thresholds)) if _without_merger(told, i)]
            if clean:
                best_by[f"{name}_without_merger"] = _best(values, thresholds, among=clean)
    choice = best_by[by]
    chosen = thresholds.index(choice["threshold"])
    at_end = chosen in (0, len(thresholds) - 1) and len(thresholds) > 1
    warning = f"the best threshold {choice['threshold']:g} is at the end of the range that was tried" if at_end else None
    return {
        "schema": 2,
        "threshold": choice["threshold"],
        "by": by,
        "value": choice["value"],
        "volumes": [curve["volume"] for curve in told],
        "best_by": best_by,
        "warning": warning,
        "flatness": _flatness(_mean_values(told, by), thresholds, chosen, _indistinguishable(curves, chosen, by)),
    }


def _mean_values(curves: list[dict[str, Any]], by: str) -> list[float]:
    """One for each threshold, higher is better."""
    return [fmean(_VALUES[by](curve["points"][i]) for curve in curves) for i in range(len(curves[0]["points"]))]


def _best(values: list[float], thresholds: list[float], *, among: list[int] | None = None) -> dict[str, float]:
    among = list(range(len(thresholds))) if among is None else among
    best = max(values[i] for i in among)
    index = max(i for i in among if math.isclose(values[i], best, rel_tol=_ROUNDING, abs_tol=_ROUNDING))
    return {"threshold": thresholds[index], "value": abs(values[index])}


def _without_merger(curves: list[dict[str, Any]], index: int) -> bool:
    """Whether no volume has one; where there are no skeletons that is not known."""
    scores = [curve["points"][index]["skeletons"] for curve in curves]
    return all(found is not None and found["n_non0_mergers"] == 0 for found in scores)


def _flatness(values: list[float], thresholds: list[float], chosen: int, alike: np.ndarray | None) -> dict[str, Any]:
    def as_good(i: int) -> bool:
        return values[chosen] - values[i] <= _WITHIN * abs(values[chosen])

    low = high = chosen
    while low > 0 and as_good(low - 1):
        low -= 1
    while high < len(values) - 1 and as_good(high + 1):
        high += 1
    return {
        "within": _WITHIN,
        "from_threshold": thresholds[low],
        "to_threshold": thresholds[high],
        "indistinguishable": None if alike is None else [thresholds[i] for i in np.flatnonzero(alike)],
    }


def _indistinguishable(curves: list[Path], chosen: int, by: str) -> np.ndarray | None:
    """(T,) bool: thresholds whose difference from the chosen one, on skeletons drawn anew, has an interval around 0."""
    found = []
    for volume, curve in enumerate(curves):
        with np.load(curve.with_name(SKELETONS_FILE)) as kept:
            parts = dict(kept)
        column = {"nerl": "erl_nm", "voi_skeletons": "voi_sum"}.get(by)
        if column not in parts or np.count_nonzero(parts["length_nm"]) < 2:
            return None
        size = parts["length_nm"] if by == "nerl" else parts["n_nodes"]
        best = size**2 if by == "nerl" else size
        drawn = [
            (weights @ (size * parts[column]).T) / (weights @ best)[:, None] for weights in draw_weights(len(size), seed=volume)
        ]
        found.append(np.concatenate(drawn))
    mean = np.mean(found, axis=0)
    low, high = np.nanpercentile(mean - mean[:, [chosen]], [2.5, 97.5], axis=0)
    return np.asarray((low <= 0) & (high >= 0))
