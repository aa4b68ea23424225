"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.artefacts.budget import installed_memory_mb

INSTALLED_MB = installed_memory_mb()

SettingsText = Annotated[str, typer.Option("--settings", help="Science settings of the stage, JSON.")]
ExecutionText = Annotated[
    str, typer.Option("--execution", envvar="PIPELINE_EXECUTION", help="Execution settings of the project, JSON.")
]
Log = Annotated[Path | None, typer.Option("--log", help="Copy of all output.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads to use.")]
Choice = Annotated[Path | None, typer.Option(help="The choice.json of a sweep, unless a threshold is set.")]
MemoryMB = Annotated[
    float, typer.Option("--memory-mb", min=1, help="Memory that all processes of the stage may use together; default: all.")
]
GPUs = Annotated[int | None, typer.Option("--gpus", min=0, help="How many to use, alone; default: all that are visible.")]
StepText = Annotated[
    str, typer.Option("--step", help="plan, k/n for the k-th of n jobs that share the blocks, finish/n, or all in one process.")
]
MaxBlocks = Annotated[int | None, typer.Option("--max-blocks", min=1, help="For a quick look: compute so many, and stop.")]
Output = Annotated[Path, typer.Option(help="The file that is written last; the rest of the result stands beside it.")]
VolumeFile = Annotated[Path, typer.Option("--volume", help="The volume.json of an imported volume.")]
Prediction = Annotated[Path, typer.Option(help="The complete.json of a prediction.")]
