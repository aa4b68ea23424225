"""The page that compares the runs of a sweep: one HTML file that holds all it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import write_text
from pipeline_lib.errors import UserError
from pipeline_lib.report.compared.curves import curves_section
from pipeline_lib.report.compared.differing import costs_section, differing_section
from pipeline_lib.report.compared.draws import with_intervals
from pipeline_lib.report.compared.groups import Sweep, grouped
from pipeline_lib.report.compared.headline import headline_section, headline_text
from pipeline_lib.report.compared.results import results_table
from pipeline_lib.report.compared.runs import ComparedRun, read_run
from pipeline_lib.report.compared.settings_plots import plots_section
from pipeline_lib.report.compared.sortable import SCRIPT
from pipeline_lib.report.compared.style import COMPARED_STYLE
from pipeline_lib.report.compared.tables import runs_section, settings_section
from pipeline_lib.report.compared.verdicts import Tested, differences_by_split, tests_section
from pipeline_lib.report.html import document, element
from pipeline_lib.report.style import STYLE

_SECTIONS = (
    ("result", "Result"),
    ("settings-compared", "Compared"),
    ("tests", "Tests against the best"),
    ("plots", "Scores over the settings"),
    ("curves", "Threshold curves"),
    ("runs", "Every run"),
    ("settings", "Settings that differ"),
    ("costs", "Wall time"),
)


def write_comparison(project: str, base: Mapping[str, Any], runs: Sequence[ComparedRun], output: Path) -> None:
    """Write `results.tsv`, `headline.txt` and then `output`, a page that needs no other file and no network.

    base: the science settings of the config without its sweep, as plain JSON. An artefact that is missing or cannot be read is
    a UserError that names it; a volume without truth is shown as such.
    """
    if not runs:
        raise UserError("there is no run to compare")
    sweep = grouped(project, base, with_intervals([read_run(run) for run in runs]))
    tested = differences_by_split(sweep)
    page = render_comparison(sweep, tested)
    write_text(output.with_name("results.tsv"), results_table(sweep))
    write_text(output.with_name("headline.txt"), headline_text(sweep, tested))
    write_text(output, page)


def render_comparison(sweep: Sweep, tested: Tested) -> str:
    lead = "The runs of a sweep compared: which settings segment best, how sure that is, and what the settings do."
    links = (element("a", name, href=f"#{anchor}") for anchor, name in _SECTIONS)
    body = element(
        "main",
        element("h1", sweep.project),
        element("p", lead, class_="lead"),
        element("nav", *links),
        headline_section(sweep, tested),
        settings_section(sweep),
        tests_section(sweep, tested),
        plots_section(sweep),
        curves_section(sweep),
        runs_section(sweep),
        differing_section(sweep),
        costs_section(sweep),
    )
    return document(f"{sweep.project}: comparison of runs", body, style=f"{STYLE}\n{COMPARED_STYLE}", script=SCRIPT)
