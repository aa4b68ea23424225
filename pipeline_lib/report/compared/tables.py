"""The tables of settings and of single runs, sortable by every score."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.report.compared.groups import Group, Sweep
from pipeline_lib.report.compared.measures import ALL, MAIN, Estimate, Measure, estimate_of_run
from pipeline_lib.report.compared.runs import SPLITS, ScoredRun
from pipeline_lib.report.compared.sortable import Cell, Column, sortable
from pipeline_lib.report.compared.swept import MISSING, canonical, is_number, told, value_of
from pipeline_lib.report.html import Html, caption, details, element, joined, section
from pipeline_lib.report.units import decimal, duration
from pipeline_lib.settings.sweep import short_names

_NONE = "\u2013"
_MOST_OPEN = 60  # runs
_NOTE = """Click a column to sort. Test scores decide nothing. NERL: 1 is best; VOI in bits, as split + merge, and adapted Rand
error: 0 is best. A merger joins two neurons, a split halves one. Splits and mergers are added up over the volumes of a
split, other scores are means in which each volume counts the same."""
_RUNS_NOTE = "Small figures: the 95 % interval over skeletons drawn anew; what another training seed would change is not in it."
_GROUPS_NOTE = """Of repeated runs the mean; small figures: the standard deviation over the repetitions, and the 95 % t-interval
of their mean, which is wide for two or three."""


def settings_section(sweep: Sweep) -> Html:
    """One row for each setting: a run, or the mean of the runs that repeat it."""
    paths, columns = _setting_columns(sweep, sweep.swept)
    measures = [(split, measure) for measure in MAIN for split in SPLITS if is_scored(sweep, split, measure)]
    columns = [Column("setting" if sweep.has_repetitions else "run", text=True), *columns]
    if sweep.has_repetitions:
        columns.append(Column("runs", more_first=True))
    first = len(columns)
    columns += [_score_column(split, measure) for split, measure in measures]
    columns += [Column("threshold"), Column("training", above="wall time"), Column("all stages", above="wall time")]
    rows = []
    for group in sweep.groups:
        scores = (_estimate_cell(group.estimate(split, measure), measure, group, split) for split, measure in measures)
        settings = (_setting_cell(group.settings.get(path, MISSING), path) for path in paths)
        repeats = [Cell(len(group.runs), len(group.runs))] if sweep.has_repetitions else []
        name = Cell(named(group, sweep), group.name)
        rows.append([name, *settings, *repeats, *scores, _threshold_cell(group), *_cost_cells(group)])
    order = next((first + i for i, found in enumerate(measures) if found == ("val", sweep.decided_by)), -1)
    grid = sortable(columns, rows, best=0 if sweep.best and len(sweep.groups) > 1 else None, order=order)
    notes = [_NOTE, _GROUPS_NOTE] if sweep.has_repetitions else [_NOTE, _RUNS_NOTE]
    return section("settings-compared", "All settings" if sweep.has_repetitions else "All runs", grid, caption(" ".join(notes)))


def runs_section(sweep: Sweep) -> Html:
    """Every run with all its scores; folded where the table of settings has the main ones."""
    paths, columns = _setting_columns(sweep, (*sweep.swept, *sweep.repeated))
    measures = [(split, measure) for measure in ALL for split in SPLITS if is_scored(sweep, split, measure)]
    columns = [Column("run", text=True), *columns, *(_score_column(*found) for found in measures), Column("threshold")]
    rows = []
    for run in sweep.runs:
        settings = (_setting_cell(value_of(run.run, path, sweep.base), path) for path in paths)
        scores = (_estimate_cell(estimate_of_run(run, split, measure), measure) for split, measure in measures)
        rows.append([Cell(linked(run), run.name), *settings, *scores, _number_cell(float(run.choice["threshold"]))])
    grid = joined([sortable(columns, rows), caption(_RUNS_NOTE, " results.tsv has these scores volume by volume.")])
    if sweep.has_repetitions and len(rows) <= _MOST_OPEN:
        return section("runs", "Every run", grid)
    return section("runs", "Every run", details(f"All {len(rows)} runs with all scores", grid))


def linked(run: ScoredRun) -> Html:
    """The name with a link to the run's own page."""
    return element("div", element("a", run.name, href=run.run.page), class_="name")


