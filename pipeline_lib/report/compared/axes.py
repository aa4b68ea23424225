"""Where the values of a swept setting stand along the x axis of a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from pipeline_lib.report.compared.swept import MISSING, canonical, is_number, told

_DECADE = 9.99  # largest over smallest value from which on the axis is logarithmic
_MARGIN = 0.15  # of the range, or of the decades
_MOST_TICKS = 5
_LONGEST_LABEL = 16


@dataclass(frozen=True)
class SettingAxis:
    """kind: "linear", "log", "symlog" (from 0 over decades), or "category": values at 0, 1, 2, .. in the order of `values`.

    values: the distinct ones, numbers rising and before texts.
    """

    kind: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> SettingAxis:
        distinct = list({canonical(value): value for value in values}.values())
        distinct.sort(key=lambda value: (0, value, "") if is_number(value) else (1, 0, told(value)))
        if not all(is_number(value) and math.isfinite(value) for value in distinct):
            return cls("category", tuple(distinct))
        positive = [value for value in distinct if value > 0]
        spans = bool(positive) and positive[-1] / positive[0] >= _DECADE
        if distinct[0] > 0 and spans:
            return cls("log", tuple(distinct))
        if distinct[0] == 0 and len(positive) > 1 and spans:
            return cls("symlog", tuple(distinct))
        return cls("linear", tuple(distinct))

    def place(self, value: Any) -> float:
        if self.kind == "category":
            return float([canonical(one) for one in self.values].index(canonical(value)))
        return float(value)

    def limits(self) -> tuple[float, float]:
        """With a margin on both sides."""
        if self.kind == "category":
            return -0.5, len(self.values) - 0.5
        low, high = float(self.values[0]), float(self.values[-1])
        if low == high:
            return low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        if self.kind == "linear":
            return low - _MARGIN * (high - low), high + _MARGIN * (high - low)
        factor = (high / float(next(value for value in self.values if value > 0))) ** _MARGIN
        return (low / factor if low > 0 else -0.5 * float(self.values[1])), high * factor

    def apply(self, axes: Axes, label: str) -> None:
        axes.set_xlabel(_short(label, 40))
        if self.kind == "category":
            names = [_short("not set" if value is MISSING else told(value), _LONGEST_LABEL) for value in self.values]
            crowded = sum(map(len, names)) > 24
            axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
            axes.set_xlim(*self.limits())
            return
        if self.kind == "log":
            axes.set_xscale("log")
        elif self.kind == "symlog":
            axes.set_xscale("symlog", linthresh=next(value for value in self.values if value > 0))
        if len(self.values) <= _MOST_TICKS:
            axes.set_xticks([float(value) for value in self.values], [told(value) for value in self.values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(*self.limits())


def _short(text: str, most: int) -> str:
    """Cut, in one line, and without mathematics."""
    line = " ".join(text.split())
    return (line if len(line) <= most else f"{line[: most - 2]}..").replace("$", r"\$")
