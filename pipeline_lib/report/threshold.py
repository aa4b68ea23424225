"""How the threshold was chosen: scores over the threshold, what other measures would have chosen, how much it matters."""

from __future__ import annotations

from typing import Any

from pipeline_lib.artefacts import read_json
from pipeline_lib.report import threshold_charts
from pipeline_lib.report.contents import ReportContents
from pipeline_lib.report.headline import MEASURES
from pipeline_lib.report.html import Html, caption, chart, element, section, table
from pipeline_lib.report.threshold_charts import Curve
from pipeline_lib.report.units import decimal, tolerance

_MOST_NAMED = 8
_WITHOUT_MERGER = "_without_merger"
_MARKS_NOTE = "Markers: the thresholds that were tried, of which one was chosen."
_LEVELS_NOTE = """Thin lines: the scores at every level that the stored affinities can have."""
_BEST_BY_NOTE = """Values are means over the val volumes; VOI is the sum of split and merge in bits; NERL is at the merge
tolerance of the curves. No merger: among the thresholds at which no segment but background holds nodes of two skeletons beyond
that tolerance."""


def threshold_section(contents: ReportContents, choice: dict[str, Any]) -> Html:
    if contents.sweep is None:
        told = f"Given by the settings: {choice['threshold']:g}. Nothing was swept."
        return section("threshold", "Threshold", element("p", told))
    flatness = choice.get("flatness")
    flat = (flatness["from_threshold"], flatness["to_threshold"]) if flatness else None
    parts: list[object] = [element("p", flatness_sentence(choice))] if flatness else []
    any_levels = False
    for part in contents.volumes:
        if part.split == "val":
            told = read_json(contents.sweep / part.folder.name / "curve.json")
            curve = Curve(told["points"], told.get("levels"), choice["threshold"], flat)
            any_levels |= curve.levels is not None
            parts += _curves(part.name, curve)
    parts.append(caption(f"{_MARKS_NOTE} {_LEVELS_NOTE}" if any_levels else _MARKS_NOTE))
    rows = [_best_row(name, best, choice["by"]) for name, best in choice["best_by"].items()]
    parts.append(element("h3", "What other measures would have chosen"))
    parts.append(table(("best by", "among", "threshold", "value", ""), rows, text=(0, 1, 4)))
    parts.append(caption(_BEST_BY_NOTE))
    return section("threshold", "Threshold", *parts)


def flatness_sentence(choice: dict[str, Any]) -> str:
    """How much the threshold matters around the chosen one. choice: with the key "flatness"."""
    flatness = choice["flatness"]
    low, high = flatness["from_threshold"], flatness["to_threshold"]
    measure = MEASURES.get(choice["by"], choice["by"])
    within = f"within {100 * flatness['within']:g} % of its best value"
    told = f"From {low:g} to {high:g} (shaded) {measure} stays {within}."
    if low == high:
        told = f"{measure} stays {within} at {low:g} only, not at the thresholds tried next to it."
    if flatness.get("indistinguishable") is None:
        return told
    others = [f"{t:g}" for t in flatness["indistinguishable"] if t != choice["threshold"]]
    if not others:
        return f"{told} A paired bootstrap over the val skeletons tells every other threshold from the best (95 %)."
    named = ", ".join(others) if len(others) <= _MOST_NAMED else f"{len(others)} others, {others[0]} to {others[-1]},"
    return f"{told} A paired bootstrap over the val skeletons cannot tell {named} from the best (95 %)."


def _best_row(name: str, best: dict[str, float], chosen_by: str) -> list[object]:
    measure = name.removesuffix(_WITHOUT_MERGER)
    among = "no merger" if measure != name else "all"
    mark = element("span", "chosen", class_="tag") if name == chosen_by else ""
    return [MEASURES.get(measure, measure), among, f"{best['threshold']:g}", decimal(best["value"], 3), mark]


def _curves(name: str, curve: Curve) -> list[Html]:
    drawings = []
    if all(point["skeletons"] for point in curve.points):
        alt = f"NERL of {name} over the threshold"
        tolerated = tolerance(curve.points[0]["skeletons"]["merge_tolerance"])
        drawings.append(chart(threshold_charts.nerl_chart(curve), alt, note=f"NERL at merge tolerance {tolerated}"))
        alt = f"VOI at skeleton nodes of {name} over the threshold"
        drawings.append(chart(threshold_charts.voi_chart(curve, "skeletons"), alt, note="VOI at skeleton nodes"))
        alt = f"Splits and mergers of {name} over the threshold"
        drawings.append(chart(threshold_charts.error_chart(curve), alt, note="Splits, and mergers but with background"))
    if all(point["voxels"] for point in curve.points):
        alt = f"VOI in voxels of {name} over the threshold"
        drawings.append(chart(threshold_charts.voi_chart(curve, "voxels"), alt, note="VOI in voxels"))
    grid = element("div", *drawings, class_="columns pairs" if len(drawings) == 4 else "columns")
    return [element("h3", f"Scores of {name} over the threshold"), grid]
