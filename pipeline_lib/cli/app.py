"""The table of commands."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli import config
from pipeline_lib.cli.stage import set_threads, stage
from pipeline_lib.errors import UserError
from pipeline_lib.settings import stages

app = typer.Typer(
    help="From raw electron microscopy volumes to scored neuron segmentations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(config.app, name="config")

SettingsText = Annotated[str, typer.Option("--settings", help="Science settings of the stage, JSON.")]
ExecutionText = Annotated[
    str, typer.Option("--execution", envvar="PIPELINE_EXECUTION", help="Execution settings of the project, JSON.")
]
Log = Annotated[Path | None, typer.Option("--log", help="Copy of all output.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads to use.")]
Output = Annotated[Path, typer.Option(help="The file that is written last; the rest of the result stands beside it.")]
VolumeFile = Annotated[Path, typer.Option("--volume", help="The volume.json of an imported volume.")]
Prediction = Annotated[Path, typer.Option(help="The complete.json of a prediction.")]


class Verifier(StrEnum):
    funlib = "funlib"


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command("import")
def import_(output: Output, settings: SettingsText, execution: ExecutionText = "{}", log: Log = None) -> None:
    """Convert one volume: image, labels, mask and skeletons."""
    with stage("import", output.parent, log):
        told = stages.load_stage(stages.ImportStage, settings, execution)
        if told.volume.kind == "synthetic":
            from pipeline_lib.synthetic import generate_volume

            generate_volume(told.name, told.volume, output.parent)
        else:
            from pipeline_lib.importing import import_volume

            import_volume(told, output.parent)


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="<model folder>/segments/<last step>/checkpoint.ckpt.")],
    train_volume: Annotated[list[Path], typer.Option(help="A volume.json to learn from; repeat for more.")],
    settings: SettingsText,
    val_volume: Annotated[list[Path] | None, typer.Option(help="A volume.json to validate on; repeat for more.")] = None,
    previous: Annotated[Path | None, typer.Option(help="Checkpoint of the segment before.")] = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    log: Log = None,
) -> None:
    """Train one segment of a network."""
    set_threads(threads)
    with stage("train", output.parent, log):
        from pipeline_lib.training.train import train_segment
        from pipeline_lib.volumes import Volume

        train_segment(
            stages.load_stage(stages.TrainStage, settings, execution),
            [Volume.open(file.parent) for file in train_volume],
            [Volume.open(file.parent) for file in val_volume or []],
            output.parents[2],
            end_step=int(output.parent.name),
            previous=previous,
            threads=threads,
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
    log: Log = None,
) -> None:
    """Predict the affinities of a volume, block by block."""
    set_threads(threads)
    with stage("predict", output.parent, log):
        from pipeline_lib.artefacts import read_json
        from pipeline_lib.inference import predict_volume
        from pipeline_lib.volumes import Volume

        checkpoint = model.parent / read_json(model)["checkpoint"] if model.suffix == ".json" else model
        told = stages.load_stage(stages.PredictStage, settings, execution)
        predict_volume(told, checkpoint, Volume.open(volume.parent), output.parent, threads=threads)


@app.command()
def sweep(
    prediction: Prediction,
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    log: Log = None,
) -> None:
    """Score every threshold on a val volume."""
    set_threads(threads)
    with stage("sweep", output.parent, log):
        from pipeline_lib.evaluation import sweep_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SweepStage, settings, execution)
        sweep_volume(told, prediction.parent, Volume.open(volume.parent), output.parent, threads=threads)


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
        write_json(output, choose(curve, by=told.sweep.choose_by))


@app.command()
def segment(
    prediction: Prediction,
    volume: VolumeFile,
    output: Output,
    settings: SettingsText,
    choice: Annotated[Path | None, typer.Option(help="The choice.json of a sweep, unless a threshold is set.")] = None,
    execution: ExecutionText = "{}",
    threads: Threads = 1,
    log: Log = None,
) -> None:
    """Turn affinities into segments."""
    set_threads(threads)
    with stage("segment", output.parent, log):
        from pipeline_lib.segmentation import segment_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.SegmentStage, settings, execution)
        segment_volume(told.segmentation, prediction.parent, Volume.open(volume.parent), output.parent, choice=choice)


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
    log: Log = None,
) -> None:
    """Score a segmentation against skeletons and labels."""
    with stage("evaluate", output.parent, log):
        from pipeline_lib.evaluation import evaluate_volume
        from pipeline_lib.volumes import Volume

        told = stages.load_stage(stages.EvaluateStage, settings, execution)
        evaluate_volume(
            told, segmentation.parent, Volume.open(volume.parent), output.parent, against=against, verify=verify is not None
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
def runs(
    configs: Annotated[list[Path], typer.Argument(help="All current configs of a project; what none of them needs can go.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete what no current config needs, after listing it.")] = False,
) -> None:
    """List every result of a project: its size and age, what it was made with, and whether a config needs it."""
    from pipeline_lib.artefacts.runs import list_artefacts
    from pipeline_lib.artefacts.runs import prune as prune_artefacts
    from pipeline_lib.cli.runs import runs_table
    from pipeline_lib.settings import load_project

    projects = [load_project(path, []) for path in configs]
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
