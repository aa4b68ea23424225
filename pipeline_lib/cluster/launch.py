"""The launcher submitit of the stage train: from its options to jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.cluster.following import train_by_jobs
from pipeline_lib.cluster.submission import JobRequest, Submission
from pipeline_lib.cluster.submitted import SubmittedTraining
from pipeline_lib.settings.stages import TrainStage, load_stage
from pipeline_lib.training.identity import settings_digest
from pipeline_lib.volumes import Volume


def launch(
    settings: str,
    execution: str,
    train_volumes: Sequence[Path],
    val_volumes: Sequence[Path],
    checkpoint: Path,
    *,
    previous: Path | None,
    threads: int,
    resources: str,
) -> list[dict[str, Any]]:
    """Train one segment in Slurm jobs up to `<model folder>/segments/<step>/checkpoint.ckpt`; what each start of them cost.

    settings, execution, resources: JSON. The volumes are folders. threads: of each process. Raises UserError.
    """
    told = load_stage(TrainStage, settings, execution)
    request = JobRequest.of_resources(resources, threads=threads)
    folder = checkpoint.resolve().parent
    training = SubmittedTraining(
        settings=settings,
        execution=execution,
        train_volumes=tuple(str(path.resolve()) for path in train_volumes),
        val_volumes=tuple(str(path.resolve()) for path in val_volumes),
        model_folder=str(folder.parents[1]),
        end_step=int(folder.name),
        previous=str(previous.resolve()) if previous is not None else None,
        threads=request.processors,
        processes=request.processes,
        folder=str(folder / "submitted"),
        digest=settings_digest(told, *([Volume.open(path) for path in paths] for paths in (train_volumes, val_volumes))),
    )
    submission = Submission(training, request, told.training.save_before_limit_s)
    return train_by_jobs(
        submission, folder / checkpoint.name, poll_s=told.training.job_poll_s, retries=told.training.job_retries
    )
