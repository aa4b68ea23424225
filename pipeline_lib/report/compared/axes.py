"""Where the values of a swept setting stand along the x axis of a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from pipeline_lib.report.compared.swept import MISSING, canonical, is_number, told

_DECADES = 30  # largest over smallest value from which on the axis is logarithmic
_MOST_TICKS = 7
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
        spans = bool(positive) and positive[-1] / positive[0] >= _DECADES
        if distinct[0] > 0 and spans:
            return cls("log", tuple(distinct))
        if distinct[0] == 0 and len(positive) > 1 and spans:
            return cls("symlog", tuple(distinct))
        return cls("linear", tuple(distinct))

    def place(self, value: Any) -> float:
        if self.kind == "category":
            return float([canonical(one) for one in self.values].index(canonical(value)))
        return float(value)

    def apply(self, axes: Axes, label: str) -> None:
        axes.set_xlabel(_short(label, 40))
        if self.kind == "category":
            names = [_short("not set" if value is MISSING else told(value), _LONGEST_LABEL) for value in self.values]
            crowded = sum(map(len, names)) > 24
            axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
            axes.set_xlim(-0.5, len(names) - 0.5)
            return
        if self.kind == "log":
            axes.set_xscale("log")
        elif self.kind == "symlog":
            axes.set_xscale("symlog", linthresh=next(value for value in self.values if value > 0))
        if len(self.values) <= _MOST_TICKS:
            axes.set_xticks([float(value) for value in self.values], [f"{value:.4g}" for value in self.values])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)


def _short(text: str, most: int) -> str:
    kept = text.replace("$", r"\$")  # no mathematics
    return kept if len(kept) <= most else f"{kept[: most - 2]}.."
