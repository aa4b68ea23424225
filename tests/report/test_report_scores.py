import json
import re
from dataclasses import replace
from typing import Any

import pytest

from pipeline_lib.report.comparison import comparison_parts
from pipeline_lib.report.contents import ReportContents, VolumeResult, read_results
from pipeline_lib.report.objects import worst_objects
from pipeline_lib.report.scores import headline_section, volumes_section

CHOICE = {"threshold": 0.5, "by": "settings"}
INTERVALS = {"nerl_ci95": [0.125, 0.875], "erl_nm": 300.0, "erl_nm_ci95": [200.0, 400.0], "voi_sum_ci95": [0.25, 0.5]}
OBJECTS = {"completeness": 0.75, "purity": 0.5, "n_objects": 1234, "n_segments": 9}
COMPARISON = {
    "against": "other/<test>",
    "nerl": {"difference": 0.0213, "ci95": [-0.004, 0.0391], "share_better": 0.987},
    "voi_sum": {"difference": -0.012, "ci95": [-0.05, -0.02], "share_better": 1.0},
    "verdict": "VOI is better",
}


SINCE = {*OBJECTS, "voxels", "boundary_tolerance_nm", "voi_sum_ci95", "voi_split_ci95", "voi_merge_ci95", "erl_nm_ci95"}


@pytest.fixture
def results(contents: ReportContents) -> list[VolumeResult]:
    """test and val with truth, fresh without; scores as older runs have them, without what came since."""
    return [_older(result) for result in read_results(contents)]


def _older(result: VolumeResult) -> VolumeResult:
    if result.metrics is None:
        return result
    kept = {part: {k: v for k, v in result.metrics[part].items() if k not in SINCE} for part in ("skeletons", "voxels")}
    return replace(result, metrics=result.metrics | kept | {"comparison": None}, objects=())


def changed(result: VolumeResult, **parts: dict[str, Any]) -> VolumeResult:
    """With some more keys in parts of metrics.json."""
    assert result.metrics is not None
    metrics = json.loads(json.dumps(result.metrics))
    for name, content in parts.items():
        metrics[name] = (metrics.get(name) or {}) | content
    return replace(result, metrics=metrics)


def rows_of(markup: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    return [[plain(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


def plain(markup: str) -> str:
    return re.sub("[ \n]+", " ", re.sub("<[^>]+>", " ", markup)).strip()


def test_intervals_stand_below_their_values(results: list[VolumeResult]) -> None:
    told = changed(results[0], skeletons=INTERVALS | {"nerl": 0.5, "voi_split": 0.25, "voi_merge": 0.125, "voi_sum": 0.375})
    header, row = rows_of(volumes_section([told]))[:2]
    cells = dict(zip(header, row, strict=True))
    assert cells["volume"] == "test test"
    assert cells["NERL"] == "0.500 0.125 to 0.875"
    assert cells["ERL"] == "300 nm 200 to 400 nm"
    assert cells["VOI sum"] == "0.375 0.250 to 0.500"
    card = plain(headline_section([told], CHOICE))
    assert "0.500 at merge tolerance 0 nodes 95 % interval 0.125 to 0.875" in card
    assert "split + merge = 0.375 bits 95 % interval 0.250 to 0.500" in card


def test_without_intervals_the_values_stand_alone(results: list[VolumeResult]) -> None:
    none = dict.fromkeys(("nerl_ci95", "erl_nm_ci95", "voi_split_ci95", "voi_merge_ci95", "voi_sum_ci95"))
    told = changed(results[0], skeletons=none | {"nerl": 0.5})
    header, row = rows_of(volumes_section([told]))[:2]
    assert dict(zip(header, row, strict=True))["NERL"] == "0.500"
    assert not any(" to " in cell for cell in row)
    assert "at merge tolerance 0 nodes no interval: fewer than two skeletons have edges" in plain(
        headline_section([told], CHOICE)
    )


def test_completeness_and_purity_where_they_are_known(results: list[VolumeResult]) -> None:
    told = [changed(results[0], voxels=OBJECTS), *results[1:]]
    with_objects = [row for row in rows_of(volumes_section(told)) if len(row) == 11]
    header, test, fresh, val = with_objects
    assert header[7:] == ["completeness", "purity", "objects", "segments"]
    assert test[7:10] == ["0.750", "0.500", "1\u202f234"]
    assert fresh[1:10] == ["\u2013"] * 9
    assert val[7:10] == ["\u2013"] * 3
    assert "Completeness: " in volumes_section(told)
    card = plain(headline_section(told, CHOICE))
    assert "Completeness / purity 0.750 / 0.500 over 1\u202f234 objects, by size" in card


def test_older_scores_show_no_objects(results: list[VolumeResult]) -> None:
    assert "ompleteness" not in volumes_section(results) + headline_section(results, CHOICE)


@pytest.mark.parametrize(
    ("scored", "told"),
    [
        ({"voxels": "foreground", "boundary_tolerance_nm": 0.0}, "Over all voxels with a true label. "),
        ({"voxels": "all", "boundary_tolerance_nm": 0.0}, "Over all labelled voxels, true background counting as one object. "),
        (
            {"voxels": "foreground", "boundary_tolerance_nm": 25.0},
            "Over all voxels with a true label, but for those within 25 nm of a boundary between true labels. ",
        ),
    ],
)
def test_which_voxels_were_scored(results: list[VolumeResult], scored: dict[str, Any], told: str) -> None:
    assert told in volumes_section([changed(results[0], voxels=scored)])


def test_a_comparison_is_told_with_its_verdict(results: list[VolumeResult]) -> None:
    markup = "".join(comparison_parts(changed(results[0], comparison=COMPARISON)))
    assert rows_of(markup)[1:] == [
        ["NERL (more is better)", "+0.021", "\u22120.004 to +0.039", "99 %"],
        ["VOI split + merge at skeleton nodes, bits (less is better)", "\u22120.012", "\u22120.050 to \u22120.020", "100 %"],
    ]
    assert "<b>Against </b><code>other/&lt;test&gt;</code>: VOI is better" in markup
    assert markup in headline_section([changed(results[0], comparison=COMPARISON)], CHOICE).replace("</p>\n", "</p>")
    assert comparison_parts(results[0]) == comparison_parts(results[1]) == []


def test_the_ten_worst_objects(results: list[VolumeResult]) -> None:
    rows = [{"object": str(i), "size_vox": "54321", "completeness": f"0.{i}", "n_segments": "3"} for i in range(10, 22)]
    told = replace(results[0], objects=tuple(rows))
    markup = "".join(worst_objects([told, *results[1:]]))
    header, *shown = rows_of(markup)
    assert header == ["object", "voxels", "completeness", "segments"]
    assert shown == [[str(i), "54\u202f321", f"0.{i}0", "3"] for i in range(10, 20)]
    assert "test, 10 of 12" in markup
    assert markup in volumes_section([told, *results[1:]]).replace("</h3>\n", "</h3>")
    assert worst_objects(results) == []


def test_an_objects_table_may_hold_words(results: list[VolumeResult]) -> None:
    row = {"object": "3", "largest_segment": "none", "completeness": ""}
    assert rows_of("".join(worst_objects([replace(results[0], objects=(row,))]))) == [
        ["object", "largest segment", "completeness"],
        ["3", "none", ""],
    ]
