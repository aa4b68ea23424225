"""What the workflow adds to Snakemake's executor plugin for Slurm, which submits the jobs and asks for their states.

Each addition answers a defect of its version 2.8 that would leave a run waiting for ever, or jobs without a workflow:

    seen in the plugin                                              here
    PREEMPTED, "CANCELLED by 1000" and REVOKED are no ends to it    they are failures, so the job is submitted again
    a job that Slurm no longer lists is waited for                  after three polls its files are looked for
    while the controller is away it asks sacct, also where there    it asks what the profile says
    is no accounting, and goes on asking
    sbatch fails while the controller is away                       submission waits for it
    between polls it sleeps up to 180 s, also when it shall end     thrice the first sleep at most, and it ends at once
    on Ctrl-C it forgets jobs that it is about to submit            all of this run are cancelled, by its name
    jobs of a workflow that was killed stay, and their successors   the next call cancels them
    would write beside them
    a job that ran out of memory gets as much again                 twice as much; the stage still keeps to what it was told
    the memory of the workflow inside of a job is not asked for     it is, beside that of the stage
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline_lib.cluster import slurm
from pipeline_lib.errors import UserError

PLUGIN = "snakemake_executor_plugin_slurm"
WORKFLOW_MB = 400  # of the two Snakemakes inside of a job, beside the stage
_LONGEST_SLEEP = 3  # of the first one, `slurm-init-seconds-before-status-checks` in the profile
_POLLS_UNTIL_GONE = 3
_END_OF_LOG_BYTES = 100_000
_OUT_OF_MEMORY = re.compile(rb"^(slurmstepd|srun).*(memory limit|oom.kill|out of memory)", re.IGNORECASE | re.MULTILINE)
_ENDED_OTHERWISE = {"PREEMPTED": "CANCELLED", "REVOKED": "CANCELLED"}


def attend(scheduler: Any, folder: Path) -> None:
    """Follow the jobs of a workflow, before the first is submitted; nothing where they do not go to Slurm.

    scheduler: Snakemake's. folder: what this workflow, and no other, owns.
    """
    executor = scheduler._executor
    if type(executor).__module__ == PLUGIN:
        _check_quoting(scheduler.workflow)
        name = "em-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
        _cancel_left(name)
        _Attendant(executor, sys.modules[PLUGIN], name).take_over()


def _check_quoting(workflow: Any) -> None:
    """Snakemake writes paths into the command of a job as Python literals; a shell reads some of them otherwise."""
    told = [Path.cwd(), workflow.main_snakefile, *workflow.configfiles]
    inputs = [file for job in workflow.dag.needrun_jobs() for file in job.input]
    for path in map(str, dict.fromkeys([*told, *inputs])):
        if "'" in path and any(char in path for char in '"$`\\!'):
            raise UserError(f"{path}: a job cannot be told a path with ' and one of \" $ ` \\ !; give it another name")
        if "\\" in path or not path.isprintable():
            raise UserError(
                f"{path!r}: a job cannot be told a path with a backslash or unprintable characters; give it another name"
            )


def _cancel_left(name: str) -> None:
    """Jobs of a workflow on this folder that was killed: they cannot be taken up, and would write beside the new ones."""
    end = time.monotonic() + 300
    told = False
    while left := list(slurm.jobs_named(name)):
        if not told:
            print(f"cancelling {len(left)} jobs of a workflow that was killed: {' '.join(left)}", file=sys.stderr, flush=True)
            told = True
        if time.monotonic() > end:
            raise UserError(f"jobs of a workflow that was killed do not end: {' '.join(left)}; end them, then run again")
        slurm.cancel(left)
        time.sleep(1)


class _Attendant:
    """Stands between an executor, its plugin and Slurm."""

    def __init__(self, executor: Any, plugin: Any, name: str) -> None:
        self._executor = executor
        self._plugin = plugin
        executor.run_uuid = f"{name}_{executor.run_uuid}"  # the name of all its jobs
        self._is_ending = False
        self._states: dict[str, str] = {}
        self._polls_without: Counter[str] = Counter()
        self._ran_out_of_memory: Counter[int] = Counter()
        self._query, self._submit_command = plugin.query_job_status, plugin.get_submit_command
        self._report_submission, self._report_error = executor.report_job_submission, executor.report_job_error

    def take_over(self) -> None:
        self._plugin.query_job_status = self.query
        self._plugin.get_submit_command = self.submit_command
        self._executor.report_job_submission = self.report_submission
        self._executor.report_job_error = self.report_error
        self._executor.sleep = self.sleep
        self._executor.cancel_jobs = self.cancel_jobs

    async def query(self, command: str, logger: Any) -> tuple[dict[str, str] | None, float | None]:
        """The states of all jobs of this run, by one command."""
        by_squeue = self._executor.workflow.executor_settings.status_command == "squeue"
        if by_squeue:
            command = self._plugin.query_job_status_squeue(self._executor.run_uuid)
        states, duration_s = await self._query(command, logger)
        if states is None:
            return None, None
        self._states.update({job: _ending(state) for job, state in states.items()})
        if by_squeue:  # sacct may hear of a job late
            for job in self._polls_without:
                self._polls_without[job] = 0 if job in states else self._polls_without[job] + 1
                if self._polls_without[job] >= _POLLS_UNTIL_GONE:
                    self._states[job] = "UNKNOWN"  # for the plugin done; Snakemake then looks for the files
        return {job: state for job, state in self._states.items() if job in self._polls_without}, duration_s

    def report_submission(self, job_info: Any, **options: Any) -> None:
        self._polls_without[str(job_info.external_jobid)] = 0
        self._report_submission(job_info, **options)

    def report_error(self, job_info: Any, **options: Any) -> None:
        state = self._states.get(str(job_info.external_jobid))
        if state == "OUT_OF_MEMORY" or (state == "FAILED" and says_out_of_memory(job_info.aux.get("slurm_logfile"))):
            self._ran_out_of_memory[job_info.job.jobid] += 1
        self._report_error(job_info, **options)

    def submit_command(self, job: Any, *arguments: Any, **options: Any) -> str:
        """The sbatch command; what a stage is told to keep to stays the same when the job gets more memory."""
        while not slurm.answers():
            if self._is_ending:
                raise UserError("the workflow was ended before Slurm answered")
            time.sleep(5)
        call: str = self._submit_command(job, *arguments, **options)
        return with_workflow_memory(call, 2 ** self._ran_out_of_memory[job.jobid])

    async def sleep(self) -> None:
        first_s = self._executor.workflow.executor_settings.init_seconds_before_status_checks
        end = time.monotonic() + min(_LONGEST_SLEEP * first_s, self._executor.next_seconds_between_status_checks)
        while self._executor.wait and time.monotonic() < end:
            await asyncio.sleep(0.2)

    def cancel_jobs(self, active_jobs: Any) -> None:
        self._is_ending = True
        self._executor._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        mine = list(slurm.jobs_named(self._executor.run_uuid))
        slurm.cancel(mine)
        print(f"cancelled {len(mine)} jobs", file=sys.stderr, flush=True)


def says_out_of_memory(log: Path | None) -> bool:
    """Whether Slurm has written so into the log of a job: for its state, a step that was killed has failed."""
    try:
        with Path(log or "").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _END_OF_LOG_BYTES))
            return _OUT_OF_MEMORY.search(file.read()) is not None
    except OSError:
        return False


def with_workflow_memory(command: str, factor: int = 1) -> str:
    """An sbatch command for a stage: the job has as many times its memory, and room for the workflow inside of it."""
    return re.sub(r"--mem (\d+)", lambda found: f"--mem {int(found[1]) * factor + WORKFLOW_MB}", command, count=1)


def _ending(state: str) -> str:
    word = state.partition(" ")[0]  # sacct: "CANCELLED by 1000"
    return _ENDED_OTHERWISE.get(word, word)