def name_alone(group: Group) -> Html:
    """With a link where there is one page to link to."""
    return linked(group.runs[0]) if len(group.runs) == 1 else element("div", group.name, class_="name")


def named(group: Group, sweep: Sweep) -> Html:
    """The name with a link to the run's own page; of repeated runs a link to each."""
    if len(group.runs) == 1:
        return name_alone(group)
    links = (element("a", repetition(run, sweep, i), href=run.run.page) for i, run in enumerate(group.runs, 1))
    return joined([name_alone(group), element("small", joined(links, ", "))], "")


def repetition(run: ScoredRun, sweep: Sweep, number: int) -> str:
    """The seed or fold of a run, or else its number."""
    names = short_names(sweep.repeated)
    values = {path: value_of(run.run, path, sweep.base) for path in sweep.repeated}
    found = [
        f"{names[path]} {told(value)}" for path, value in values.items() if value is not MISSING and len(told(value)) <= 12
    ]
    return ", ".join(found) or f"run {number}"


def score(value: float | None, measure: Measure) -> str:
    """In as many digits as are read; a mean of counts has one after the point."""
    whole = value is not None and measure.counted and value == int(value)
    return decimal(value, 0 if whole else measure.digits)


def _setting_columns(sweep: Sweep, paths: Sequence[str]) -> tuple[list[str], list[Column]]:
    names = short_names(paths)
    values = {path: [value_of(run.run, path, sweep.base) for run in sweep.runs] for path in paths}
    return list(paths), [
        Column(names[path], text=not all(is_number(value) or value is MISSING for value in values[path])) for path in paths
    ]


def _setting_cell(value: object, path: str) -> Cell:
    shown = told(value)
    short = shown if len(shown) <= 40 else element("span", f"{shown[:37]}...", title=shown)
    if value is MISSING:
        return Cell(short, None)
    return Cell(short, float(value)) if isinstance(value, int | float) and is_number(value) else Cell(short, canonical(value))


def _score_column(split: str, measure: Measure) -> Column:
    return Column(measure.title, above=split, more_first=measure.more_is_better)


def is_scored(sweep: Sweep, split: str, measure: Measure) -> bool:
    return any(measure.of(volume) is not None for run in sweep.runs for volume in run.of_split(split))


def _estimate_cell(found: Estimate | None, measure: Measure, group: Group | None = None, split: str = "") -> Cell:
    if found is None:
        n_scored = len(group.values(split, measure)) if group else 0
        why = [element("small", f"{n_scored} of {len(group.runs)} runs scored")] if group and n_scored else []
        return Cell(joined([_NONE, *why], ""), None)
    below = []
    if found.sd is not None:
        below.append(element("small", f"sd {decimal(found.sd, measure.digits)}"))
    if found.ci95 is not None:
        below.append(element("small", measure.interval(found.ci95)))
    return Cell(joined([score(found.value, measure), *below], ""), found.value)


def _threshold_cell(group: Group) -> Cell:
    found = sorted(float(run.choice["threshold"]) for run in group.runs)
    shown = f"{found[0]:g}" if found[0] == found[-1] else f"{found[0]:g} to {found[-1]:g}"
    return Cell(shown, sum(found) / len(found))


def _number_cell(value: float) -> Cell:
    return Cell(f"{value:g}", value)


def _cost_cells(group: Group) -> list[Cell]:
    found = (group.wall_s("train"), group.wall_s())
    return [Cell(_NONE if seconds is None else duration(seconds), seconds) for seconds in found]
