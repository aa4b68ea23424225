"""The stage that trains, here or in Slurm jobs."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.artefacts.budget import Budget
from pipeline_lib.artefacts.gpus import VISIBLE, own_gpus
from pipeline_lib.artefacts.workers import set_threads
from pipeline_lib.cli.options import INSTALLED_MB, ExecutionText, GPUs, Log, MemoryMB, SettingsText, Threads
from pipeline_lib.cli.stage import stage
from pipeline_lib.settings import stages


class Launcher(StrEnum):
    inline = "inline"
    submitit = "submitit"


def train(
    output: Annotated[Path, typer.Option(help="<model folder>/segments/<last step>/checkpoint.ckpt.")],
    train_volume: Annotated[list[Path], typer.Option(help="A volume.json to learn from; repeat for more.")],
    settings: SettingsText,
    val_volume: Annotated[list[Path] | None, typer.Option(help="A volume.json to validate on; repeat for more.")] = None,
    previous: Annotated[Path | None, typer.Option(help="Checkpoint of the segment before.")] = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    gpus: GPUs = None,
    launcher: Annotated[Launcher, typer.Option(help="Here, or in Slurm jobs that go on over time limits.")] = Launcher.inline,
    resources: Annotated[str, typer.Option(help="Of such a job, JSON, named as in profiles/slurm.")] = "{}",
    log: Log = None,
) -> None:
    """Train one segment of a network."""
    set_threads(threads)
    volumes = [file.parent for file in train_volume], [file.parent for file in val_volume or []]
    with stage("train", output.parent, log) as record:
        if launcher == Launcher.submitit:
            from pipeline_lib.cluster.launch import launch

            record.jobs = launch(settings, execution, *volumes, output, previous=previous, threads=threads, resources=resources)
            return
        with own_gpus(gpus):
            from pipeline_lib.cluster.job_states import own_end_s
            from pipeline_lib.training.interruption import StopRequest
            from pipeline_lib.training.train import train_segment
            from pipeline_lib.volumes import Volume

            told = stages.load_stage(stages.TrainStage, settings, execution)
            train_segment(
                told,
                [Volume.open(folder) for folder in volumes[0]],
                [Volume.open(folder) for folder in volumes[1]],
                output.parents[2],
                end_step=int(output.parent.name),
                previous=previous,
                budget=Budget(memory_mb, threads),
                processes=max(1, gpus or 0) if os.environ.get(VISIBLE) else 1,
                stop=StopRequest(ends_at_s=own_end_s(), margin_s=told.training.save_before_limit_s),
            )
