"""The result of a sweep: which setting is the best on val, by which score, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.report.compared.groups import Group, Sweep, tolerances
from pipeline_lib.report.compared.measures import MAIN, MERGE_ERRORS, NERL, SPLIT_ERRORS, Estimate, Measure
from pipeline_lib.report.compared.runs import SPLITS
from pipeline_lib.report.compared.tables import named, score
from pipeline_lib.report.compared.verdicts import Tested, sure_count
from pipeline_lib.report.html import Html, element, joined, section
from pipeline_lib.report.units import decimal, tolerance

_MOST_NAMED = 5
_NOT_SCORED = "No val volume is scored, and test scores decide nothing: no setting is called the best."


def headline_text(sweep: Sweep, tested: Tested) -> str:
    """Plain lines for a terminal."""
    best, measure = sweep.best, sweep.decided_by
    lines = [f"{sweep.project}: {_numbers(sweep)}"]
    if best is None or measure is None:
        return "\n".join([*lines, f"  {_NOT_SCORED}"]) + "\n"
    lines.append(f"  best on val by {_titled(sweep, measure)}: {best.name}")
    for split in SPLITS:
        told = [f"{one.title} {_estimate(found, one)}" for one in _told(measure) if (found := best.estimate(split, one))]
        lines.append(f"  {split}: {', '.join(told) or _why_unscored(sweep, split)}")
    lines += [f"  {sentence}" for sentence in certainty(sweep, tested)]
    lines += [f"  {sentence}" for sentence in (*remarks(sweep), *unscored(sweep))]
    return "\n".join(lines) + "\n"


def headline_section(sweep: Sweep, tested: Tested) -> Html:
    best, measure = sweep.best, sweep.decided_by
    parts: list[object] = []
    if best is None or measure is None:
        parts.append(element("p", _NOT_SCORED, class_="lead"))
    else:
        what = f"Best of {len(sweep.groups)} settings" if len(sweep.groups) > 1 else "The only setting"
        lead = [f"{what} on val, by {_titled(sweep, measure)} ({measure.direction}):", element("strong", named(best, sweep))]
        parts.append(element("div", *lead, class_="winner"))
        parts += [_cards(sweep, best, split) for split in SPLITS]
        parts += [element("p", sentence) for sentence in certainty(sweep, tested)]
    parts += [element("p", sentence) for sentence in unscored(sweep)]
    parts += [element("p", sentence, class_="warning") for sentence in remarks(sweep)]
    return section("result", "Result", *parts)


def certainty(sweep: Sweep, tested: Tested) -> list[str]:
    """How many settings the tests tell from the best, on val and on test, in a sentence each."""
    best, measure = sweep.best, sweep.decided_by
    if best is None or measure is None or len(sweep.groups) < 2:
        return []
    told = []
    for split in SPLITS:
        differences = tested.get(split, {}).get(measure)
        if not differences:
            continue
        worse, better, unsure = sure_count(differences)
        called = f"the paired tests call {worse} of {len(differences)} other settings worse, {better} better"
        told.append(f"On {split} {called}; {unsure} they cannot tell from it.")
        alike = [found.group.name for found in differences if not found.is_sure]
        if split == "val" and alike:
            more = f" and {len(alike) - _MOST_NAMED} more" if len(alike) > _MOST_NAMED else ""
            told.append(f"It may be no better than {'; '.join(alike[:_MOST_NAMED])}{more}.")
    return told or [f"{measure.title} is not tested: the tests draw skeletons anew."]


def remarks(sweep: Sweep) -> list[str]:
    """What a reader must know before trusting the ranking."""
    told = []
    if len(tolerances(sweep.runs)) > 1:
        told.append(
            "The runs are scored at several merge tolerances: NERL cannot be compared between them and does not decide."
        )
    if sweep.decided_by is not None:
        without = [group.name for group in sweep.groups if group.estimate("val", sweep.decided_by) is None]
        if without:
            told.append(f"Without {sweep.decided_by.title} on val, and so not ranked: {_some(without)}.")
    for split in SPLITS:
        volumes = [{v.name for run in group.runs for v in run.of_split(split) if v.metrics} for group in sweep.groups]
        if any(names != volumes[0] for names in volumes):
            told.append(f"Not all are scored on the same {split} volumes: their means cannot be compared.")
    at_end = [run.name for run in sweep.runs if run.choice.get("warning")]
    if at_end:
        told.append(f"The best threshold lies at the end of the range that was tried in {_some(at_end)}.")
    return told


def unscored(sweep: Sweep) -> list[str]:
    """The volumes without truth."""
    found = {(v.name, split): None for split in SPLITS for run in sweep.runs for v in run.of_split(split) if v.metrics is None}
    names = [f"{name} ({split})" for name, split in found]
    return [f"Segmented, but not scored, as there is no truth: {_some(names)}."] if names else []


def _told(measure: Measure) -> list[Measure]:
    """The deciding score first; mergers beside splits."""
    return list(dict.fromkeys([measure, NERL, SPLIT_ERRORS, MERGE_ERRORS]))


def _titled(sweep: Sweep, measure: Measure) -> str:
    if measure != NERL:
        return measure.title
    return f"{measure.title} at merge tolerance {', '.join(map(tolerance, tolerances(sweep.runs)))}"


def _numbers(sweep: Sweep) -> str:
    n_runs, n_groups = len(sweep.runs), len(sweep.groups)
    runs = f"{n_runs} run{'s' if n_runs != 1 else ''}"
    return f"{runs} of {n_groups} setting{'s' if n_groups != 1 else ''}" if sweep.has_repetitions else runs


def _estimate(found: Estimate, measure: Measure) -> str:
    value = score(found.value, measure)
    if measure.counted or found.ci95 is None:
        return value
    kind = f"mean of {found.n} runs, 95 % t-interval" if found.n > 1 else "95 % interval"
    return f"{value} ({kind} {measure.interval(found.ci95)})"


def _cards(sweep: Sweep, best: Group, split: str) -> Html:
    cards = []
    for measure in MAIN:
        found = best.estimate(split, measure)
        if found is not None and measure not in (SPLIT_ERRORS, MERGE_ERRORS):
            cards.append(_card(measure.title, score(found.value, measure), _sure(found, measure)))
    errors = [(best.estimate(split, measure), measure) for measure in (SPLIT_ERRORS, MERGE_ERRORS)]
    told = [(score(found.value, one), one.title[: -1 if found.value == 1 else None]) for found, one in errors if found]
    if told:
        value = joined([joined([n, element("small", f" {noun}")], "") for n, noun in told], Html("<br>"))
        cards.append(_card("Errors", value, ""))
    used = element("span", "used to choose" if split == "val" else "decides nothing", class_="tag")
    names = _some([volume.name for volume in best.runs[0].of_split(split) if volume.metrics])
    title = element("h3", f"{split.capitalize()}{f': {names}' if names else ''} ", used)
    return joined([title, element("div", *cards, class_="cards") if cards else element("p", _why_unscored(sweep, split))])


def _why_unscored(sweep: Sweep, split: str) -> str:
    return "not scored, no truth" if any(run.of_split(split) for run in sweep.runs) else f"there is no {split} volume"


def _sure(found: Estimate, measure: Measure) -> Html:
    parts = [f"mean of {found.n} runs, sd\u00a0{decimal(found.sd, 3)}"] if found.sd is not None else []
    if found.ci95:
        ends = measure.interval(found.ci95).replace(" ", "\u00a0")
        parts.append(f"95 % {'t-' if found.n > 1 else ''}interval {ends}")
    return joined(parts, Html("<br>"))


def _card(name: str, value: object, note: object) -> Html:
    parts = (("name", name), ("value", value), ("note", note))
    return element("div", *(element("div", content, class_=kind) for kind, content in parts), class_="card")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
