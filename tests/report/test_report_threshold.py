import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_lib.report import ReportContents, charts, threshold_charts
from pipeline_lib.report.contents import read_choice
from pipeline_lib.report.threshold import flatness_sentence, threshold_section
from pipeline_lib.report.threshold_charts import Curve

THRESHOLDS = (0.5, 0.7, 0.9)
SKELETONS = [
    {
        "nerl": 0.2 * i,
        "merge_tolerance": 0,
        "voi_split": 0.1 * i,
        "voi_merge": 1.0 - 0.3 * i,
        "n_splits": 3 * i,
        "n_non0_mergers": 5 - i,
    }
    for i in range(3)
]
VOXELS = [{"voi_split": 1.0 + i, "voi_merge": 2.0} for i in range(3)]
POINTS = [{"threshold": t, "skeletons": s, "voxels": v} for t, s, v in zip(THRESHOLDS, SKELETONS, VOXELS, strict=True)]
LEVELS = {
    "threshold": [0.9, 0.8, 0.7],
    "nerl": [0.4, 0.3, 0.2],
    "nerl_by_tolerance": {"0": [0.4, 0.3, 0.2], "inf": [0.9, 0.95, 1.0]},
    "voi_split": [0.2, 0.15, 0.1],
    "voi_merge": [0.4, 0.5, 0.7],
    "n_splits": [6, 4, 3],
    "n_mergers": [6, 6, 6],
    "n_non0_mergers": [3, 3, 4],
}
WITH_LEVELS = Curve(POINTS, LEVELS, 0.7, (0.65, 0.75))
BARE = Curve(POINTS, None, 0.7, None)


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Axes:
    """What charts are drawn on instead of a file."""
    axes = Figure().add_subplot()

    def draw_here(paint) -> str:
        paint(axes)
        return ""

    monkeypatch.setattr(charts, "draw", draw_here)
    return axes


def drawn(axes: Axes, *, marked: bool) -> list[tuple[list[float], list[float]]]:
    """The data of the lines with markers, or of those without, the choice's own left out."""
    lines = [line for line in axes.lines if (line.get_marker() == "o") == marked and line.get_linestyle() != "--"]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]


@pytest.mark.parametrize("curve", [WITH_LEVELS, BARE])
def test_a_chart_is_sound_svg_and_the_same_each_time(curve: Curve) -> None:
    text = threshold_charts.error_chart(curve)
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert threshold_charts.error_chart(curve) == text


def test_nerl_shows_points_levels_ceiling_choice_and_flat_part(axes: Axes) -> None:
    threshold_charts.nerl_chart(WITH_LEVELS)
    assert drawn(axes, marked=True) == [(list(THRESHOLDS), [s["nerl"] for s in SKELETONS])]
    levels = LEVELS["threshold"]
    assert drawn(axes, marked=False) == [(levels, LEVELS["nerl_by_tolerance"]["inf"]), (levels, LEVELS["nerl"])]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "--"] == [[0.7, 0.7]]
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.65, 0.75))


def test_voi_shows_sum_split_and_merge(axes: Axes) -> None:
    threshold_charts.voi_chart(WITH_LEVELS, "skeletons")
    expected = [[1.0, 0.8, 0.6], [0.0, 0.1, 0.2], [1.0, 0.7, 0.4]]
    np.testing.assert_allclose([y for _, y in drawn(axes, marked=True)], expected)
    np.testing.assert_allclose(
        [y for _, y in drawn(axes, marked=False)], [[0.6, 0.65, 0.8], LEVELS["voi_split"], LEVELS["voi_merge"]]
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sum", "split", "merge"]


def test_voxels_have_no_levels(axes: Axes) -> None:
    threshold_charts.voi_chart(WITH_LEVELS, "voxels")
    assert drawn(axes, marked=False) == []
    np.testing.assert_allclose([y for _, y in drawn(axes, marked=True)], [[3, 4, 5], [1, 2, 3], [2, 2, 2]])
    assert {line.get_linestyle() for line in axes.lines} == {"-", "--"}


def test_errors_are_counted_and_a_bare_curve_joins_its_points(axes: Axes) -> None:
    threshold_charts.error_chart(BARE)
    assert drawn(axes, marked=True) == [(list(THRESHOLDS), [0, 3, 6]), (list(THRESHOLDS), [5, 4, 3])]
    assert {line.get_linestyle() for line in axes.lines} == {"-", "--"}
    assert not axes.patches


CHOICE = {"by": "nerl", "threshold": 0.7, "flatness": {"within": 0.01, "from_threshold": 0.65, "to_threshold": 0.75}}


@pytest.mark.parametrize(
    ("indistinguishable", "more"),
    [
        (None, ""),
        ([0.7], " A paired bootstrap over the val skeletons tells every other threshold from the best (95 %)."),
        ([0.5, 0.7, 0.9], " A paired bootstrap over the val skeletons cannot tell 0.5, 0.9 from the best (95 %)."),
        (
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9],
            " A paired bootstrap over the val skeletons cannot tell 9 others, 0.1 to 0.9, from the best (95 %).",
        ),
    ],
)
def test_flatness_in_a_sentence(indistinguishable: list[float] | None, more: str) -> None:
    choice = CHOICE | {"flatness": CHOICE["flatness"] | {"indistinguishable": indistinguishable}}
    assert flatness_sentence(choice) == "From 0.65 to 0.75 (shaded) NERL stays within 1 % of its best value." + more


