"""Drawings of a score over a swept setting, each one SVG text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from pipeline_lib.report import charts
from pipeline_lib.report.compared.axes import SettingAxis
from pipeline_lib.report.compared.groups import Group
from pipeline_lib.report.compared.measures import Measure
from pipeline_lib.report.style import SOFT

_SIZE = (3.1, 2.35)
_DODGE_PT = 4.0
_MOST_DODGED = 6  # series
MOST_BARS = 100  # groups up to which their intervals are drawn
_MANY = 40  # points of one series from which on bars are thin and pale, and all is drawn as pixels to keep the page small
_MOST_MEANS = 12  # values of the setting up to which the mean over the other settings is drawn
_CUT = 1.5  # how far the frame goes beyond the points, in their range, before it cuts bars


@dataclass(frozen=True)
class Point:
    """A group. ends: of its interval. runs: the scores of its repetitions. series: which colour it has."""

    x: float
    y: float
    ends: tuple[float, float] | None
    runs: tuple[float, ...]
    series: int


def points_of(
    groups: Sequence[Group], path: str, axis: SettingAxis, by: Mapping[str, int], found_in: tuple[str, Measure]
) -> list[Point]:
    """Of the groups that have the score. by: name of a group -> its series. found_in: split and measure."""
    points = []
    for group in groups:
        estimate = group.estimate(*found_in)
        if estimate is not None:
            runs = tuple(group.values(*found_in)) if len(group.runs) > 1 else ()
            ends = estimate.ci95 if len(groups) <= MOST_BARS else None
            points.append(Point(axis.place(group.settings[path]), estimate.value, ends, runs, by[group.name]))
    return points


def limits_of(points: Sequence[Point]) -> tuple[float, float]:
    """From below to above all points and their bars, but for bars that are very long."""
    values = [value for point in points for value in (point.y, *point.runs)]
    ends = [end for point in points for end in point.ends or ()]
    low, high = min(values), max(values)
    far = _CUT * (high - low) or max(abs(high), 1e-3)
    bottom, top = max(min([low, *ends]), low - far), min(max([high, *ends]), high + far)
    margin = 0.06 * (top - bottom) or 0.1 * max(abs(high), 1e-3)
    return bottom - margin, top + margin


def setting_chart(
    points: Sequence[Point], axis: SettingAxis, label: str, *, colours: Sequence[str], limits: tuple[float, float], whole: bool
) -> str:
    """colours: of the series. limits: of the y axis. whole: it counts something."""

    def paint(axes: Axes) -> None:
        axis.apply(axes, label)
        for series in range(len(colours)):
            own = sorted((point for point in points if point.series == series), key=lambda point: point.x)
            if own:
                dodge = (series - (len(colours) - 1) / 2) * _DODGE_PT if len(colours) <= _MOST_DODGED else 0.0
                _paint_series(axes, own, colours[series], dodge)
        _paint_means(axes, points)
        axes.set_ylim(*limits)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=whole))

    return charts.draw(paint, size=_SIZE)


def _paint_series(axes: Axes, points: Sequence[Point], colour: str, dodge_pt: float) -> None:
    shift = axes.transData + ScaledTranslation(dodge_pt / 72, 0, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
    many = len(points) > _MANY
    line = "-" if len({point.x for point in points}) == len(points) and not many else "none"
    xs, ys = [point.x for point in points], [point.y for point in points]
    barred = [point for point in points if point.ends]
    if barred:
        below = [max(0.0, point.y - min(point.ends or (0,))) for point in barred]
        above = [max(0.0, max(point.ends or (0,)) - point.y) for point in barred]
        bars = axes.errorbar(
            [point.x for point in barred],
            [point.y for point in barred],
            [below, above],
            fmt="none",
            ecolor=colour,
            elinewidth=0.6 if many else 1.1,
            alpha=0.35 if many else 0.75,
            transform=shift,
        )
        for part in bars.get_children():
            part.set_rasterized(many)
    single = [(point.x, value) for point in points for value in point.runs]
    if single:
        axes.scatter([x for x, _ in single], [y for _, y in single], 7, color=colour, alpha=0.45, linewidths=0, transform=shift)
    (marks,) = axes.plot(xs, ys, marker="o", linestyle=line, color=colour, transform=shift)
    if many:
        marks.set(alpha=0.6, markersize=3, rasterized=True)


def _paint_means(axes: Axes, points: Sequence[Point]) -> None:
    """A line through the means over all other settings, where a value has several points of one colour."""
    xs = sorted({point.x for point in points})
    crowded = Counter((point.x, point.series) for point in points).most_common(1)
    if crowded and crowded[0][1] > 1 and 1 < len(xs) <= _MOST_MEANS:
        means = [fmean(point.y for point in points if point.x == x) for x in xs]
        axes.plot(xs, means, color=SOFT, linewidth=1.2, linestyle="--", zorder=1)
