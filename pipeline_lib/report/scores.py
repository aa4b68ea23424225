"""The scores of a run: the headline, all volumes in one table, run lengths of single skeletons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline_lib.report import charts
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.headline import threshold_sentence
from pipeline_lib.report.html import Html, caption, chart, element, joined, section, table
from pipeline_lib.report.units import count, decimal, length, tolerance

USED_TO_CHOOSE = element("span", "val, used to choose", class_="tag")


def headline_section(results: Sequence[VolumeResult], choice: dict[str, Any]) -> Html:
    """Cards of the test volumes with a truth; of val, marked as such, where no test volume has one."""
    tests = [result for result in results if result.split == "test"]
    scored = [result for result in tests if result.metrics]
    parts: list[object] = []
    unscored = [result.name for result in tests if not result.metrics]
    if unscored:
        told = f"No truth for {', '.join(unscored)}: segmented and shown below, not scored."
        parts.append(element("p", told, class_="lead"))
    for result in scored or [result for result in results if result.metrics]:
        parts += [_title(result), _cards(result)]
    if not scored:
        parts.append(
            caption("The scores above are of volumes that also chose the threshold, so they are not those of new data.")
        )
    parts.append(element("p", f"{threshold_sentence(choice).capitalize()}."))
    if choice.get("warning"):
        parts.append(element("p", element("b", "Warning: "), choice["warning"], class_="warning"))
    return section("result", "Result", *parts)


def volumes_section(results: Sequence[VolumeResult]) -> Html:
    lengths = ("NERL", "95 % interval", "merge tolerance", "ERL", "of at most")
    information = ("VOI nodes split", "merge", "VOI voxels split", "merge", "Rand error")
    header = ("volume", "split", *lengths, *information, "splits", "mergers", "skeletons", "segments")
    return section(
        "volumes",
        "All volumes",
        table(header, [_row(result) for result in results], text_columns=2, class_="dense"),
        caption(
            "NERL: expected run length (ERL) over that of a perfect segmentation, 1 is best; NERLs at different merge tolerances"
            " cannot be compared. Interval: percentiles over skeletons drawn anew. VOI: variation of information in bits, 0 is best,"
            " at skeleton nodes and in voxels. Rand error: adapted Rand error in voxels, 0 is best. Splits: skeleton edges between"
            " two segments. Mergers: pairs of a segment and a skeleton that it shares with another one, background aside."
        ),
        *_tolerances(results),
    )


def run_lengths_section(results: Sequence[VolumeResult]) -> Html:
    parts = [_run_lengths(result) for result in results if result.skeletons]
    if not parts:
        return section("run-lengths", "Run lengths", element("p", "No volume is scored against skeletons."))
    note = (
        "Each point is one skeleton: the run length that a random point on it can expect, over its length. On the dashed line a"
        " skeleton lies whole in one segment. Merged: in a segment that also holds another skeleton, which counts as length 0."
    )
    return section("run-lengths", "Run lengths", *parts, caption(note))


def split_tag(result: VolumeResult) -> object:
    return USED_TO_CHOOSE if result.split == "val" else element("span", result.split, class_="tag")


def _title(result: VolumeResult) -> Html:
    return element("h3", result.name, " ", split_tag(result))


def _cards(result: VolumeResult) -> Html:
    cards = []
    skeletons, voxels = result.skeleton_scores, result.voxel_scores
    if skeletons:
        low, high = skeletons["nerl_ci95"]
        tolerated = f"at merge tolerance {tolerance(skeletons['merge_tolerance'])} nodes"
        interval = f"95 % interval {low:.3f} to {high:.3f}"
        cards.append(_card("NERL", f"{skeletons['nerl']:.3f}", f"{tolerated}; {interval}"))
        cards.append(_voi_card("VOI at skeleton nodes", skeletons))
    if voxels:
        cards.append(_voi_card("VOI in voxels", voxels))
    if skeletons:
        errors = element(
            "span", count(skeletons["n_splits"]), element("small", " splits  "), count(skeletons["n_non0_mergers"])
        )
        value = joined([errors, element("small", " mergers")], "")
        cards.append(
            _card("Errors", value, f"on {count(skeletons['n_skeletons'])} skeletons, {count(skeletons['n_nodes'])} nodes")
        )
    return element("div", *cards, class_="cards")


def _voi_card(name: str, scores: dict[str, Any]) -> Html:
    split, merge = scores["voi_split"], scores["voi_merge"]
    value = joined([decimal(split, 3), element("small", " + "), decimal(merge, 3)], "")
    return _card(name, value, f"split + merge = {decimal(split + merge, 3)} bits")


def _card(name: str, value: object, note: object) -> Html:
    parts = (("name", name), ("value", value), ("note", note))
    return element("div", *(element("div", content, class_=kind) for kind, content in parts), class_="card")


def _row(result: VolumeResult) -> list[object]:
    s, v = result.skeleton_scores or {}, result.voxel_scores or {}
    interval = f"{s['nerl_ci95'][0]:.3f}\u2009\u2013\u2009{s['nerl_ci95'][1]:.3f}" if s else "\u2013"
    name = result.name if result.metrics else joined([result.name, element("span", "no truth, not scored", class_="tag")], " ")
    return [
        name,
        split_tag(result),
        decimal(s.get("nerl"), 3),
        interval,
        tolerance(s["merge_tolerance"]) if s else "\u2013",
        length(s.get("erl_nm")),
        length(s.get("max_erl_nm")),
        decimal(s.get("voi_split"), 3),
        decimal(s.get("voi_merge"), 3),
        decimal(v.get("voi_split"), 3),
        decimal(v.get("voi_merge"), 3),
        decimal(v.get("adapted_rand_error"), 3),
        count(s.get("n_splits")),
        count(s.get("n_non0_mergers")),
        count(s.get("n_skeletons")),
        count(result.n_segments),
    ]


def _tolerances(results: Sequence[VolumeResult]) -> list[Html]:
    nerls = {result.name: s["nerl_by_tolerance"] for result in results if (s := result.skeleton_scores)}
    if not nerls:
        return []
    keys = list(next(iter(nerls.values())))
    rows = [[name, *(decimal(by_tolerance[key], 3) for key in keys)] for name, by_tolerance in nerls.items()]
    note = (
        "A skeleton that shares at most so many nodes with a segment is set aside before it is decided which segments merge;"
        " at \u221e no merger counts, which is the most that repairing mergers could give."
    )
    drawing = chart(charts.tolerance_chart(nerls), "NERL over the merge tolerance", note=note)
    grid = table(("NERL at tolerance", *(tolerance(key) for key in keys)), rows)
    return [element("h3", "NERL by merge tolerance"), element("div", drawing, grid, class_="columns")]


def _run_lengths(result: VolumeResult) -> Html:
    length_nm, erl_nm = (np.array([float(row[key]) for row in result.skeletons]) for key in ("length_nm", "erl_nm"))
    merged = np.array([row["merged"] == "1" for row in result.skeletons])
    points = chart(charts.run_length_chart(length_nm, erl_nm, merged), f"Run lengths of the skeletons of {result.name}")
    parts = chart(charts.run_fraction_chart(length_nm, erl_nm, merged), f"Histogram of run lengths of {result.name}")
    return joined([_title(result), element("div", points, parts, class_="columns")])
