import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pipeline_lib.report import charts
from pipeline_lib.report.compared.axes import SettingAxis
from pipeline_lib.report.compared.colouring import COLOURS, PALE, best_in_colour, by_setting
from pipeline_lib.report.compared.curves import curves_chart, run_curve
from pipeline_lib.report.compared.groups import Group
from pipeline_lib.report.compared.setting_charts import Point, limits_of, setting_chart
from pipeline_lib.report.compared.swept import MISSING


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes that were painted, in place of SVG."""
    found: list[Axes] = []

    def keep(paint: Any, *, size: tuple[float, float]) -> str:
        found.append(Figure(size).add_subplot())
        paint(found[-1])
        return ""

    monkeypatch.setattr(charts, "draw", keep)
    return found


def group(name: str, **settings: Any) -> Group:
    return Group(name, (), settings)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([3, 1, 2, 1], "linear", (1, 2, 3)),
        ([0.003, 0.0003, 0.001], "log", (0.0003, 0.001, 0.003)),
        ([0, 100, 1000], "symlog", (0, 100, 1000)),
        ([0, 100], "linear", (0, 100)),
        ([-1, 100, 5000], "linear", (-1, 100, 5000)),
        ([5, 5.0], "linear", (5.0,)),
        (["b", "a"], "category", ("a", "b")),
        ([True, False], "category", (False, True)),
        (["a", 2, None, 1], "category", (1, 2, "a", None)),
        ([1, MISSING], "category", (1, MISSING)),
        ([float("inf"), 1.0], "category", (1.0, float("inf"))),
        ([[2, 2], [1, 1]], "category", ([1, 1], [2, 2])),
    ],
)
def test_where_values_stand(values: Sequence[Any], kind: str, expected: tuple[Any, ...]) -> None:
    axis = SettingAxis.of(values)
    assert (axis.kind, axis.values) == (kind, expected)
    places = [axis.place(value) for value in expected]
    assert places == (list(range(len(expected))) if kind == "category" else list(expected))
    low, high = axis.limits()
    assert low < min(places) <= max(places) < high


def test_ticks_are_the_values(drawn: list[Axes]) -> None:
    points = [Point(0, 0.5, None, (), 0)]
    setting_chart(points, SettingAxis.of(["a$b$", "c" * 40]), "x", colours=["red"], limits=(0, 1), whole=False)
    assert [label.get_text() for label in drawn[0].get_xticklabels()] == [r"a\$b\$", "c" * 14 + ".."]
    setting_chart(points, SettingAxis.of([100, 300, 30000]), "x", colours=["red"], limits=(0, 1), whole=False)
    assert drawn[1].get_xscale() == "log"
    assert [label.get_text() for label in drawn[1].get_xticklabels()] == ["100", "300", "30000"]


def test_points_have_their_bars_runs_and_colours(drawn: list[Axes]) -> None:
    points = [
        Point(2, 0.6, (0.5, 0.65), (0.55, 0.65), 0),
        Point(1, 0.5, (0.4, 0.7), (), 0),
        Point(1, 0.3, None, (), 1),
    ]
    setting_chart(points, SettingAxis.of([1, 2]), "x", colours=["red", "blue"], limits=(0.1, 0.9), whole=False)
    (axes,) = drawn
    assert [(list(line.get_xdata()), list(line.get_ydata()), line.get_color()) for line in axes.lines] == [
        ([1, 2], [0.5, 0.6], "red"),
        ([1], [0.3], "blue"),
    ]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    np.testing.assert_allclose(
        np.concatenate([bar.get_segments() for bar in bars]), [[[1, 0.4], [1, 0.7]], [[2, 0.5], [2, 0.65]]]
    )
    dots = [c for c in axes.collections if not isinstance(c, LineCollection)]
    np.testing.assert_allclose(dots[0].get_offsets(), [[2, 0.55], [2, 0.65]])
    assert axes.get_ylim() == (0.1, 0.9)


def test_several_points_at_a_value_are_not_joined_but_their_mean_is(drawn: list[Axes]) -> None:
    points = [Point(x, y, None, (), 0) for x, y in ((1, 0.2), (1, 0.4), (2, 0.6), (2, 0.8))]
    setting_chart(points, SettingAxis.of([1, 2]), "x", colours=["red"], limits=(0, 1), whole=False)
    lines = {line.get_linestyle(): (list(line.get_xdata()), list(line.get_ydata())) for line in drawn[0].lines}
    assert lines["None"] == ([1, 1, 2, 2], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(lines["--"], ([1, 2], [0.3, 0.7]))


def test_the_frame_holds_all_but_very_long_bars() -> None:
    near = [Point(0, 0.5, (0.45, 0.55), (), 0), Point(1, 0.6, None, (0.58, 0.62), 0)]
    low, high = limits_of(near)
    assert low < 0.45
    assert 0.62 < high < 0.7
    low, high = limits_of([Point(0, 0.5, (-9, 9), (), 0), Point(1, 0.6, None, (), 0)])
    assert (low, high) == pytest.approx((0.35 - 0.06 * 0.4, 0.75 + 0.06 * 0.4))
    low, high = limits_of([Point(0, 0.0, None, (), 0)])
    assert low < 0 < high


def test_many_points_are_pixels() -> None:
    points = [Point(i, 0.5 + i / 2000, (0.4, 0.9), (), 0) for i in range(100)]
    text = setting_chart(points, SettingAxis.of(list(range(100))), "x", colours=["red"], limits=(0, 1), whole=False)
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<image" in text
    assert text == setting_chart(points, SettingAxis.of(list(range(100))), "x", colours=["red"], limits=(0, 1), whole=False)


def test_colours_by_another_setting() -> None:
    groups = [group(f"{a} {b}", a=a, b=b) for a in (1, 2) for b in ("y", "x")]
    found = by_setting(groups, "b", "b")
    assert (found.labels, found.colours) == (("x", "y"), COLOURS[:2])
    assert found.of == {"1 y": 1, "1 x": 0, "2 y": 1, "2 x": 0}
    assert all(text in found.legend for text in ("b:", ">x<", ">y<", COLOURS[0], COLOURS[1]))
    plain = by_setting(groups, None, "")
    assert (set(plain.of.values()), len(plain.colours)) == ({0}, 1)


def test_many_numbers_are_a_row_of_colours_and_many_words_none() -> None:
    numbers = by_setting([group(str(i), a=i) for i in range(30)], "a", "a")
    assert len(set(numbers.colours)) == 30
    assert numbers.of["29"] == 29
    assert numbers.legend.count("<i ") == 4
    assert all(f">{i}<" in numbers.legend.replace("</i>", "</i>>") for i in (0, 29))
    words = by_setting([group(str(i), a=f"w{i}") for i in range(30)], "a", "a")
    assert len(words.colours) == 1


def test_of_many_groups_the_best_are_in_colour() -> None:
    few = best_in_colour([group(str(i)) for i in range(8)])
    assert (few.colours, few.labels) == (COLOURS, tuple("01234567"))
    many = best_in_colour([group(str(i)) for i in range(9)])
    assert (many.colours, many.labels) == ((PALE, *COLOURS[:6]), ("3 others", *"012345"))
    assert [many.of[str(i)] for i in range(9)] == [1, 2, 3, 4, 5, 6, 0, 0, 0]


POINT = {"voi_split": 0.5, "voi_merge": 0.25}
POINTS = [
    {"threshold": t, "skeletons": {**POINT, "nerl": t, "n_non0_mergers": 3}, "voxels": {**POINT, "voi_merge": t}}
    for t in (0.3, 0.6, 0.9)
]
LEVELS = {
    "threshold": [0.9, 0.5, 0.1],
    "nerl": [0.1, 0.2, 0.3],
    "voi_split": [1.0, 2.0, 3.0],
    "voi_merge": [0.5, 0.5, 0.5],
    "n_non0_mergers": [0, 1, 2],
}


def test_a_curve_is_that_of_all_levels_where_there_are_any() -> None:
    of_points = run_curve("g", {"points": POINTS, "levels": None}, 0.6).scores
    expected = {"NERL": [0.3, 0.6, 0.9], "VOI at nodes": [0.75] * 3, "mergers": [3] * 3, "VOI in voxels": [0.8, 1.1, 1.4]}
    assert of_points.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(of_points[name], [[0.3, 0.6, 0.9], values])
    of_levels = run_curve("g", {"points": POINTS, "levels": LEVELS}, 0.6).scores
    expected |= {"NERL": [0.3, 0.2, 0.1], "VOI at nodes": [3.5, 2.5, 1.5], "mergers": [2, 1, 0]}
    for name, values in expected.items():
        thresholds = [0.3, 0.6, 0.9] if name == "VOI in voxels" else [0.1, 0.5, 0.9]
        np.testing.assert_allclose(of_levels[name], [thresholds, values])
    bare = [{**point, "skeletons": None} for point in POINTS]
    assert run_curve("g", {"points": bare, "levels": None}, 0.6).scores.keys() == {"VOI in voxels"}


def test_curves_lie_over_one_another_with_the_best_on_top(drawn: list[Axes]) -> None:
    names = [str(i) for i in range(9)]
    curves = [run_curve(name, {"points": POINTS}, 0.45) for name in names]
    curves_chart(curves, "NERL", best_in_colour([group(name) for name in names]))
    colours = [line.get_color() for line in drawn[0].lines]
    assert colours == [colour for colour in (PALE, PALE, PALE, *reversed(COLOURS[:6])) for _ in range(2)]
    dots = [[*line.get_xdata(), *line.get_ydata()] for line in drawn[0].lines[1::2]]
    np.testing.assert_allclose(dots, [[0.45, 0.45]] * 9)
