"""What the jobs of a workflow will ask of Slurm, found by planning it without running anything."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.cluster.attend import WORKFLOW_MB, with_workflow_memory
from pipeline_lib.errors import UserError

SNAKEFILE = Path(__file__).parents[2] / "workflow" / "Snakefile"


@dataclass(frozen=True)
class Request:
    """Of the jobs of one rule that ask for the same.

    memory_mb, with that of the workflow inside of the job, and runtime_min: None where nothing is asked. options: of sbatch.
    """

    rule: str
    partition: str | None
    processors: int
    memory_mb: int | None
    gpus: int
    gpu_model: str
    runtime_min: float | None
    options: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """status_command: by which jobs are followed, asked every `poll_s` at first."""

    requests: tuple[Request, ...]
    status_command: str
    poll_s: int


def plan(profile: Path, configfile: Path, overrides: Sequence[str] = ()) -> Plan:
    """All jobs of a workflow that go to Slurm, also those whose results are there; UserError where it cannot be planned.

    overrides: as for `--config` of the workflow.
    """
    from snakemake.cli import args_to_api, parse_args
    from snakemake.executors import dryrun
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    jobs: list[Any] = []
    with _replaced(dryrun.Executor, "run_job", _collecting(jobs)), _captured() as shown:
        words = ["--snakefile", SNAKEFILE, "--profile", profile, "--configfile", configfile, "--dry-run", "--forceall"]
        options = ["--config", *overrides] if overrides else []
        # All processors: a dry run would have one, which threads may not exceed.
        parser, arguments = parse_args([*map(str, words), "--quiet", "all", "--cores", str(2**20), *options])
        try:
            is_planned = args_to_api(arguments, parser)
        except SystemExit:
            is_planned = False
    if not is_planned:
        raise UserError(f"the workflow cannot be planned: {' '.join(shown.getvalue().split())}")
    if arguments.executor != "slurm":
        raise UserError(f"{profile} does not use Slurm: executor is {arguments.executor or 'local'}, expected slurm")
    local = jobs[0].dag.workflow._localrules if jobs else ()
    sent = [job for job in jobs if not job.rule.norun and (job.rule.name not in local or _submits(job))]
    settings = ExecutorPluginRegistry().get_plugin("slurm").get_settings(arguments)
    unique = dict.fromkeys(_request(job, settings) for job in sent)
    return Plan(tuple(unique), settings.status_command, settings.init_seconds_before_status_checks)


def _submits(job: Any) -> bool:
    """Whether a rule of the login node submits a job itself."""
    return job.resources.get("launcher") == "submitit"


def _request(job: Any, settings: Any) -> Request:
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    asked = job.resources
    partition, account = asked.get("slurm_partition"), asked.get("slurm_account")
    told = {"run_uuid": "check", "slurm_logfile": "/dev/null", "comment_str": "", "workdir": None}
    told["account"] = f"-A {shlex.quote(str(account))}" if account else ""
    told["partition"] = f"-p {shlex.quote(str(partition))}" if partition else ""
    command = with_workflow_memory(get_submit_command(job, told, settings) + set_gres_string(job))
    return Request(
        rule=job.rule.name,
        partition=str(partition) if partition else None,
        processors=max(1, asked.get("cpus_per_task") or job.threads),
        memory_mb=asked["mem_mb"] + WORKFLOW_MB if asked.get("mem_mb") else None,
        gpus=int(asked.get("gpu") or 0),
        gpu_model=asked.get("gpu_model") or "",
        runtime_min=asked.get("runtime"),
        options=tuple(shlex.split(command)[1:]),
    )


def _collecting(jobs: list[Any]) -> Any:
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    def run_job(executor: Any, job: Any) -> None:
        jobs.append(job)
        executor.report_job_submission(SubmittedJobInfo(job=job))
        executor.report_job_success(SubmittedJobInfo(job=job))

    return run_job


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Any:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _captured() -> Any:
    """What Snakemake shows meanwhile."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        yield shown
