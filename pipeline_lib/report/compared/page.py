"""The page that compares the runs of a sweep: one HTML file that holds all it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import write_text
from pipeline_lib.errors import UserError
from pipeline_lib.report.compared.groups import Sweep, grouped
from pipeline_lib.report.compared.headline import headline_text
from pipeline_lib.report.compared.measures import MAIN
from pipeline_lib.report.compared.results import results_table
from pipeline_lib.report.compared.runs import ComparedRun, read_run
from pipeline_lib.report.html import Html, document, element, section, table
from pipeline_lib.report.style import STYLE
from pipeline_lib.report.units import decimal


def write_comparison(project: str, base: Mapping[str, Any], runs: Sequence[ComparedRun], output: Path) -> None:
    """Write `results.tsv`, `headline.txt` and then `output`, a page that needs no other file and no network.

    base: the science settings of the config without its sweep, as plain JSON. An artefact that is missing or cannot be read is
    a UserError that names it; a volume without truth is shown as such.
    """
    if not runs:
        raise UserError("there is no run to compare")
    sweep = grouped(project, base, [read_run(run) for run in runs])
    page = render_comparison(sweep)
    write_text(output.with_name("results.tsv"), results_table(sweep))
    write_text(output.with_name("headline.txt"), headline_text(sweep))
    write_text(output, page)


def render_comparison(sweep: Sweep) -> str:
    body = element("main", element("h1", sweep.project), element("pre", headline_text(sweep)), _runs_section(sweep))
    return document(f"{sweep.project}: comparison of runs", body, style=STYLE)


def _runs_section(sweep: Sweep) -> Html:
    rows = []
    for group in sweep.groups:
        for run in group.runs:
            cells: list[object] = [element("a", run.name, href=run.run.page)]
            for split in ("val", "test"):
                for measure in MAIN:
                    values = [value for volume in run.of_split(split) if (value := measure.of(volume)) is not None]
                    cells.append(decimal(sum(values) / len(values) if values else None, 3))
            rows.append(cells)
    header = ("run", *(f"{split} {measure.title}" for split in ("val", "test") for measure in MAIN))
    return section("runs", "Runs", table(header, rows))