def test_a_peak_in_a_sentence() -> None:
    flatness = {"within": 0.01, "from_threshold": 0.7, "to_threshold": 0.7, "indistinguishable": None}
    expected = "NERL stays within 1 % of its best value at 0.7 only, not at the thresholds tried next to it."
    assert flatness_sentence(CHOICE | {"flatness": flatness}) == expected


def shown(told: dict[str, Any]) -> str:
    contents = ReportContents.from_json(json.dumps(told))
    return threshold_section(contents, read_choice(contents))


@pytest.mark.usefixtures("axes")
def test_what_other_measures_would_have_chosen(own_run: dict[str, Any]) -> None:
    path = Path(own_run["sweep"]) / "choice.json"
    best_by = {"nerl": (0.7, 0.91234), "nerl_without_merger": (0.9, 0.5), "voi_voxels": (0.5, 1.25)}
    told = {name: {"threshold": t, "value": v} for name, (t, v) in best_by.items()}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"best_by": told}))
    rows = re.findall(r"<tr>(<td.*?)</tr>", shown(own_run))
    assert [re.sub("<[^>]+>", "|", row).strip("|") for row in rows] == [
        "NERL||all||0.7||0.912|||chosen",
        "NERL||no merger||0.9||0.500",
        "VOI in voxels||all||0.5||1.250",
    ]


@pytest.mark.usefixtures("axes")
def test_nerl_is_told_with_its_merge_tolerance(own_run: dict[str, Any]) -> None:
    path = Path(own_run["sweep"]) / "val-0002" / "curve.json"
    assert "NERL at merge tolerance 0<" in shown(own_run)
    path.write_text(re.sub('"merge_tolerance": 0(\\.0)?', '"merge_tolerance": "inf"', path.read_text()))
    assert "NERL at merge tolerance \u221e<" in shown(own_run)


@pytest.mark.usefixtures("axes")
@pytest.mark.parametrize("by", ["nerl", "voi_voxels"])
def test_the_chosen_measure_is_marked(own_run: dict[str, Any], by: str) -> None:
    path = Path(own_run["sweep"]) / "choice.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"by": by}))
    (row,) = [row for row in re.findall(r"<tr>(<td.*?)</tr>", shown(own_run)) if "chosen" in row]
    assert (("VOI in voxels" in row), ("all" in row)) == (by == "voi_voxels", True)


@pytest.mark.usefixtures("axes")
def test_levels_and_flatness_are_shown_where_there_are_any(own_run: dict[str, Any]) -> None:
    sweep = Path(own_run["sweep"])
    choice, curve = sweep / "choice.json", sweep / "val-0002" / "curve.json"
    bare = {name: json.loads(path.read_text()) for name, path in (("choice", choice), ("curve", curve))}
    choice.write_text(json.dumps(bare["choice"] | {"flatness": None}))
    curve.write_text(json.dumps(bare["curve"] | {"levels": None}))
    without = shown(own_run)
    assert "Thin lines" not in without
    assert "stays within" not in without
    choice.write_text(json.dumps(bare["choice"] | {"flatness": CHOICE["flatness"]}))
    curve.write_text(json.dumps(bare["curve"] | {"levels": LEVELS}))
    told = shown(own_run)
    assert "Thin lines: the scores at every level" in told
    assert "From 0.65 to 0.75 (shaded) NERL stays within 1 % of its best value." in told
