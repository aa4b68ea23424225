"""The scores of a run: the headline, all volumes in one table, run lengths of single skeletons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline_lib.report import charts
from pipeline_lib.report.comparison import comparison_parts
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.report.headline import TOO_FEW, error_counts, threshold_sentence
from pipeline_lib.report.html import Html, caption, chart, element, joined, section, table
from pipeline_lib.report.objects import worst_objects
from pipeline_lib.report.units import count, decimal, interval, length, tolerance

_VOXEL_COLUMNS = {
    "voi_split": "VOI split",
    "voi_merge": "VOI merge",
    "voi_sum": "VOI sum",
    "adapted_rand_error": "adapted Rand error",
    "precision": "precision",
    "recall": "recall",
}
_OBJECT_COLUMNS = {"completeness": "completeness", "purity": "purity", "n_objects": "objects"}
USED_TO_CHOOSE = element("span", "val, used to choose", class_="tag")
_SKELETONS_NOTE = """NERL: expected run length (ERL) over that of a perfect segmentation, 1 is best; NERLs at different merge
tolerances cannot be compared. VOI: variation of information over skeleton nodes in bits, 0 is best. Splits: skeleton edges
between two segments. Mergers: pairs of a segment and a skeleton that it shares with another one, background aside. Small
figures: the 95 % interval, from skeletons drawn anew with replacement."""
_VOXELS_NOTE = """Background of the segmentation counts as one more segment. VOI in bits and adapted Rand error: 0 is best.
Precision, recall: of the pairs of voxels in one segment those in one neuron, and the reverse; 1 is best."""
_OBJECTS_NOTE = """Completeness: the largest part of a true object that lies in one segment. Purity: the largest part of a
segment that lies in one object. Both are means weighted by size, 1 is best."""
_TOLERANCE_NOTE = """A skeleton that shares at most so many nodes with a segment is set aside before it is decided which
segments merge; at \u221e no merger counts, which is the most that repairing mergers could give."""
_RUN_LENGTHS_NOTE = """Each point is one skeleton: the run length that a random point on it can expect, over its length. On
the dashed line a skeleton lies whole in one segment. Merged: in a segment that holds another skeleton too; that part counts
as length 0. On the right how many skeletons keep which part of their length."""


def headline_section(results: Sequence[VolumeResult], choice: dict[str, Any]) -> Html:
    """Cards of the test volumes with a truth; of val, marked as such, where no test volume has one."""
    tests = [result for result in results if result.split == "test"]
    scored = [result for result in tests if result.metrics]
    parts: list[object] = []
    unscored = [result.name for result in tests if not result.metrics]
    if unscored:
        told = f"No truth for {', '.join(unscored)}: segmented and shown below, not scored."
        parts.append(element("p", told, class_="lead"))
    shown = scored or [result for result in results if result.metrics]
    for result in shown:
        parts += [_title(result), _cards(result), *comparison_parts(result)]
    if shown and not scored:
        parts.append(caption("These are scores of volumes that choices were made on: expect less of new data."))
    if not shown:
        parts.append(element("p", "No volume is scored.", class_="lead"))
    sentence = threshold_sentence(choice)
    parts.append(element("p", f"{sentence[0].upper()}{sentence[1:]}."))
    if choice.get("warning"):
        parts.append(element("p", element("b", "Warning: "), choice["warning"], class_="warning"))
    return section("result", "Result", *parts)


def volumes_section(results: Sequence[VolumeResult]) -> Html:
    """Every segmented volume, against skeletons and against labels."""
    runs = ("NERL", "merge tolerance", "ERL", "of at most")
    on_skeletons = ("volume", *runs, "VOI split", "VOI merge", "VOI sum", "splits", "mergers", "skeletons", "nodes")
    on_voxels = [*_VOXEL_COLUMNS.items(), *(_OBJECT_COLUMNS.items() if _has_objects(results) else ())]
    return section(
        "volumes",
        "All volumes",
        element("h3", "Against skeletons"),
        table(on_skeletons, [_skeleton_row(result) for result in results]),
        caption(_SKELETONS_NOTE),
        element("h3", "Against labels, voxel by voxel"),
        table(
            ("volume", *(title for _, title in on_voxels), "segments"),
            [_voxel_row(result, [name for name, _ in on_voxels]) for result in results],
        ),
        caption(_scored_voxels(results), " ", _VOXELS_NOTE, *([" ", _OBJECTS_NOTE] if _has_objects(results) else [])),
        *worst_objects(results),
        *_tolerances(results),
    )


def run_lengths_section(results: Sequence[VolumeResult]) -> Html:
    parts = [_run_lengths(result) for result in results if result.skeletons]
    if not parts:
        return section("run-lengths", "Run lengths", element("p", "No volume is scored against skeletons."))
    return section("run-lengths", "Run lengths", *parts, caption(_RUN_LENGTHS_NOTE))


def split_tag(result: VolumeResult) -> object:
    return USED_TO_CHOOSE if result.split == "val" else element("span", result.split, class_="tag")


def _three(value: float | None) -> str:
    return decimal(value, 3)


def _title(result: VolumeResult) -> Html:
    return element("h3", result.name, " ", split_tag(result))


def _cards(result: VolumeResult) -> Html:
    cards = []
    skeletons, voxels = result.skeleton_scores, result.voxel_scores
    if skeletons:
        tolerated = f"at merge tolerance {tolerance(skeletons['merge_tolerance'])} nodes"
        ends = skeletons["nerl_ci95"]
        sure = f"95 % interval {interval(ends, _three)}" if ends else TOO_FEW
        cards.append(_card("NERL", f"{skeletons['nerl']:.3f}", joined([tolerated, sure], Html("<br>"))))
        cards.append(_voi_card("VOI at skeleton nodes", skeletons))
    if voxels:
        cards.append(_voi_card("VOI in voxels", voxels))
        if "completeness" in voxels:
            value = joined([_three(voxels["completeness"]), element("small", " / "), _three(voxels["purity"])], "")
            cards.append(_card("Completeness / purity", value, f"over {count(voxels['n_objects'])} objects, by size"))
    if skeletons:
        (splits, of_splits), (mergers, of_mergers) = error_counts(skeletons)
        value = joined([splits, element("small", f" {of_splits}, "), mergers, element("small", f" {of_mergers}")], "")
        note = f"on {count(skeletons['n_skeletons'])} skeletons, {count(skeletons['n_nodes'])} nodes"
        cards.append(_card("Errors", value, note))
    return element("div", *cards, class_="cards")


def _voi_card(name: str, scores: dict[str, Any]) -> Html:
    split, merge = scores["voi_split"], scores["voi_merge"]
    value = joined([_three(split), element("small", " + "), _three(merge)], "")
    told = [f"split + merge = {_three(split + merge)} bits"]
    if scores.get("voi_sum_ci95"):
        told.append(f"95 % interval {interval(scores['voi_sum_ci95'], _three)}")
    return _card(name, value, joined(told, Html("<br>")))


def _card(name: str, value: object, note: object) -> Html:
    parts = (("name", name), ("value", value), ("note", note))
    return element("div", *(element("div", content, class_=kind) for kind, content in parts), class_="card")


def _skeleton_row(result: VolumeResult) -> list[object]:
    scores = result.skeleton_scores
    if not scores:
        return _unscored_row(result, 11)
    scores = {"voi_sum": scores["voi_split"] + scores["voi_merge"], **scores}
    return [
        _named(result),
        _with_interval(scores, "nerl", _three, shown=element("b", f"{scores['nerl']:.3f}")),
        tolerance(scores["merge_tolerance"]),
        _with_interval(scores, "erl_nm", length),
        length(scores["max_erl_nm"]),
        *(_with_interval(scores, name, _three) for name in ("voi_split", "voi_merge", "voi_sum")),
        *(count(scores[name]) for name in ("n_splits", "n_non0_mergers", "n_skeletons", "n_nodes")),
    ]


def _with_interval(scores: dict[str, Any], name: str, told: Callable[[float], str], *, shown: object = None) -> Html:
    """A value, and below it the interval if there is one."""
    ends = scores.get(f"{name}_ci95")
    below = [element("small", interval(ends, told))] if ends else []
    return joined([told(scores[name]) if shown is None else shown, *below], "")


def _voxel_row(result: VolumeResult, names: Sequence[str]) -> list[object]:
    scores = result.voxel_scores
    if not scores:
        return [*_unscored_row(result, len(names)), count(result.n_segments)]
    values = (count(scores.get(name)) if name == "n_objects" else decimal(scores.get(name), 3) for name in names)
    return [_named(result), *values, count(result.n_segments)]


def _has_objects(results: Sequence[VolumeResult]) -> bool:
    return any("completeness" in (result.voxel_scores or {}) for result in results)


def _scored_voxels(results: Sequence[VolumeResult]) -> str:
    """Which voxels were scored; the settings are the same for all volumes."""
    scores: dict[str, Any] = next((result.voxel_scores for result in results if result.voxel_scores), {})
    every = scores.get("voxels") == "all"
    told = "Over all labelled voxels, true background counting as one object" if every else "Over all voxels with a true label"
    distance_nm = scores.get("boundary_tolerance_nm") or 0
    near = f", but for those within {distance_nm:g} nm of a boundary between true labels" if distance_nm else ""
    return f"{told}{near}."


def _unscored_row(result: VolumeResult, n_scores: int) -> list[object]:
    why = "not asked for" if result.metrics else "no truth"
    return [_named(result, element("span", why, class_="tag")), *(["\u2013"] * n_scores)]


def _named(result: VolumeResult, *more: object) -> Html:
    """The volume's name, and below it what it was used for."""
    return joined([result.name, element("div", joined([split_tag(result), *more], " "))], "")


