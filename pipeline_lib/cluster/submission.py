"""A Slurm job for one segment of training, written and submitted by submitit.

Of submitit this uses the script (srun with a task for each GPU), and that a task calls a function with its arguments. What is
not used is its handling of signals, time limits and states: it saves inside the handler, takes jobs below ten minutes for timed
out at once, and waits for ever for a job that was preempted for good or that died where there is no accounting.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import write_json
from pipeline_lib.cluster import slurm
from pipeline_lib.cluster.job_states import state_of
from pipeline_lib.cluster.submitted import SubmittedTraining, log_of
from pipeline_lib.errors import UserError

_ENDING_S = 300.0
_ASK_AGAIN_S = 5.0


@dataclass(frozen=True)
class JobRequest:
    """What a job asks for. gpus, tasks and memory_mb: on each node; processors: of each task. options: of sbatch."""

    partition: str | None = None
    account: str | None = None
    runtime_min: int | None = None
    nodes: int = 1
    gpus: int = 0
    processors: int = 1
    memory_mb: int | None = None
    options: Mapping[str, str | bool] | None = None

    @classmethod
    def of_resources(cls, text: str, *, threads: int) -> JobRequest:
        """Of a rule's resources as JSON, named as for Snakemake's plugin for Slurm; those of no meaning here are left aside."""
        try:
            told: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise UserError(f"the resources of a job are JSON; {error}") from error
        gpus = int(told.get("gpu") or 0)
        options = {name: told[name] for name in ("qos", "constraint", "reservation", "clusters") if told.get(name)}
        if told.get("gpu_model") and gpus:
            options["gres"] = f"gpu:{told['gpu_model']}:{gpus}"
        return cls(
            partition=told.get("slurm_partition"),
            account=told.get("slurm_account"),
            runtime_min=int(told["runtime"]) if told.get("runtime") else None,
            nodes=int(told.get("nodes") or 1),
            gpus=gpus,
            processors=int(told.get("cpus_per_task") or threads),
            memory_mb=int(told["mem_mb"]) if told.get("mem_mb") else None,
            options={**options, **_options(str(told.get("slurm_extra") or ""))},
        )

    @property
    def tasks_per_node(self) -> int:
        return max(1, self.gpus)

    @property
    def processes(self) -> int:
        return self.nodes * self.tasks_per_node


def _options(text: str) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {}
    for word in shlex.split(text):
        name, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise UserError(f"slurm_extra: expected --option=value or --option, got {word!r}")
        options[name] = value or True
    return options


@dataclass(frozen=True)
class Submission:
    """Jobs that train one segment, one at a time.

    margin_s: how long before its time limit a job saves and ends by itself. Slurm sends a signal later, for where a node cannot
    ask how much time is left; it may send it half a minute too early, and must not do so before there is anything to hear it.
    """

    training: SubmittedTraining
    request: JobRequest
    margin_s: float

    @property
    def folder(self) -> Path:
        return Path(self.training.folder)

    @property
    def _name_of_folder(self) -> str:
        return f"train-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]}-"

    @property
    def name(self) -> str:
        """Of its jobs: by it they are found again, whatever happened to the process that submitted them."""
        return f"{self._name_of_folder}{self.training.digest}"

    def running(self, say: Callable[[str], None]) -> str | None:
        """A job of this training that is in the queue or runs. Those of other settings are ended, as is one that is ending."""
        end = time.monotonic() + _ENDING_S
        while True:
            jobs = slurm.jobs_named(self._name_of_folder)
            others = [job for job, name in jobs.items() if name != self.name]
            mine = [job for job, name in jobs.items() if name == self.name]
            states = {job: state_of(job) for job in mine}
            going_on = [job for job, state in states.items() if state and not state.is_ended and state.name != "COMPLETING"]
            if not others and (going_on or not mine):
                slurm.cancel(going_on[1:])
                return going_on[0] if going_on else None
            if time.monotonic() > end:
                raise UserError(
                    f"jobs of another training of this model do not end: {' '.join(jobs)}; end them, then run again"
                )
            if others:
                say(f"cancelling {' '.join(others)}, which trains this model with other settings or data")
                slurm.cancel(others)
            time.sleep(1)

    def submit(self, *, memory_factor: int = 1) -> str:
        """The id of a new job. Waits while the controller does not answer; UserError where Slurm does not take the job."""
        import submitit
        from submitit.core.utils import FailedJobError

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            executor = submitit.SlurmExecutor(self.folder)
            executor.update_parameters(**self._parameters(memory_factor))
            while not slurm.answers():
                time.sleep(_ASK_AGAIN_S)
            job = executor.submit(self.training).job_id
        except FailedJobError as error:
            raise UserError(f"Slurm does not take the job: {' '.join(str(error).split())}") from None
        except RuntimeError as error:  # without srun
            raise UserError(f"the launcher submitit needs Slurm: {error}; set training.launcher to inline") from None
        log = str(log_of(self.folder, job))
        told = {"schema": 1, "job": job, "name": self.name, "digest": self.training.digest, "log": log}
        write_json(self.folder / "job.json", told)
        return job

    def _parameters(self, memory_factor: int) -> dict[str, Any]:
        asked = self.request
        further: dict[str, str | bool] = {"requeue": True}
        if asked.memory_mb is not None:
            further["mem"] = f"{asked.memory_mb * memory_factor}M"
        optional = {
            "partition": asked.partition,
            "account": asked.account,
            "time": asked.runtime_min,
            "gpus_per_node": asked.gpus if asked.gpus and "gres" not in (asked.options or {}) else None,
        }
        return {
            "job_name": self.name,
            "nodes": asked.nodes,
            "ntasks_per_node": asked.tasks_per_node,
            "cpus_per_task": asked.processors,
            "signal_delay_s": max(1, int(min(self.margin_s / 2, 6 * (asked.runtime_min or 10)))),
            "stderr_to_stdout": True,
            "wckey": None,
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={asked.processors}"],
            "additional_parameters": {**further, **(asked.options or {})},
            **{name: value for name, value in optional.items() if value is not None},
        }
