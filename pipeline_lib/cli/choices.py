"""The choices that are made on val volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli.options import ExecutionText, Log, SettingsText
from pipeline_lib.cli.stage import stage
from pipeline_lib.settings import stages


def choose_checkpoint(
    checkpoint: Annotated[list[Path], typer.Option(help="Checkpoint of a segment; repeat for all.")],
    output: Annotated[Path, typer.Option(help="The file best.json to write.")],
    log: Log = None,
) -> None:
    """Choose the checkpoint with the lowest validation loss."""
    with stage("choose-checkpoint", output.parent / "choice", log):
        from pipeline_lib.artefacts import write_json
        from pipeline_lib.training.select import select_checkpoint

        write_json(output, select_checkpoint(checkpoint, "best"))


def choose_threshold(
    curve: Annotated[list[Path], typer.Option(help="Curve of a val volume; repeat for all.")],
    output: Annotated[Path, typer.Option(help="The file choice.json to write.")],
    settings: SettingsText,
    execution: ExecutionText = "{}",
    log: Log = None,
) -> None:
    """Choose the threshold that is best over the val volumes."""
    with stage("choose-threshold", output.parent / "choice", log):
        from pipeline_lib.artefacts import write_json
        from pipeline_lib.evaluation import choose_threshold as choose

        told = stages.load_stage(stages.SweepStage, settings, execution)
        write_json(output, choose(curve, by=told.choice.by))
