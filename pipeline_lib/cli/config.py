"""`config check`, `config show` and `config reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from pipeline_lib.settings import load_experiment
from pipeline_lib.settings.reference import settings_reference
from pipeline_lib.settings.sources import check_sources

app = typer.Typer(help="Check and show settings.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A config file, YAML.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value, such as training.steps=100; repeat for more.")]


@app.command()
def check(file: File, overrides: Overrides = None) -> None:
    """Say whether a config is sound, or what is wrong with it."""
    experiment = load_experiment(file, overrides or [])
    for run in experiment.runs:
        check_sources(run.project)
    project = experiment.base
    volumes = ", ".join(f"{name} ({volume.split})" for name, volume in project.volumes.items())
    typer.echo(f"{file} is sound: project {project.project}, volumes {volumes}")
    if experiment.is_sweep:
        typer.echo("\n".join([experiment.summary(), *(f"  {run.name}" for run in experiment.runs)]))


@app.command()
def show(file: File, overrides: Overrides = None) -> None:
    """Print the complete settings, defaults included; of a sweep those that its runs start from."""
    project = load_experiment(file, overrides or []).base
    typer.echo(yaml.safe_dump(project.model_dump(mode="json"), sort_keys=False).rstrip())


@app.command()
def reference() -> None:
    """Print the table of all settings (docs/settings.md)."""
    typer.echo(settings_reference().rstrip())