def _tolerances(results: Sequence[VolumeResult]) -> list[Html]:
    nerls = {result.name: s["nerl_by_tolerance"] for result in results if (s := result.skeleton_scores)}
    if not nerls:
        return []
    keys = list(next(iter(nerls.values())))
    rows = [[name, *(decimal(by_tolerance[key], 3) for key in keys)] for name, by_tolerance in nerls.items()]
    drawing = chart(charts.tolerance_chart(nerls), "NERL over the merge tolerance", note=_TOLERANCE_NOTE)
    grid = table(("NERL at tolerance", *(tolerance(key) for key in keys)), rows)
    return [element("h3", "NERL by merge tolerance"), element("div", drawing, grid, class_="columns")]


def _run_lengths(result: VolumeResult) -> Html:
    length_nm, erl_nm = (np.array([float(row[key]) for row in result.skeletons]) for key in ("length_nm", "erl_nm"))
    merged = np.array([row["merged"] == "1" for row in result.skeletons])
    points = chart(charts.run_length_chart(length_nm, erl_nm, merged), f"Run lengths of the skeletons of {result.name}")
    parts = chart(charts.run_fraction_chart(length_nm, erl_nm, merged), f"Histogram of run lengths of {result.name}")
    return joined([_title(result), element("div", points, parts, class_="columns")])
