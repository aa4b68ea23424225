"""What the executor plugin is told of its jobs, from answers that the Slurm of the tests does not give."""

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from pipeline_lib.cluster import slurm
from pipeline_lib.cluster.attend import _Attendant, attend, with_workflow_memory
from pipeline_lib.errors import UserError


class Executor:
    """Of the plugin, as far as it is attended to."""

    def __init__(self, status_command):
        settings = SimpleNamespace(status_command=status_command, init_seconds_before_status_checks=20)
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.run_uuid = "run"
        self.reported = []

    def report_job_submission(self, job_info):
        self.reported.append(job_info)

    def report_job_error(self, job_info):
        self.reported.append(job_info)


def attended(status_command, *answers):
    """An attendant with a plugin that is given these answers one after the other; `.asked` are its commands."""
    asked, left = [], list(answers)

    async def query_job_status(command, logger):
        asked.append(command)
        states = left.pop(0)
        return (None, None) if states is None else (states, 0.1)

    fake = SimpleNamespace(
        query_job_status=query_job_status,
        query_job_status_squeue=plugin.query_job_status_squeue,
        get_submit_command=lambda job: f"sbatch -t 5 --mem {job.mem_mb} -D .",
    )
    attendant = _Attendant(Executor(status_command), fake, "em-1")
    attendant.asked = asked
    attendant.take_over()
    for job in ("7", "8"):
        attendant._executor.report_job_submission(SimpleNamespace(external_jobid=job))
    return attendant


def poll(attendant, command="sacct -X"):
    return asyncio.run(attendant.query(command, None))[0]


def test_the_plugin_has_what_is_replaced():
    """Another version may not: then this says so, and not a run that waits for ever."""
    assert plugin.Executor.__module__ == "snakemake_executor_plugin_slurm"
    for name in ("query_job_status", "query_job_status_squeue", "get_submit_command"):
        assert name in plugin.Executor.run_job.__globals__
    assert list(inspect.signature(plugin.query_job_status).parameters) == ["command", "logger"]
    for name in ("report_job_submission", "report_job_error", "sleep", "cancel_jobs"):
        assert callable(getattr(plugin.Executor, name))
    source = inspect.getsource(plugin)
    for name in ("run_uuid", "_job_submission_executor", "self.workflow.executor_settings.status_attempts"):
        assert name in source


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("CANCELLED by 1000", "CANCELLED"),
        ("PREEMPTED", "CANCELLED"),
        ("REVOKED", "CANCELLED"),
        ("RUNNING", "RUNNING"),
        ("COMPLETED", "COMPLETED"),
        ("NODE_FAIL", "NODE_FAIL"),
    ],
)
def test_every_end_is_one_that_the_plugin_knows(said, told):
    assert poll(attended("sacct", {"7": said})) == {"7": told}


def test_a_job_that_is_listed_no_more_is_looked_for_three_times():
    running, gone = {"7": "RUNNING", "8": "RUNNING"}, {"8": "RUNNING"}
    attendant = attended("squeue", running, gone, None, gone, running, gone, gone, gone)
    states = [poll(attendant) for _ in range(8)]
    assert [state and state["7"] for state in states] == ["RUNNING"] * 2 + [None] + ["RUNNING"] * 4 + ["UNKNOWN"]
    assert {state["8"] for state in states if state} == {"RUNNING"}


def test_sacct_may_hear_of_a_job_late():
    attendant = attended("sacct", *[{"8": "RUNNING"}] * 5)
    assert [poll(attendant) for _ in range(5)] == [{"8": "RUNNING"}] * 5


def test_what_the_profile_says_is_asked_also_when_the_plugin_has_another_mind():
    attendant = attended("squeue", {"7": "RUNNING"})
    poll(attendant, "sacct -X --name run")
    assert attendant.asked[0].startswith("squeue")
    assert attendant.asked[0].endswith("--name em-1_run")
    attendant = attended("sacct", {"7": "RUNNING"})
    poll(attendant, "sacct -X --name run")
    assert attendant.asked == ["sacct -X --name run"]


@pytest.mark.parametrize(
    ("state", "log", "asked_mb"),
    [
        ("OUT_OF_MEMORY", "", 2400),
        ("FAILED", "training\nslurmstepd: error: Detected 1 oom_kill event in StepId=1.batch.\n", 2400),
        ("FAILED", "srun: error: n1: task 0: Out Of Memory\n", 2400),
        ("FAILED", "slurmstepd-n1: error: StepId=24.0 exceeded memory limit (2 > 1), being killed\n", 2400),
        ("FAILED", "the stage says: CUDA out of memory\n", 1400),
        ("TIMEOUT", "", 1400),
    ],
)
def test_only_a_job_that_ran_out_of_memory_gets_more(tmp_path, monkeypatch, state, log, asked_mb):
    monkeypatch.setattr(slurm, "answers", lambda: True)
    attendant = attended("squeue", {"7": state})
    poll(attendant)
    (tmp_path / "log").write_text(log)
    job = SimpleNamespace(jobid=1, mem_mb=1000)
    info = SimpleNamespace(external_jobid="7", job=job, aux={"slurm_logfile": tmp_path / "log"})
    attendant._executor.report_job_error(info)
    assert attendant._executor.reported[-1] is info
    assert attendant.submit_command(job) == f"sbatch -t 5 --mem {asked_mb} -D ."


def test_memory_per_processor_is_left_as_it_is():
    assert with_workflow_memory("sbatch --mem-per-cpu 100", 2) == "sbatch --mem-per-cpu 100"


def test_jobs_that_do_not_end_are_named(monkeypatch):
    monkeypatch.setattr(slurm, "jobs_named", lambda prefix: {"5": "em-x_run"})
    monkeypatch.setattr(slurm, "cancel", lambda jobs: None)
    monkeypatch.setattr("pipeline_lib.cluster.attend.time", SimpleNamespace(monotonic=iter([0, 301]).__next__))
    from pipeline_lib.cluster.attend import _cancel_left

    with pytest.raises(UserError, match="jobs of a workflow that was killed do not end: 5; end them, then run again"):
        _cancel_left("em-x")


def test_other_executors_are_left_alone():
    attend(SimpleNamespace(_executor=object()), Path())


def test_a_slurm_that_hangs_is_one_line(monkeypatch, tmp_path):
    command = tmp_path / "squeue"
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(slurm, "_PATIENCE_S", 0.5)
    with pytest.raises(UserError, match="squeue: Slurm does not answer within 0 s"):
        slurm.ask("squeue")
