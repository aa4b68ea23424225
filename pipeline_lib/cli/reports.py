"""What is shown of one run, and of the runs of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli.options import Log
from pipeline_lib.cli.stage import stage
from pipeline_lib.errors import UserError
from pipeline_lib.settings import stages


def report(
    contents: Annotated[str, typer.Option(help="What the report shows, JSON: name, settings, and the folders of its parts.")],
    output: Annotated[Path, typer.Option(help="The page to write.")],
    log: Log = None,
) -> None:
    """Write the report page."""
    with stage("report", output.parent, log):
        from pipeline_lib.report import ReportContents, write_report

        write_report(ReportContents.from_json(contents), output)


def compare(
    config: Annotated[str, typer.Option(help="The whole config with its sweep, as JSON or YAML text.")],
    output: Annotated[Path, typer.Option(help="The page to write; those of the runs stand in `runs/` beside it.")],
    log: Log = None,
) -> None:
    """Compare the runs of a sweep."""
    with stage("compare", output.parent, log):
        from pipeline_lib.report import ComparedRun, ReportContents, write_comparison
        from pipeline_lib.settings import parse_experiment
        from pipeline_lib.settings.load import read_text
        from pipeline_lib.settings.paths import Paths

        experiment = parse_experiment(read_text(config))
        compared = [
            ComparedRun(
                name=run.name,
                changed=run.changed,
                repeats=run.repeats,
                page=f"{run.page}index.html",
                contents=ReportContents.from_json(json.dumps(Paths(run.project).report_contents())),
            )
            for run in experiment.runs
        ]
        write_comparison(experiment.base.project, stages.science(experiment.base), compared, output)


def headline(report: Annotated[Path, typer.Argument(help="The report page.")]) -> None:
    """Print the headline numbers of a report and where it is."""
    text = report.with_name("headline.txt")
    if not text.exists():
        raise UserError(f"{text} is missing; run the workflow again to write the report")
    typer.echo(f"\n{text.read_text(encoding='utf-8').rstrip()}\nReport: {report}")
