"""What the workflow does on the login node: its cost, and how it ends."""

import os
import re
import signal
import time
from contextlib import suppress
from datetime import datetime

import psutil
import pytest
from cluster_project import POLL_S, long
from trivial_jobs import TrivialJobs

WAITING = "mkdir -p starts; echo $SLURM_JOB_ID >> starts/$n; sleep 600"
N_JOBS = 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_what_was_submitted(cluster, tmp_path, number):
    """Jobs that run, jobs that wait, and those that are being submitted at that moment."""
    workflow = TrivialJobs(tmp_path / "ended", cluster, jobs=range(20), command=WAITING)
    with workflow.running() as process:
        workflow.job_of("work", process)
        start = time.monotonic()
        os.killpg(process.pid, number)  # as a terminal sends it
        assert process.wait(60) == 1
        assert time.monotonic() - start < 30
    assert cluster.jobs() == []
    assert re.search(r"cancelled \d+ jobs", workflow.output())
    assert "Traceback" not in workflow.output()


def test_jobs_of_a_killed_workflow_are_cancelled_by_the_next_call_and_no_others(cluster, tmp_path):
    workflow = TrivialJobs(tmp_path / "killed", cluster, jobs=range(2), command=WAITING)
    other = TrivialJobs(tmp_path / "other", cluster, jobs=["another"], command=WAITING)
    with other.running() as untouched:
        kept = other.job_of("work", untouched)
        with workflow.running() as process:
            while workflow.starts(0) + workflow.starts(1) < 2:
                assert process.poll() is None, workflow.output()
                time.sleep(0.2)
        left = set(cluster.jobs()) - {kept}
        assert len(left) == 2
        workflow.configure_jobs(jobs=range(2), command="touch $output")
        out, _ = workflow.run()
        assert "cancelling 2 jobs of a workflow that was killed" in out
        assert {cluster.state(job) for job in left} == {"CANCELLED"}
        assert cluster.state(kept) == "RUNNING"


@pytest.mark.parametrize("away_s", [15, pytest.param(60, marks=long)])
def test_the_controller_away_for_a_while_ends_nothing(cluster, tmp_path, away_s):
    """Neither jobs that run, nor one that ends meanwhile, nor those that are to be submitted after it."""
    command = "mkdir -p starts; echo . >> starts/$n; sleep $n; touch $output"
    workflow = TrivialJobs(
        tmp_path / "away", cluster, jobs=[5, 6, away_s + 10], command=command, profile_changes={"jobs": 2, "retries": 0}
    )
    with workflow.running() as process:
        while sum(map(workflow.starts, (5, 6, away_s + 10))) < 2:
            assert process.poll() is None, workflow.output()
            time.sleep(0.2)
        with cluster.controller_away():
            time.sleep(away_s)
            assert process.poll() is None, workflow.output()
        assert process.wait(240) == 0, workflow.output()
    assert list(map(workflow.starts, (5, 6, away_s + 10))) == [1, 1, 1]


def test_without_an_answer_at_the_start_the_run_ends_with_one_line(cluster, tmp_path):
    workflow = TrivialJobs(tmp_path / "no answer", cluster, jobs=["one"], command="touch $output")
    workflow.environment = {**workflow.environment, "SLURM_CONF": "/dev/null"}
    out, code = workflow.run(check=False)
    assert code == 1
    assert "squeue: squeue: " in out
    assert "Traceback" not in out


def test_a_path_that_cannot_be_told_to_a_job_is_named(cluster, tmp_path):
    workflow = TrivialJobs(tmp_path / "a user's $(touch ran)", cluster, jobs=["one"], command="touch $output")
    out, code = workflow.run(check=False)
    assert code == 1
    assert "a job cannot be told a path with ' and one of \" $ ` \\ !; give it another name" in out
    assert cluster.jobs() == []
    workflow = TrivialJobs(tmp_path / "back\\slash", cluster, jobs=["one"], command="touch $output")
    out, code = workflow.run(check=False)
    assert code == 1
    assert "a job cannot be told a path with a backslash or unprintable characters; give it another name" in out


@long
def test_fifty_jobs_cost_the_login_node_little(cluster, tmp_path):
    """Wall time beside that in which jobs run, one status query for all, and memory that does not grow with them."""
    workflow = TrivialJobs(tmp_path / "fifty", cluster, jobs=range(N_JOBS), command="mkdir -p done; touch $output")
    memory_mb = []
    start = time.time()
    with workflow.running("--verbose") as process:
        while process.poll() is None:
            assert time.time() - start < 800, workflow.output()
            if len(list(workflow.folder.glob("done/*"))) > N_JOBS / 10:
                with suppress(psutil.Error):
                    memory_mb.append(psutil.Process(process.pid).memory_info().rss / 1e6)
            time.sleep(0.2)
        end = time.time()
        assert process.returncode == 0, workflow.output()
    jobs = [cluster.job(job) for job in re.findall(r"SLURM jobid (\d+)", workflow.output())]
    assert len({job["JobId"] for job in jobs}) == N_JOBS
    submitted = [datetime.fromisoformat(job["SubmitTime"]).timestamp() for job in jobs]
    ended = [datetime.fromisoformat(job["EndTime"]).timestamp() for job in jobs]
    added_s = (max(submitted) - start) + (end - max(ended))  # until the last is submitted, and after the last has ended
    queries = len(re.findall(r"Status query returned \d+ job IDs", workflow.output()))
    print(f"{added_s / N_JOBS:.2f} s beside each of {N_JOBS} jobs; {queries} queries in {end - start:.0f} s")
    print(f"memory of the workflow: {memory_mb[0]:.0f} to {max(memory_mb):.0f} MB")
    assert added_s / N_JOBS < 1.5
    assert queries < (end - start) / POLL_S
    assert max(memory_mb) < 1.1 * memory_mb[0]
