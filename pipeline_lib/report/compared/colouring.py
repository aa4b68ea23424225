"""Which group has which colour, and the legends that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.colors import to_hex

from pipeline_lib.report.compared.groups import Group
from pipeline_lib.report.compared.swept import MISSING, canonical, is_number, told
from pipeline_lib.report.html import Html, element
from pipeline_lib.report.style import ACCENT, GREEN, WARM

COLOURS = (ACCENT, WARM, GREEN, "#8a6fb0", "#b08a2e", "#3a9d9d", "#c0698f", "#5f6c7b")
PALE = "#c9d1d9"
_MOST_NAMED = 4  # of many colours in a row, in a legend


@dataclass(frozen=True)
class Colouring:
    """of: name of a group -> its series. colours, labels: of the series. several: whether more than one is told apart."""

    of: Mapping[str, int]
    colours: tuple[str, ...]
    labels: tuple[str, ...]
    by: str

    @property
    def legend(self) -> Html:
        """Swatches and labels; of many colours in a row a few."""
        shown = list(zip(self.colours, self.labels, strict=True))
        if len(shown) > len(COLOURS):
            step = (len(shown) - 1) / (_MOST_NAMED - 1)
            shown = [shown[round(i * step)] for i in range(_MOST_NAMED)]
        return legend(shown, before=f"{self.by}:" if self.by else "")


def by_setting(groups: Sequence[Group], path: str | None, name: str) -> Colouring:
    """By the value of another setting; in one colour where that is None or has many values that are no numbers."""
    if path is None:
        return _plain(groups)
    values = {canonical(group.settings[path]): group.settings[path] for group in groups}
    ordered = sorted(values, key=lambda key: (0, values[key], "") if is_number(values[key]) else (1, 0, key))
    if len(ordered) > len(COLOURS) and not all(is_number(value) for value in values.values()):
        return _plain(groups)
    ramp = matplotlib.colormaps["viridis"]
    colours = COLOURS[: len(ordered)]
    if len(ordered) > len(COLOURS):
        colours = tuple(to_hex(ramp(0.9 * i / (len(ordered) - 1))) for i in range(len(ordered)))
    labels = tuple("not set" if values[key] is MISSING else told(values[key]) for key in ordered)
    of = {group.name: ordered.index(canonical(group.settings[path])) for group in groups}
    return Colouring(of, colours, labels, name)


def best_in_colour(groups: Sequence[Group]) -> Colouring:
    """Each group in a colour of its own; of many only the first ones, the others pale, as one series that comes first."""
    if len(groups) <= len(COLOURS):
        names = tuple(group.name for group in groups)
        return Colouring({name: i for i, name in enumerate(names)}, COLOURS[: len(names)], names, "")
    named = groups[: len(COLOURS) - 2]
    of = {group.name: 0 for group in groups} | {group.name: i for i, group in enumerate(named, 1)}
    labels = (f"{len(groups) - len(named)} others", *(group.name for group in named))
    return Colouring(of, (PALE, *COLOURS[: len(named)]), labels, "")


def legend(shown: Sequence[tuple[str, str]], *, before: str = "") -> Html:
    items = (element("span", element("i", style=f"background:{colour}"), label) for colour, label in shown)
    return element("p", before, *items, class_="legend")


def _plain(groups: Sequence[Group]) -> Colouring:
    return Colouring({group.name: 0 for group in groups}, (ACCENT,), ("",), "")
