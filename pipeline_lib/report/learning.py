"""How the network was trained and how its threshold was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline_lib.artefacts import read_json
from pipeline_lib.report import charts
from pipeline_lib.report.contents import ReportContents, read_if_present, read_rows
from pipeline_lib.report.costs import NOT_RECORDED
from pipeline_lib.report.headline import MEASURES
from pipeline_lib.report.html import Html, caption, chart, details, element, facts, section, table
from pipeline_lib.report.units import decimal

_FACTS_SHOWN_OPEN = 14
_BEST_BY_NOTE = """Values are means over the val volumes; VOI is the sum of split and merge in bits. Without merger: among the
thresholds at which no segment but background holds nodes of two skeletons beyond the merge tolerance."""


def training_section(contents: ReportContents) -> Html:
    rows = read_rows(contents.model / "metrics.csv")
    parts: list[object] = []
    if rows:
        best = read_if_present(contents.model / "best.json") if len(contents.segments) > 1 else None
        losses = charts.loss_chart(rows, chosen_step=best["step"] if best else None)
        drawings = [chart(losses, "Training and validation loss over the steps")]
        for column, label in (("learning_rate", "learning rate"), ("seconds", "time (s)")):
            if any(row.get(column) for row in rows):
                drawings.append(chart(charts.step_chart(rows, column, label), f"{label} over the steps"))
        parts.append(element("div", *drawings, class_="columns"))
        parts.append(caption(_last_losses(rows)))
    else:
        parts.append(element("p", f"Losses: {NOT_RECORDED}."))
    plan = read_if_present(contents.model / "plan.json")
    parts.append(element("h3", "What training settled before its first step"))
    if plan is None:
        parts.append(element("p", f"Plan: {NOT_RECORDED}."))
    else:
        told = [(name, value) for name, value in flattened(plan) if not name.startswith(("schema", "versions", "hardware"))]
        parts.append(facts(told[:_FACTS_SHOWN_OPEN]))
        if told[_FACTS_SHOWN_OPEN:]:
            parts.append(details("More of the plan", facts(told[_FACTS_SHOWN_OPEN:])))
    return section("training", "Training", *parts)


def threshold_section(contents: ReportContents, choice: dict[str, Any]) -> Html:
    if contents.sweep is None:
        return section(
            "threshold", "Threshold", element("p", f"Given by the settings: {choice['threshold']:g}. Nothing was swept.")
        )
    parts: list[object] = []
    for part in contents.volumes:
        if part.split == "val":
            curve = read_json(contents.sweep / part.folder.name / "curve.json")
            parts += _curves(part.name, curve["points"], choice["threshold"])
    rows = [[_measure(name), f"{best['threshold']:g}", decimal(best["value"], 3)] for name, best in choice["best_by"].items()]
    parts.append(element("h3", "What other measures would have chosen"))
    parts.append(table(("best by", "threshold", "value"), rows))
    parts.append(caption(_BEST_BY_NOTE))
    return section("threshold", "Threshold", *parts)


def flattened(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Names and plain values of nested objects, such as ("probe bfloat16 ms", 12.5)."""
    for key, value in content.items():
        name = prefix.strip() if f"{key} " == prefix else f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from flattened(value, f"{name} ")
        else:
            yield name, _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(str(_plain(v)) for v in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return decimal(value, 0)
    if isinstance(value, float):
        return f"{value:.4g}"
    return NOT_RECORDED if value is None else value


def _last_losses(rows: tuple[dict[str, str], ...]) -> str:
    steps, training = charts.column_pair(rows, "training_loss")
    told = [f"Training loss at the end {charts.smoothed(training)[-1]:.4f}"] if len(steps) else []
    steps, validation = charts.column_pair(rows, "validation_loss")
    if len(steps):
        best = int(validation.argmin())
        told.append(f"validation loss {validation[-1]:.4f}, lowest {validation[best]:.4f} at step {decimal(steps[best], 0)}")
    return f"{'; '.join(told)}." if told else "No loss was noted."


def _measure(name: str) -> str:
    plain = name.removesuffix("_without_merger")
    return MEASURES.get(plain, plain) + (", without merger" if plain != name else "")


def _curves(name: str, points: list[dict[str, Any]], chosen: float) -> list[Html]:
    drawings = []
    if all(point["skeletons"] for point in points):
        drawings.append(
            chart(charts.nerl_chart(points, chosen), f"NERL of {name} over the threshold", note="NERL on skeletons")
        )
        alt = f"VOI at skeleton nodes of {name} over the threshold"
        drawings.append(chart(charts.voi_chart(points, "skeletons", chosen), alt, note="VOI at skeleton nodes"))
    if all(point["voxels"] for point in points):
        alt = f"VOI in voxels of {name} over the threshold"
        drawings.append(chart(charts.voi_chart(points, "voxels", chosen), alt, note="VOI in voxels"))
    return [element("h3", f"Scores of {name} over the threshold"), element("div", *drawings, class_="columns")]
