"""The threshold curves of all runs, drawn over one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline_lib.artefacts import read_json
from pipeline_lib.report import charts
from pipeline_lib.report.compared.colouring import PALE, Colouring, best_in_colour
from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.html import Html, caption, chart, element, section

_MOST_VOLUMES = 3
_SIZE = (3.1, 2.35)
_MANY = 40  # curves drawn as pixels from here on, so that the page stays small
_NOTE = """One line for each run, in the colour of its setting; a dot at the threshold that was chosen there, on all val
volumes together. Lines are the scores at every level of the stored affinities where the sweep has them."""


@dataclass(frozen=True)
class RunCurve:
    """scores: by the names below, rising thresholds and what they score. chosen: the threshold of the run."""

    group: str
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]]
    chosen: float


# What is drawn: title -> how a column of scores is found in levels, and in a point.
_Column = Callable[[Mapping[str, Any]], Any]
_SCORES: dict[str, tuple[_Column | None, _Column]] = {
    "NERL": (lambda levels: levels["nerl"], lambda point: point["skeletons"]["nerl"]),
    "VOI at nodes": (
        lambda levels: np.add(levels["voi_split"], levels["voi_merge"]),
        lambda point: point["skeletons"]["voi_split"] + point["skeletons"]["voi_merge"],
    ),
    "mergers": (lambda levels: levels["n_non0_mergers"], lambda point: point["skeletons"]["n_non0_mergers"]),
    "VOI in voxels": (None, lambda point: point["voxels"]["voi_split"] + point["voxels"]["voi_merge"]),
}


def curves_section(sweep: Sweep) -> Html:
    title = "Threshold curves"
    swept = [run for run in sweep.runs if run.run.contents.sweep is not None]
    if not swept:
        return section("curves", title, element("p", "All thresholds are given by the settings; nothing was swept."))
    names = list(dict.fromkeys(volume.name for run in swept for volume in run.of_split("val") if volume.metrics))
    colouring = best_in_colour(sweep.groups)
    parts: list[object] = [colouring.legend]
    for name in names[:_MOST_VOLUMES]:
        curves = read_curves(sweep, name)
        drawings = [_chart(curves, score, colouring, name) for score in _SCORES if any(score in c.scores for c in curves)]
        parts += [element("h3", name), element("div", *drawings, class_="columns small")]
    left_out = [f"Not drawn: {', '.join(names[_MOST_VOLUMES:])}."] if names[_MOST_VOLUMES:] else []
    n_given = len(sweep.runs) - len(swept)
    if n_given:
        have = "1 run has" if n_given == 1 else f"{n_given} runs have"
        left_out.append(f"{have} no curve: the threshold is given by the settings.")
    return section("curves", title, *parts, caption(_NOTE, " ", " ".join(left_out)))


def read_curves(sweep: Sweep, volume: str) -> list[RunCurve]:
    """Of all runs in which the threshold was chosen on the volume."""
    known: dict[Path, Mapping[str, Any]] = {}
    found = []
    for group in sweep.groups:
        for run in group.runs:
            folder = run.run.contents.sweep
            for scored in run.of_split("val"):
                if folder is not None and scored.name == volume:
                    path = folder / scored.id / "curve.json"
                    if path not in known:
                        known[path] = read_json(path)
                    found.append(run_curve(group.name, known[path], float(run.choice["threshold"])))
    return found


def run_curve(group: str, told: Mapping[str, Any], chosen: float) -> RunCurve:
    points, levels = told["points"], told.get("levels")
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (of_levels, of_point) in _SCORES.items():
        if levels and of_levels:
            threshold = np.array(levels["threshold"], float)
            order = np.argsort(threshold)
            found[name] = threshold[order], np.array(of_levels(levels), float)[order]
        elif points and all(point["skeletons" if of_levels else "voxels"] for point in points):
            threshold = np.array([point["threshold"] for point in points], float)
            found[name] = threshold, np.array([of_point(point) for point in points], float)
    return RunCurve(group, found, chosen)


def _chart(curves: Sequence[RunCurve], score: str, colouring: Colouring, volume: str) -> Html:
    return chart(curves_chart(curves, score, colouring), f"{score} of {volume} over the threshold, all runs", note=score)


def curves_chart(curves: Sequence[RunCurve], score: str, colouring: Colouring) -> str:
    """The better a setting, the further on top its lines lie; pale ones lie below all."""

    def paint(axes: Axes) -> None:
        drawn = [curve for curve in curves if score in curve.scores]
        drawn.sort(key=lambda curve: (colouring.colours[colouring.of[curve.group]] != PALE, -colouring.of[curve.group]))
        for curve in drawn:
            colour, (threshold, values) = colouring.colours[colouring.of[curve.group]], curve.scores[score]
            dot = [curve.chosen], [np.interp(curve.chosen, threshold, values)]
            for x, y, style in ((threshold, values, "-"), (*dot, "o")):
                (line,) = axes.plot(x, y, style, color=colour, linewidth=1.0, alpha=0.85)
                line.set_rasterized(len(drawn) > _MANY)
        axes.set(xlabel="threshold", ylabel=score)
        if score == "mergers":
            axes.set_yscale("symlog", linthresh=10)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_ylim(bottom=0)

    return charts.draw(paint, size=_SIZE)
