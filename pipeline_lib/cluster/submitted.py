"""What a Slurm job of the launcher submitit does: train, save before its time is up, and requeue itself."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.artefacts.budget import Budget
from pipeline_lib.artefacts.workers import set_threads
from pipeline_lib.cluster import slurm
from pipeline_lib.cluster.attempts import COMPLETED, MISTAKE, Attempt
from pipeline_lib.cluster.job_states import own_end_s
from pipeline_lib.errors import UserError
from pipeline_lib.settings.stages import TrainStage, load_stage
from pipeline_lib.training.interruption import TIME_LIMIT, StoppedError, StopRequest
from pipeline_lib.volumes import Volume

LOCK_PATIENCE_S = 300.0  # what a job holds whose node is lost is let go late
_FIRST_PORT, _PORTS = 20000, 12000  # below those that systems give away


@dataclass(frozen=True)
class SubmittedTraining:
    """One segment of training, called by each task of a job. Plain values and absolute paths: submitit keeps it in a file.

    settings, execution: as for the command `train`. processes: how many tasks there are. threads: of each.
    folder: where attempts are told of. digest: of what decides the weights.
    """

    settings: str
    execution: str
    train_volumes: tuple[str, ...]
    val_volumes: tuple[str, ...]
    model_folder: str
    end_step: int
    previous: str | None
    threads: int
    processes: int
    folder: str
    digest: str

    def __call__(self) -> None:
        start_s, folder = time.monotonic(), Path(self.folder)
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        attempt = Attempt.of_this_job(self.digest, log_of(folder, os.environ["SLURM_JOB_ID"]))
        settings = load_stage(TrainStage, self.settings, self.execution)
        with StopRequest(margin_s=settings.training.save_before_limit_s) as stop:
            if rank == 0:
                attempt.write(folder)
                stop.ends_at_s = own_end_s()
            try:
                self._train(settings, stop)
            except StoppedError as stopped:
                print(f"train: {stopped}", file=sys.stderr, flush=True)
                if rank == 0:
                    attempt.end(folder, stopped.reason, start_s, str(stopped))
                    if stopped.reason == TIME_LIMIT:
                        requeue(attempt.job)
                raise SystemExit(0 if stopped.reason == TIME_LIMIT else 1) from None
            except UserError as error:
                print(f"error: train: {error}", file=sys.stderr, flush=True)
                attempt.end(folder, MISTAKE, start_s, str(error))
                raise SystemExit(2) from None
            if rank == 0:
                attempt.end(folder, COMPLETED, start_s)

    def _train(self, settings: TrainStage, stop: StopRequest) -> None:
        set_threads(self.threads)
        tell_processes()
        from pipeline_lib.training.train import train_segment

        train_segment(
            settings,
            [Volume.open(Path(folder)) for folder in self.train_volumes],
            [Volume.open(Path(folder)) for folder in self.val_volumes],
            Path(self.model_folder),
            end_step=self.end_step,
            previous=Path(self.previous) if self.previous else None,
            budget=Budget(math.inf, self.threads),  # a job that runs out of memory is followed by one with more
            processes=self.processes,
            stop=stop,
            patience_s=LOCK_PATIENCE_S,
        )


def log_of(folder: Path, job: str) -> Path:
    """The log of the first task of a job, all its attempts in one; as submitit names it."""
    return folder / f"{job}_0_log.out"


def requeue(job: str) -> None:
    """Ask Slurm to start this job again; where it refuses, the process on the login node submits another one."""
    try:
        slurm.ask("scontrol", "requeue", job)
    except UserError as error:
        print(f"train: cannot be requeued: {error}", file=sys.stderr, flush=True)


def tell_processes() -> None:
    """The variables that training finds its other processes by, from those of Slurm; srun calls from the first node."""
    job, restart = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    names = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
    os.environ.update({name: os.environ[told] for name, told in names.items()})
    os.environ["LOCAL_WORLD_SIZE"] = os.environ.get("SLURM_NTASKS_PER_NODE", "1")
    os.environ["MASTER_ADDR"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    os.environ["MASTER_PORT"] = str(_FIRST_PORT + (7 * job + restart) % _PORTS)
