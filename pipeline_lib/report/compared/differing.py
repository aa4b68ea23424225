"""In which settings each run differs from the config without its sweep, and what the runs cost."""

from __future__ import annotations

import json

from pipeline_lib.report.compared.groups import Sweep
from pipeline_lib.report.compared.swept import canonical, differences, told
from pipeline_lib.report.compared.tables import linked
from pipeline_lib.report.html import Html, caption, details, element, joined, section, table
from pipeline_lib.report.units import duration

_MOST_OPEN = 30  # runs
_LONGEST = 60
_NOTE = "Above all runs the value of the config without its sweep; a dot where a run has that value."
_COSTS_NOTE = """A stage that several runs share was computed once and counts once here, and in each of these runs in the table
above. Measured by each stage itself; one that went on after an interruption counts from there."""


def differing_section(sweep: Sweep) -> Html:
    """One row per run, one column per setting that any run has other than the base."""
    found = differences([run.run for run in sweep.runs], sweep.base)
    if not found:
        return section("settings", "Settings that differ", element("p", "No run differs from the config without its sweep."))
    header = ("run", *(element("code", path) for path in found))
    base = [element("b", "base"), *(_short(before) for before, _ in found.values())]
    rows = []
    for number, run in enumerate(sweep.runs):
        cells = []
        for before, values in found.values():
            same = canonical(values[number]) == canonical(before)
            cells.append(element("span", "\u00b7", class_="quiet") if same else _short(values[number]))
        rows.append([linked(run), *cells])
    text = range(len(header))
    parts = [table(header, [base, *rows[:_MOST_OPEN]], text=text, class_="differing")]
    if rows[_MOST_OPEN:]:
        more = table(header, [base, *rows[_MOST_OPEN:]], text=text, class_="differing")
        parts.append(details(f"{len(rows) - _MOST_OPEN} more", more))
    return section("settings", "Settings that differ", *parts, caption(_NOTE))


def costs_section(sweep: Sweep) -> Html:
    """What the whole sweep took, each execution of a stage once."""
    once = {(stage, json.dumps(record, sort_keys=True)): record for run in sweep.runs for stage, record in run.stages}
    if not once:
        return section("costs", "Wall time", element("p", "Not recorded."))
    training = sum(record["wall_s"] for (stage, _), record in once.items() if stage == "train")
    total = sum(record["wall_s"] for record in once.values())
    sentence = f"All runs together took {duration(total)} of wall time, {duration(training)} of it for training."
    return section("costs", "Wall time", joined([element("p", sentence), caption(_COSTS_NOTE)]))


def _short(value: object) -> object:
    shown = told(value)
    return shown if len(shown) <= _LONGEST else element("span", f"{shown[: _LONGEST - 3]}...", title=shown)
