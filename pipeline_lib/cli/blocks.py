"""The stages that work block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.artefacts import Budget, Run, Step
from pipeline_lib.artefacts.gpus import own_gpus
from pipeline_lib.artefacts.workers import set_threads
from pipeline_lib.cli.options import (
    INSTALLED_MB,
    Choice,
    ExecutionText,
    GPUs,
    Log,
    MaxBlocks,
    MemoryMB,
    Output,
    Prediction,
    SettingsText,
    StepText,
    Threads,
    VolumeFile,
)
from pipeline_lib.cli.stage import stage
from pipeline_lib.settings import stages


class Verifier(StrEnum):
    funlib = "funlib"


def import_(
    output: Output,
    settings: SettingsText,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Convert one volume: image, labels, mask and skeletons."""
    told = stages.load_stage(stages.ImportStage, settings, execution)
    source = told.volume
    with _block_stage("import", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        if source.kind == "synthetic":
            from pipeline_lib.synthetic import generate_volume

            generate_volume(told.name, source, output.parent, run=run)
        else:
            from pipeline_lib.importing import import_volume

            import_volume(told, output.parent, run=run)


def predict(
    model: Annotated[Path, typer.Option(help="A checkpoint, or the best.json that names one.")],
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    gpus: GPUs = None,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Predict the affinities of a volume, block by block."""
    with (
        _block_stage("predict", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run,
        own_gpus(gpus),
    ):
        from pipeline_lib.artefacts import read_json
        from pipeline_lib.inference import predict_volume
        from pipeline_lib.volumes import Volume

        predict_volume(
            stages.load_stage(stages.PredictStage, settings, execution),
            model.parent / read_json(model)["checkpoint"] if model.suffix == ".json" else model,
            Volume.open(volume.parent),
            output.parent,
            run=run,
        )


def average(
    prediction: Annotated[list[Path], typer.Option(help="The complete.json of a prediction; repeat for all.")],
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Average the affinities that several networks predict of a volume, block by block."""
    with _block_stage("average", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        from pipeline_lib.inference import average_predictions
        from pipeline_lib.volumes import Volume

        average_predictions(
            stages.load_stage(stages.PredictStage, settings, execution),
            [file.parent for file in prediction],
            Volume.open(volume.parent),
            output.parent,
            run=run,
        )


def sweep(
    prediction: Prediction,
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Score every threshold on a val volume."""
    with _block_stage("sweep", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        from pipeline_lib.evaluation import sweep_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SweepStage, settings, execution)
        sweep_volume(told, prediction.parent, Volume.open(volume.parent), output.parent, run=run)


def label(
    prediction: Prediction,
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    choice: Choice = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Label the components of each block, and join those of neighbouring blocks."""
    with _block_stage("label", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        from pipeline_lib.segmentation import label_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SegmentStage, settings, execution).segmentation
        label_volume(told, prediction.parent, Volume.open(volume.parent), output.parent, choice=choice, run=run)


def segment(
    prediction: Prediction,
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    components: Annotated[Path | None, typer.Option(help="The complete.json of the stage label.")] = None,
    choice: Choice = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Write the segments: those that label has joined, or without them those of the whole volume in memory."""
    with _block_stage("segment", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        from pipeline_lib.segmentation import segment_volume, segment_whole_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SegmentStage, settings, execution).segmentation
        source, folder = Volume.open(volume.parent), output.parent
        if components is not None:
            segment_volume(told, prediction.parent, source, folder, components=components.parent, run=run)
        else:
            segment_whole_volume(told, prediction.parent, source, folder, choice=choice, run=run)


def evaluate(
    segmentation: Annotated[Path, typer.Option(help="The complete.json of a segmentation.")],
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    against: Annotated[
        Path | None, typer.Option(help="Folder of another evaluation of the same volume: is this segmentation better?")
    ] = None,
    verify: Annotated[Verifier | None, typer.Option(help="Compare the scores with those of another library.")] = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    memory_mb: MemoryMB = INSTALLED_MB,
    step: StepText = "all",
    max_blocks: MaxBlocks = None,
    log: Log = None,
) -> None:
    """Score a segmentation against skeletons and labels, block by block."""
    with _block_stage("evaluate", output, log, threads=threads, memory_mb=memory_mb, step=step, max_blocks=max_blocks) as run:
        from pipeline_lib.evaluation import evaluate_volume
        from pipeline_lib.volumes import Volume

        evaluate_volume(
            stages.load_stage(stages.EvaluateStage, settings, execution),
            segmentation.parent,
            Volume.open(volume.parent),
            output.parent,
            run=run,
            against=against,
            verify=verify is not None,
        )


@contextmanager
def _block_stage(
    name: str, output: Path, log: Path | None, *, threads: int, memory_mb: float, step: str, max_blocks: int | None
) -> Iterator[Run]:
    """`stage` for the step that is asked for, and how that is to be run."""
    set_threads(threads)
    told = Step.parse(step)
    with stage(name, output.parent, log, step=told):
        yield Run(Budget(memory_mb, threads), told, max_blocks)
