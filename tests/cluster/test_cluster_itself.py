"""The cluster of the tests: what it is told to do to jobs happens, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from slurm_cluster import processes_of

TESTS_WITH_A_CLUSTER = """
def test_that_is_killed(cluster):
    job = cluster.sbatch("sleep 600")
    cluster.await_state(job, "RUNNING")
    (cluster.folder / "running").touch()
    __import__("time").sleep(600)
"""


def test_both_nodes_run_jobs_with_a_gpu_each(cluster):
    jobs = [cluster.sbatch("sleep 600", "--gres=gpu:1") for _ in range(2)]
    for job in jobs:
        cluster.await_state(job, "RUNNING")
    assert {cluster.job(job)["NodeList"] for job in jobs} == {"n1", "n2"}
    cluster.scancel(*jobs)
    for job in jobs:
        cluster.await_state(job, "CANCELLED")


def test_a_job_gives_way_and_is_requeued_or_cancelled(cluster):
    requeued, cancelled = (cluster.sbatch("sleep 600", "-p", name, "-c4") for name in ("spare", "spare_cancel"))
    for job in (requeued, cancelled):
        cluster.await_state(job, "RUNNING")
    urgent = [cluster.sbatch("sleep 1", "-p", "work", "-c4") for _ in range(2)]
    cluster.await_state(cancelled, "PREEMPTED")
    cluster.await_state(requeued, "PENDING")
    for job in urgent:
        cluster.await_state(job, "COMPLETED")
    cluster.let_start(requeued)
    cluster.await_state(requeued, "RUNNING")
    assert cluster.job(requeued)["Restarts"] == "1"
    cluster.scancel(requeued)


def test_a_node_fails_and_comes_back(cluster):
    job = cluster.sbatch("sleep 600", "--no-requeue", "-w", "n2")
    cluster.await_state(job, "RUNNING")
    cluster.fail_node("n2")
    cluster.await_state(job, "NODE_FAIL")
    cluster.start_node("n2")
    cluster.await_nodes()


def test_a_slurmd_that_is_killed_leaves_its_job_and_takes_it_up_again(cluster):
    job = cluster.sbatch("sleep 600", "-w", "n1")
    cluster.await_state(job, "RUNNING")
    cluster.kill("n1")
    cluster.start_node("n1")
    cluster.await_nodes()
    assert cluster.state(job) == "RUNNING"
    cluster.scancel(job)


def test_the_controller_goes_away_and_knows_its_jobs_when_it_is_back(cluster):
    job = cluster.sbatch("sleep 600")
    cluster.await_state(job, "RUNNING")
    with cluster.controller_away():
        assert cluster.client("squeue", check=False).returncode != 0
    assert cluster.state(job) == "RUNNING"
    cluster.scancel(job)


def test_nothing_stays_of_a_cluster_whose_tests_were_killed(cluster, tmp_path):
    """Not of the daemons, and not of its jobs."""
    here = Path(__file__).parent
    for name in ("conftest.py", "slurm_cluster.py", "watcher.py"):
        (tmp_path / name).symlink_to(here / name)
    (tmp_path / "test_killed.py").write_text(TESTS_WITH_A_CLUSTER)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", tmp_path / "base", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as pytest:
        folder = _awaited(lambda: next(tmp_path.glob("base/slurm*/running"), None), 60).parent
        assert {p.name() for p in processes_of(folder)} >= {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"}
        os.kill(pytest.pid, signal.SIGKILL)
    _awaited(lambda: not processes_of(folder), 20)


def _awaited(found, patience_s):
    end = time.monotonic() + patience_s
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return value
