"""The threshold that is best on the val volumes: the only one that test volumes are scored at."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from pipeline_lib.errors import UserError

# Higher is better for each; a point of a curve holds the scores of one threshold on one volume.
_VALUES: dict[str, Callable[[dict[str, Any]], float]] = {
    "nerl": lambda point: point["skeletons"]["nerl"],
    "voi_skeletons": lambda point: -(point["skeletons"]["voi_split"] + point["skeletons"]["voi_merge"]),
    "voi_voxels": lambda point: -point["voxels"]["voi_sum"],
}
_NEEDS = {"nerl": "skeletons", "voi_skeletons": "skeletons", "voi_voxels": "voxels"}


def choose_threshold(curves: list[dict[str, Any]], *, by: str) -> dict[str, Any]:
    """The content of choice.json from the curves of all val volumes; each volume counts the same.

    Of equally good thresholds the highest is taken: a split is cheaper than a merger. Also told: the best threshold by every
    other value, and the best among those without a merger except with background.
    """
    for curve in curves:
        if any(point[_NEEDS[by]] is None for point in curve["points"]):
            raise UserError(f"sweep.choose_by is {by}, but val volume {curve['volume']} has no {_NEEDS[by]} to score")
    thresholds = [point["threshold"] for point in curves[0]["points"]]
    best_by = {}
    for name, need in _NEEDS.items():
        if all(point[need] is not None for curve in curves for point in curve["points"]):
            best_by[name] = _best(curves, thresholds, name)
            clean = [i for i in range(len(thresholds)) if need == "skeletons" and _without_merger(curves, i)]
            if clean:
                best_by[f"{name}_without_merger"] = _best(curves, thresholds, name, among=clean)
    choice = best_by[by]
    at_end = choice["threshold"] in (thresholds[0], thresholds[-1]) and len(thresholds) > 1
    warning = f"the best threshold {choice['threshold']:g} is at the end of the range that was tried" if at_end else None
    return {
        "schema": 1,
        "threshold": choice["threshold"],
        "by": by,
        "value": choice["value"],
        "volumes": [curve["volume"] for curve in curves],
        "best_by": best_by,
        "warning": warning,
    }


def _best(
    curves: list[dict[str, Any]], thresholds: list[float], by: str, *, among: list[int] | None = None
) -> dict[str, float]:
    values = [fmean(_VALUES[by](curve["points"][i]) for curve in curves) for i in range(len(thresholds))]
    index = max(among if among is not None else range(len(thresholds)), key=lambda i: (values[i], thresholds[i]))
    return {"threshold": thresholds[index], "value": abs(values[index])}


def _without_merger(curves: list[dict[str, Any]], index: int) -> bool:
    return all(curve["points"][index]["skeletons"]["n_non0_mergers"] == 0 for curve in curves)
