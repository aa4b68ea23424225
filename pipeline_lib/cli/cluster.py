"""`cluster check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.errors import UserError

app = typer.Typer(help="Run on a Slurm cluster.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, also with a single command."""


@app.command()
def check(
    profile: Annotated[Path, typer.Option(help="Folder of the profile.")],
    configfile: Annotated[Path, typer.Option(help="A config file, YAML.")],
    overrides: Annotated[list[str] | None, typer.Option("--config", help="As for the workflow; repeat for more.")] = None,
) -> None:
    """Say which jobs of a workflow the cluster would never start; submits nothing."""
    from pipeline_lib.cluster.check import never_start, refusal
    from pipeline_lib.cluster.offer import read_offer
    from pipeline_lib.cluster.requests import plan

    offer = read_offer()
    planned = plan(profile, configfile, overrides or [])
    lines = never_start(planned, offer, ask=refusal)
    for line in lines:
        typer.echo(line)
    if lines:
        raise UserError(f"{profile} asks for what this cluster does not have; change it there")
    rules = len({request.rule for request in planned.requests})
    typer.echo(f"the jobs of all {rules} rules can start")
