"""Drawings of what each threshold of a sweep scores, each one SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline_lib.report import charts
from pipeline_lib.report.style import ACCENT, GREEN, INK, SOFT, WARM


@dataclass(frozen=True)
class Curve:
    """The scores of one volume over the threshold.

    points: of curve.json, one for each threshold that was tried: markers. levels: of curve.json, scores at every level that
    the stored affinities can have, or None: thin lines. chosen: the threshold. flat: lowest and highest threshold that score
    nearly as well, or None: a shaded band.
    """

    points: Sequence[Mapping[str, Any]]
    levels: Mapping[str, Any] | None
    chosen: float
    flat: tuple[float, float] | None

    @property
    def thresholds(self) -> list[float]:
        return [point["threshold"] for point in self.points]

    def scores(self, kind: str, name: str) -> np.ndarray:
        """(P,) one score of all points. kind: "skeletons" or "voxels"."""
        return np.array([point[kind][name] for point in self.points], float)


def nerl_chart(curve: Curve) -> str:
    """NERL over the threshold; of the levels also the NERL that no merger would leave."""

    def paint(axes: Axes) -> None:
        if curve.levels:
            thresholds = curve.levels["threshold"]
            axes.plot(
                thresholds, curve.levels["nerl_by_tolerance"]["inf"], color=SOFT, linewidth=0.9, label="if no merger\ncounted"
            )
            axes.plot(thresholds, curve.levels["nerl"], color=ACCENT, linewidth=0.9)
            axes.legend()
        axes.plot(curve.thresholds, curve.scores("skeletons", "nerl"), **_marks(curve), color=ACCENT)
        axes.set(ylabel="NERL", ylim=(0, 1.02))
        _finish(axes, curve)

    return charts.draw(paint)


def voi_chart(curve: Curve, kind: str) -> str:
    """VOI over the threshold, split, merge and sum. kind: "skeletons" or "voxels"; levels are scored at skeleton nodes only."""

    def paint(axes: Axes) -> None:
        split, merge = (curve.scores(kind, name) for name in ("voi_split", "voi_merge"))
        levels = curve.levels if kind == "skeletons" else None
        marks = _marks(curve) if levels else {"marker": "o"}
        for label, colour, values in (("sum", INK, split + merge), ("split", ACCENT, split), ("merge", WARM, merge)):
            axes.plot(curve.thresholds, values, **marks, color=colour, label=label)
            if levels:
                parts = {name: np.array(levels[f"voi_{name}"], float) for name in ("split", "merge")}
                thin = parts["split"] + parts["merge"] if label == "sum" else parts[label]
                axes.plot(levels["threshold"], thin, color=colour, linewidth=0.9)
        axes.set(ylabel="VOI (bits)")
        axes.set_ylim(bottom=0)
        axes.legend()
        _finish(axes, curve)

    return charts.draw(paint)


def error_chart(curve: Curve) -> str:
    """Numbers of splits and of mergers but with background over the threshold, on a scale that shows 0 and thousands."""

    def paint(axes: Axes) -> None:
        for label, name, colour in (("splits", "n_splits", ACCENT), ("mergers", "n_non0_mergers", WARM)):
            axes.plot(curve.thresholds, curve.scores("skeletons", name), **_marks(curve), color=colour, label=label)
            if curve.levels:
                axes.plot(curve.levels["threshold"], curve.levels[name], color=colour, linewidth=0.9)
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set(ylabel="number")
        axes.set_ylim(bottom=0)
        axes.legend()
        _finish(axes, curve)

    return charts.draw(paint)


def _marks(curve: Curve) -> dict[str, Any]:
    """Points alone where the levels give the line."""
    return {"marker": "o", "linestyle": "none"} if curve.levels else {"marker": "o"}


def _finish(axes: Axes, curve: Curve) -> None:
    if curve.flat:
        axes.axvspan(*curve.flat, color=GREEN, alpha=0.14, linewidth=0)
    charts.mark_choice(axes, curve.chosen)
    axes.set_xlabel("threshold")
