"""The table of commands."""

from __future__ import annotations

import sys

import typer

from pipeline_lib.cli import blocks, choices, cluster, config, reports, training
from pipeline_lib.cli.runs import runs
from pipeline_lib.errors import UserError

app = typer.Typer(
    help="From raw electron microscopy volumes to scored neuron segmentations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(config.app, name="config")
app.add_typer(cluster.app, name="cluster")
app.command("import")(blocks.import_)
for command in (
    training.train,
    choices.choose_checkpoint,
    blocks.predict,
    blocks.average,
    blocks.sweep,
    choices.choose_threshold,
    blocks.label,
    blocks.segment,
    blocks.evaluate,
    reports.report,
    reports.compare,
    runs,
    reports.headline,
):
    app.command()(command)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
