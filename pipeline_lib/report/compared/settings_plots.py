"""Every score over every swept setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.report.compared.axes import SettingAxis
from pipeline_lib.report.compared.colouring import Colouring, by_setting
from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.compared.measures import MAIN, Measure
from pipeline_lib.report.compared.runs import SPLITS
from pipeline_lib.report.compared.setting_charts import MOST_BARS, Point, limits_of, points_of, setting_chart
from pipeline_lib.report.compared.tables import is_scored
from pipeline_lib.report.html import Html, caption, chart, details, element, joined, section
from pipeline_lib.settings.sweep import short_names

_MOST_SETTINGS = 6
_N_OPEN = 2  # measures that are shown at once; the others are folded
_NOTE = """Bars: the 95 % interval of a run, or the t-interval of the mean of repeated runs, whose own scores are small dots.
Bars much longer than the points are apart are cut at the frame. Bars that overlap do not answer whether settings differ: see
the tests."""
_MEANS_NOTE = " Dashed: means over all other settings."


def plots_section(sweep: Sweep) -> Html:
    title = "Scores over the settings"
    if not sweep.swept:
        told = "No setting varies but the seed or fold." if sweep.repeated else "No setting varies."
        return section("plots", title, element("p", told))
    names = short_names(sweep.swept)
    splits = [split for split in SPLITS if any(is_scored(sweep, split, measure) for measure in MAIN)]
    if not splits:
        return section("plots", title, element("p", "No run is scored."))
    shown = sweep.swept[:_MOST_SETTINGS]
    parts: list[object] = []
    for path in shown:
        others = [other for other in sweep.swept if other != path]
        colouring = by_setting(sweep.groups, others[0] if len(others) == 1 else None, names[others[0]] if others else "")
        parts.append(_of_setting(sweep, path, names[path], colouring, splits))
    left_out = [names[path] for path in sweep.swept[_MOST_SETTINGS:]]
    if left_out:
        parts.append(caption(f"Not drawn: {', '.join(left_out)}. results.tsv has all settings."))
    many = f" Of more than {MOST_BARS} settings no bars are drawn." if len(sweep.groups) > MOST_BARS else ""
    unscored = "".join(f" No {split} volume is scored." for split in SPLITS if split not in splits)
    return section("plots", title, *parts, caption(_NOTE, many, unscored, _MEANS_NOTE if len(sweep.swept) > 2 else ""))


def _of_setting(sweep: Sweep, path: str, name: str, colouring: Colouring, splits: Sequence[str]) -> Html:
    axis = SettingAxis.of([group.settings[path] for group in sweep.groups])
    rows = []
    for measure in MAIN:
        found = {split: points_of(sweep.groups, path, axis, colouring.of, (split, measure)) for split in splits}
        if any(found.values()):
            limits = limits_of([point for points in found.values() for point in points])
            frame = _Frame(axis, name, colouring, measure, limits)
            rows.append([_chart(frame, split, points) for split, points in found.items()])
    legend = [colouring.legend] if colouring.by else []
    parts = [element("h3", name), *legend, _grid(rows[:_N_OPEN])]
    if rows[_N_OPEN:]:
        parts.append(details("Splits, mergers and scores in voxels", _grid(rows[_N_OPEN:])))
    return joined(parts)


@dataclass(frozen=True)
class _Frame:
    """What the charts of one score over one setting share."""

    axis: SettingAxis
    name: str
    colouring: Colouring
    measure: Measure
    limits: tuple[float, float]


def _chart(frame: _Frame, split: str, points: Sequence[Point]) -> Html:
    measure = frame.measure
    note = f"{measure.title} on {split}, {measure.direction}"
    if not points:
        return element("figure", element("figcaption", f"{note}: not scored"), class_="chart")
    drawing = setting_chart(
        points, frame.axis, frame.name, colours=frame.colouring.colours, limits=frame.limits, whole=measure.counted
    )
    return chart(drawing, f"{measure.title} on {split} over {frame.name}", note=note)


def _grid(rows: Sequence[Sequence[Html]]) -> Html:
    return element("div", *(one for row in rows for one in row), class_="columns small")
