"""The table of commands."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.artefacts import Budget, Run, Step
from pipeline_lib.artefacts.budget import installed_memory_mb
from pipeline_lib.artefacts.gpus import VISIBLE, own_gpus
from pipeline_lib.artefacts.workers import set_threads
from pipeline_lib.cli import cluster, config
from pipeline_lib.cli.stage import stage
from pipeline_lib.errors import UserError
from pipeline_lib.settings import stages

INSTALLED_MB = installed_memory_mb()

app = typer.Typer(
    help="From raw electron microscopy volumes to scored neuron segmentations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(config.app, name="config")
app.add_typer(cluster.app, name="cluster")

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


class Verifier(StrEnum):
    funlib = "funlib"


class Launcher(StrEnum):
    inline = "inline"
    submitit = "submitit"


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command("import")
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
    set_threads(threads)
    told_step = Step.parse(step)
    told = stages.load_stage(stages.ImportStage, settings, execution)
    source, run = told.volume, Run(Budget(memory_mb, threads), told_step, max_blocks)
    with stage("import", output.parent, log, step=told_step):
        if source.kind == "synthetic":
            from pipeline_lib.synthetic import generate_volume

            generate_volume(told.name, source, output.parent, run=run)
        else:
            from pipeline_lib.importing import import_volume

            import_volume(told, output.parent, run=run)


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="<model folder>/segments/<last step>/checkpoint.ckpt.")],
    train_volume: Annotated[list[Path], typer.Option(help="A volume.json to learn from; repeat for more.")],
    settings: SettingsText,
    val_volume: Annotated[list[Path] | None, typer.Option(help="A volume.json to validate on; repeat for more.")] = None,
    previous: Annotated[Path | None, typer.Option(help="Checkpoint of the segment before.")] = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
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
                threads=threads,
                processes=max(1, gpus or 0) if os.environ.get(VISIBLE) else 1,
                stop=StopRequest(ends_at_s=own_end_s(), margin_s=told.training.save_before_limit_s),
            )


@app.command()
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


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("predict", output.parent, log, step=told_step), own_gpus(gpus):
        from pipeline_lib.artefacts import read_json
        from pipeline_lib.inference import predict_volume
        from pipeline_lib.volumes import Volume

        predict_volume(
            stages.load_stage(stages.PredictStage, settings, execution),
            model.parent / read_json(model)["checkpoint"] if model.suffix == ".json" else model,
            Volume.open(volume.parent),
            output.parent,
            run=Run(Budget(memory_mb, threads), told_step, max_blocks),
        )


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("average", output.parent, log, step=told_step):
        from pipeline_lib.inference import average_predictions
        from pipeline_lib.volumes import Volume

        average_predictions(
            stages.load_stage(stages.PredictStage, settings, execution),
            [file.parent for file in prediction],
            Volume.open(volume.parent),
            output.parent,
            run=Run(Budget(memory_mb, threads), told_step, max_blocks),
        )


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("sweep", output.parent, log, step=told_step):
        from pipeline_lib.evaluation import sweep_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SweepStage, settings, execution)
        run = Run(Budget(memory_mb, threads), told_step, max_blocks)
        sweep_volume(told, prediction.parent, Volume.open(volume.parent), output.parent, run=run)


@app.command()
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


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("label", output.parent, log, step=told_step):
        from pipeline_lib.segmentation import label_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SegmentStage, settings, execution).segmentation
        run = Run(Budget(memory_mb, threads), told_step, max_blocks)
        label_volume(told, prediction.parent, Volume.open(volume.parent), output.parent, choice=choice, run=run)


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("segment", output.parent, log, step=told_step):
        from pipeline_lib.segmentation import segment_volume, segment_whole_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SegmentStage, settings, execution).segmentation
        run = Run(Budget(memory_mb, threads), told_step, max_blocks)
        source, folder = Volume.open(volume.parent), output.parent
        if components is not None:
            segment_volume(told, prediction.parent, source, folder, components=components.parent, run=run)
        else:
            segment_whole_volume(told, prediction.parent, source, folder, choice=choice, run=run)


@app.command()
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
    set_threads(threads)
    told_step = Step.parse(step)
    with stage("evaluate", output.parent, log, step=told_step):
        from pipeline_lib.evaluation import evaluate_volume
        from pipeline_lib.volumes import Volume

        evaluate_volume(
            stages.load_stage(stages.EvaluateStage, settings, execution),
            segmentation.parent,
            Volume.open(volume.parent),
            output.parent,
            run=Run(Budget(memory_mb, threads), told_step, max_blocks),
            against=against,
            verify=verify is not None,
        )


@app.command()
def report(
    contents: Annotated[str, typer.Option(help="What the report shows, JSON: name, settings, and the folders of its parts.")],
    output: Annotated[Path, typer.Option(help="The page to write.")],
    log: Log = None,
) -> None:
    """Write the report page."""
    with stage("report", output.parent, log):
        from pipeline_lib.report import ReportContents, write_report

        write_report(ReportContents.from_json(contents), output)


@app.command()
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


@app.command()
def runs(
    configs: Annotated[list[Path], typer.Argument(help="All current configs of a project; what none of them needs can go.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete what no current config needs, after listing it.")] = False,
) -> None:
    """List every result of a project: its size and age, what it was made with, and whether a config needs it."""
    from pipeline_lib.artefacts.runs import list_artefacts
    from pipeline_lib.artefacts.runs import prune as prune_artefacts
    from pipeline_lib.cli.runs import runs_table
    from pipeline_lib.settings import load_experiment

    projects = [run.project for path in configs for run in load_experiment(path).runs]
    artefacts = list_artefacts(projects)
    typer.echo(runs_table(artefacts))
    if prune:
        gone = prune_artefacts(projects)
        typer.echo(f"deleted {len(gone)} results, {sum(artefact.size_bytes for artefact in gone) / 1e6:.1f} MB")


@app.command()
def headline(report: Annotated[Path, typer.Argument(help="The report page.")]) -> None:
    """Print the headline numbers of a report and where it is."""
    text = report.with_name("headline.txt")
    if not text.exists():
        raise UserError(f"{text} is missing; run the workflow again to write the report")
    typer.echo(f"\n{text.read_text(encoding='utf-8').rstrip()}\nReport: {report}")
