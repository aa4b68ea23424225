"""Drawings of curves and distributions, each one SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline_lib.report.style import ACCENT, GREEN, INK, SOFT, WARM
from pipeline_lib.report.units import tolerance

_LOOK: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#5f6c7b",
    "ytick.color": "#5f6c7b",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.hashsalt": "report",
}
_MANY_POINTS = 1500  # drawn as pixels from here on, so that the page stays small


def draw(paint: Callable[[Axes], None], *, size: tuple[float, float] = (4.3, 2.75)) -> str:
    """SVG of one set of axes; equal drawings give equal text. size: width, height in inches."""
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=size, layout="constrained", dpi=150)
        paint(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return text.getvalue()


def loss_chart(rows: Sequence[Mapping[str, str]], *, chosen_step: int | None = None) -> str:
    """Training loss as noted and smoothed, validation loss, over the steps. rows: of metrics.csv."""

    def paint(axes: Axes) -> None:
        steps, losses = column_pair(rows, "training_loss")
        if len(losses):
            axes.plot(steps, losses, color=ACCENT, alpha=0.3, linewidth=0.8)
            axes.plot(steps, smoothed(losses), color=ACCENT, label="training, smoothed")
        steps, validation = column_pair(rows, "validation_loss")
        if len(validation):
            axes.plot(steps, validation, "o-", color=WARM, label="validation")
        if chosen_step is not None:
            mark_choice(axes, chosen_step)
        values = np.concatenate([losses, validation])
        if len(values) and values.min() > 0 and values.max() / values.min() > 10:
            axes.set_yscale("log")
        axes.set(xlabel="step", ylabel="loss")
        if axes.get_legend_handles_labels()[0]:
            axes.legend()

    return draw(paint)


def step_chart(rows: Sequence[Mapping[str, str]], column: str, label: str) -> str:
    """One column of metrics.csv over the steps."""

    def paint(axes: Axes) -> None:
        axes.plot(*column_pair(rows, column), color=ACCENT)
        axes.set(xlabel="step", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))

    return draw(paint)


def tolerance_chart(nerl_by_volume: Mapping[str, Mapping[str, float]]) -> str:
    """NERL over the merge tolerance, one line per volume."""

    def paint(axes: Axes) -> None:
        for colour, (name, nerls) in zip(_cycle(len(nerl_by_volume)), nerl_by_volume.items(), strict=True):
            axes.plot([tolerance(key) for key in nerls], list(nerls.values()), "o-", color=colour, label=name)
        axes.set(xlabel="merge tolerance (nodes)", ylabel="NERL", ylim=(0, 1.02))
        axes.legend()

    return draw(paint)


def run_length_chart(length_nm: np.ndarray, erl_nm: np.ndarray, merged: np.ndarray) -> str:
    """Expected run length of each skeleton over its length."""

    def paint(axes: Axes) -> None:
        top = float(length_nm.max(initial=1.0)) / 1000
        axes.plot([0, top], [0, top], color=SOFT, linewidth=1, linestyle="--", label="without errors")
        for pick, marker, colour, label in ((~merged, "o", ACCENT, "not merged"), (merged, "x", WARM, "merged")):
            if pick.any():
                points = axes.scatter(
                    length_nm[pick] / 1000,
                    erl_nm[pick] / 1000,
                    14,
                    color=colour,
                    marker=marker,
                    linewidths=1,
                    alpha=0.8,
                    label=label,
                )
                points.set_rasterized(len(pick) > _MANY_POINTS)
        axes.set(xlabel="skeleton length (µm)", ylabel="expected run length (µm)")
        axes.legend(loc="upper left")

    return draw(paint)


def run_fraction_chart(length_nm: np.ndarray, erl_nm: np.ndarray, merged: np.ndarray) -> str:
    """How many skeletons keep which part of their length as expected run length."""

    def paint(axes: Axes) -> None:
        part = np.divide(erl_nm, length_nm, out=np.zeros_like(erl_nm), where=length_nm > 0)
        bins = np.linspace(0, 1, 21).tolist()
        axes.hist([part[~merged], part[merged]], bins, stacked=True, color=[ACCENT, WARM], label=["not merged", "merged"])
        axes.set(xlabel="expected run length / skeleton length", ylabel="skeletons", xlim=(0, 1))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper center")

    return draw(paint)


def mark_choice(axes: Axes, chosen: float) -> None:
    """A dashed line at what was chosen along x."""
    axes.axvline(chosen, color=GREEN, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"chosen {chosen:g}",
        (chosen, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color=GREEN,
    )


def column_pair(rows: Sequence[Mapping[str, str]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows in which the column is not empty."""
    pairs = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
    steps, values = np.array(pairs, float).reshape(-1, 2).T
    return steps, values


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the values; at the ends over those that there are."""
    reach = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return np.asarray((total[high] - total[low]) / (high - low))


def _cycle(n: int) -> list[str]:
    colours = (ACCENT, WARM, GREEN, "#8a6fb0", "#b08a2e", SOFT)
    return [colours[i % len(colours)] for i in range(n)]
