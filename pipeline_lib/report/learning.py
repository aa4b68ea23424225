"""How the network was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline_lib.report import charts
from pipeline_lib.report.contents import ReportContents, read_if_present, read_rows
from pipeline_lib.report.costs import NOT_RECORDED
from pipeline_lib.report.html import Html, caption, chart, details, element, facts, section
from pipeline_lib.report.units import decimal

_FACTS_SHOWN_OPEN = 14


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
