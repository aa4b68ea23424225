"""Is the best setting really better than the others? The paired tests as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline_lib.report.compared.draws import TESTED, draw_scores
from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.compared.measures import Measure
from pipeline_lib.report.compared.paired import Difference, differences_to_best
from pipeline_lib.report.compared.runs import SPLITS
from pipeline_lib.report.compared.tables import name_alone
from pipeline_lib.report.html import Html, caption, details, element, joined, section, table
from pipeline_lib.report.units import decimal, interval, signed

Tested = Mapping[str, Mapping[Measure, Sequence[Difference]]]  # by split
_MOST_OPEN = 30
_HOW_RUNS = """A paired bootstrap: both runs are scored on the same skeletons, drawn anew with replacement from each volume.
It says how much the difference depends on which neurons were traced, not how much on the training seed."""
_HOW_REPEATED = """The interval adds up two sources of chance: which neurons were traced (a paired bootstrap over the
skeletons, of the means over repetitions) and which seeds or folds were taken (a t-interval, paired where both settings have the
same ones; with two or three repetitions it is wide)."""
_NOTE = """Difference: the setting less the best one, with its 95 % interval, drawn beside a line at 0. Where it contains 0
there is no conclusion. p is corrected for all comparisons of its column (Holm); below 0.05 a setting is called worse or better.
Worse, if alone: the interval does not contain 0, but among so many comparisons one such is to be expected."""
_VAL_NOTE = """The best was picked by these very scores, so that its lead here is flattered: some of it is luck."""
_TEST_NOTE = """The best was picked on val, not here: these differences are not flattered."""


def tests_section(sweep: Sweep, tested: Tested) -> Html:
    """tested: as `differences_by_split` gives it."""
    if sweep.best is None:
        why = "Nothing decides which setting is the best: no val volume is scored."
        return section("tests", "Tests against the best", element("p", why))
    if len(sweep.groups) < 2:
        return section("tests", "Tests against the best", element("p", "There is nothing to compare with."))
    parts: list[object] = []
    for split, by_measure in tested.items():
        if by_measure:
            parts += [element("h3", f"On {split}"), _table_of(sweep, by_measure)]
            parts.append(caption(_VAL_NOTE if split == "val" else _TEST_NOTE))
    if not parts:
        parts.append(element("p", "No volume is scored on skeletons, which the tests draw from."))
    best = element("p", "Against ", element("b", sweep.best.name), ", the best on val.")
    how = _HOW_REPEATED if sweep.has_repetitions else _HOW_RUNS
    return section("tests", "Tests against the best", best, *parts, caption(how, " ", _NOTE))


def differences_by_split(sweep: Sweep) -> Tested:
    """Split -> measure -> differences; of the measures that the best one has."""
    best = sweep.best
    found: dict[str, dict[Measure, list[Difference]]] = {split: {} for split in SPLITS}
    for split in SPLITS if best is not None and len(sweep.groups) > 1 else ():
        drawn = draw_scores(sweep.runs, split)
        for measure in TESTED:
            if best is not None and best.estimate(split, measure) is not None:
                found[split][measure] = differences_to_best(sweep, split, measure, drawn)
    return found


def _table_of(sweep: Sweep, by_measure: Mapping[Measure, Sequence[Difference]]) -> Html:
    header: list[object] = ["setting" if sweep.has_repetitions else "run"]
    for measure in by_measure:
        header += [joined([element("small", measure.title), "difference"], ""), "", "verdict"]
    text = (0, *(3 * i + k for i in range(len(by_measure)) for k in (2, 3)))
    compared = list(zip(*by_measure.values(), strict=True))
    shown = table(header, _rows(compared[:_MOST_OPEN]), text=text, class_="tests")
    if not compared[_MOST_OPEN:]:
        return shown
    rest = table(header, _rows(compared[_MOST_OPEN:]), text=text, class_="tests")
    return joined([shown, details(f"{len(compared) - _MOST_OPEN} more", rest)])


def _rows(compared: Sequence[Sequence[Difference]]) -> list[list[object]]:
    """compared: of each group the differences by all measures. Bars of one measure have one scale."""
    reach = [_reach(differences) for differences in zip(*compared, strict=True)]
    rows: list[list[object]] = []
    for differences in compared:
        cells = [cell for one, far in zip(differences, reach, strict=True) for cell in _cells(one, far)]
        rows.append([name_alone(differences[0].group), *cells])
    return rows


def _cells(found: Difference, reach: float) -> list[object]:
    if found.value is None or found.ci95 is None or found.p_holm is None:
        told = "\u2013" if found.value is None else signed(found.value, 3)
        return [told, "", element("span", found.verdict, class_="quiet")]
    ends = element("small", interval(found.ci95, lambda end: signed(end, 3)))
    verdict = element("span", found.verdict, class_=f"verdict {found.verdict if found.is_sure else 'quiet'}")
    p = element("small", f"p {'< 0.001' if found.p_holm < 0.001 else decimal(found.p_holm, 3)}")
    return [joined([signed(found.value, 3), ends], ""), _bar(found, reach), joined([verdict, p], "")]


def _reach(differences: Sequence[Difference]) -> float:
    """The largest distance from 0 that a bar shows."""
    ends = [abs(end) for found in differences if found.ci95 for end in found.ci95]
    return max(ends, default=0.0) or 1.0


def _bar(found: Difference, reach: float) -> Html:
    """The interval around the difference, with a line at 0 in the middle."""
    low, high = found.ci95 or (0.0, 0.0)
    start, stop, middle = (50 + 50 * end / reach for end in (low, high, found.value or 0.0))
    span = element("i", style=f"left:{start:.1f}%;width:{max(stop - start, 0.5):.1f}%")
    return element("span", span, element("b", style=f"left:{middle:.1f}%"), class_=f"whisker {'sure' if found.is_sure else ''}")


def sure_count(differences: Sequence[Difference]) -> tuple[int, int, int]:
    """How many are surely worse than the best, surely better, and neither."""
    words = [found.verdict for found in differences]
    worse, better = words.count("worse"), words.count("better")
    return worse, better, len(words) - worse - better
