"""Training in Slurm jobs: whatever ends them, it goes on from what was saved, to the weights of a run that was left alone."""

import os
import shlex
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster_project import long
from submitted import SubmittedTraining, end_with, settings_of

pytestmark = pytest.mark.slow


@pytest.fixture
def make_training(cluster, tmp_path):
    def make(**options):
        return SubmittedTraining(tmp_path, cluster, **options)

    return make


def test_a_training_in_a_job_is_recorded_with_its_costs(make_training, tmp_path):
    training = make_training(steps=4)
    with training.running() as process:
        assert process.wait(120) == 0, training.told()
    (attempt,) = training.attempts()
    assert (attempt["ended"], attempt["restart"]) == ("completed", 0)
    assert f"submitted as job {attempt['job']}" in training.told()
    assert f"job {attempt['job']} is COMPLETED" in training.told()
    assert "train: step 4 of 4" in training.told()  # the job's own words, passed on
    assert "train: step 4 of 4" in Path(attempt["log"]).read_text()
    assert training.record()["wall_s"] == attempt["wall_s"] > 0
    assert training.record()["peak_memory_mb"] == attempt["peak_memory_mb"] > 50
    training.assert_as_if_undisturbed(tmp_path)


def test_over_time_limits_to_the_weights_of_an_undisturbed_run(make_training, cluster, tmp_path):
    """Jobs of one minute that shall save 57 s before their end: each makes a step or two and requeues itself."""
    training = make_training(steps=4, save_before_limit_s=57.0, resources={"runtime": 1})
    with training.running() as process:
        job = training.job(process)
        while process.poll() is None:
            _let_start(cluster, job)
            time.sleep(0.5)
        assert process.returncode == 0, training.told()
    attempts = training.attempts()
    assert {attempt["job"] for attempt in attempts} == {job}  # requeued, not submitted again
    assert [attempt["restart"] for attempt in attempts] == list(range(len(attempts)))
    assert [attempt["ended"] for attempt in attempts] == ["the time limit"] * (len(attempts) - 1) + ["completed"]
    assert len(attempts) >= 4
    assert training.record()["wall_s"] == pytest.approx(sum(attempt["wall_s"] for attempt in attempts))
    training.assert_as_if_undisturbed(tmp_path)


@long
def test_inline_over_time_limits(make_training, cluster, tmp_path):
    """As a job of Snakemake's executor: the stage ends itself, with its state saved, and a retry continues it."""
    training = make_training(steps=4, save_before_limit_s=57.0)
    ends = []
    while not training.checkpoint.exists():
        command = " ".join(map(shlex.quote, training.command("inline")))
        job = cluster.sbatch(command, "-t", "1", "--mem", "1500")
        ends.append(cluster.await_state(job, "COMPLETED", "FAILED", "TIMEOUT", patience_s=120))
        assert len(ends) <= 4, training.log()
    assert len(ends) >= 3
    assert ends == ["FAILED"] * (len(ends) - 1) + ["COMPLETED"]
    assert training.log().count("interrupted by the time limit at step") == len(ends) - 1
    training.assert_as_if_undisturbed(tmp_path)


@pytest.mark.parametrize(
    "end", ["scancel", *(pytest.param(end, marks=long) for end in ("kill", "preempted", "requeued", "signalled"))]
)
def test_a_job_that_dies_is_followed_by_another_or_comes_back(make_training, cluster, tmp_path, end):
    partition = {"preempted": "spare_cancel", "requeued": "spare"}.get(end, "work")
    training = make_training(steps=150, resources={"slurm_partition": partition, "slurm_extra": "--nodelist=n1"})
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
        start = time.monotonic()
        if end == "scancel":
            cluster.scancel(job)
        elif end == "kill":
            training.send(signal.SIGKILL, job)
        elif end == "signalled":  # as Slurm does before the time limit
            cluster.scancel("--signal=USR2", job)
            training.await_(lambda: _let_start(cluster, job), process, "was not requeued")
        else:
            urgent = cluster.sbatch("sleep 5", "-p", "work", "-N", "2", "-c", "4")
            cluster.await_state(job, "PREEMPTED", "PENDING")
            cluster.await_state(urgent, "COMPLETED")
            cluster.let_start(job) if end == "requeued" else None
        comes_back = end in {"requeued", "signalled"}
        if not comes_back:
            training.job(process, "RUNNING", "PENDING", but=(job,))
            assert time.monotonic() - start < 60
        assert process.wait(300) == 0, training.told()
    jobs = list(dict.fromkeys(attempt["job"] for attempt in training.attempts()))
    assert len(jobs) == (1 if comes_back else 2)
    assert [attempt["restart"] for attempt in training.attempts()] == ([0, 1] if comes_back else [0, 0])
    assert "continuing at step" in training.told()
    training.assert_as_if_undisturbed(tmp_path)


def test_ctrl_c_cancels_the_job_and_the_next_call_goes_on(make_training, cluster, tmp_path):
    training = make_training(steps=150)
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
        assert end_with(process, signal.SIGINT) == 128 + signal.SIGINT
    assert f"cancelled job {job}; the next call goes on from what was saved" in training.told()
    cluster.await_state(job, "CANCELLED")
    assert not cluster.jobs()
    before = training.saved_step()
    assert before >= 2
    with training.running() as process:
        assert process.wait(300) == 0, training.told()
    assert f"continuing at step {before} from" in training.told()
    training.assert_as_if_undisturbed(tmp_path)


def test_a_follower_that_was_killed_leaves_its_job_to_the_next(make_training, cluster, tmp_path):
    training = make_training(steps=150)
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
    time.sleep(2)
    assert cluster.state(job) == "RUNNING"
    with training.running() as process:
        training.await_(lambda: f"job {job}, which was submitted before, goes on" in training.told(), process, "not found")
        assert process.wait(300) == 0, training.told()
    assert [attempt["job"] for attempt in training.attempts()] == [job]
    assert training.told().count("submitted as job") == 1
    training.assert_as_if_undisturbed(tmp_path)


@long
def test_a_job_of_other_settings_is_ended_before_the_model_is_trained(make_training, cluster):
    training = make_training(steps=150)
    with training.running() as process:
        job = training.job(process)
        training.await_step(1, process)
    training.settings = settings_of(steps=150, learning_rate=1e-4)
    with training.running() as process:
        other = training.job(process, but=(job,))
        assert cluster.state(job) == "CANCELLED"
        assert f"cancelling {job}, which trains this model with other settings or data" in training.told()
        end_with(process)
    cluster.await_state(other, "CANCELLED")


@long
def test_a_job_that_hangs_until_its_time_limit_is_followed_by_another(make_training, cluster, tmp_path):
    """In a read that never ends, as from a file system that does not answer: it cannot save when it is told to."""
    training = make_training(steps=150, resources={"runtime": 1})
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
        with _never_read(training.volume.folder / "image.zarr"):
            cluster.await_state(job, "TIMEOUT", patience_s=200)
        other = training.job(process, "RUNNING", "PENDING", but=(job,))
        while process.poll() is None:
            _let_start(cluster, other)
            time.sleep(0.5)
        assert process.returncode == 0, training.told()
    assert f"job {job} ended as TIMEOUT" in training.told()
    assert "continuing at step" in training.told()
    training.assert_as_if_undisturbed(tmp_path)


@contextmanager
def _never_read(array):
    """The chunks of an array are pipes into which nobody writes."""
    chunks = [path for path in array.rglob("*") if path.is_file() and path.name != "zarr.json"]
    kept = {path: path.read_bytes() for path in chunks}
    assert kept
    for path in chunks:
        pipe = path.with_name(f"{path.name}.pipe")
        os.mkfifo(pipe)
        pipe.replace(path)
    try:
        yield
    finally:
        for path, content in kept.items():
            path.unlink()
            path.write_bytes(content)


@long
def test_a_job_that_ran_out_of_memory_is_followed_by_one_with_twice_as_much(make_training, cluster, tmp_path):
    training = make_training(steps=3, resources={"mem_mb": 250})
    with training.running() as process:
        assert process.wait(300) == 0, training.told()
    jobs = [attempt["job"] for attempt in training.attempts()]
    asked = [cluster.job(job)["MinMemoryNode"] for job in jobs]
    assert asked[:2] == ["250M", "500M"]
    assert "with 2 times the memory" in training.told()


@long
def test_a_lost_node_ends_nothing(make_training, cluster, tmp_path):
    training = make_training(steps=150, resources={"slurm_extra": "--nodelist=n2"})
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
        cluster.fail_node("n2")
        training.await_(lambda: cluster.state(job) != "RUNNING", process, "the node is not missed")
        cluster.start_node("n2")
        while process.poll() is None:
            _let_start(cluster, job)
            time.sleep(0.5)
        assert process.returncode == 0, training.told()
    # Slurm starts the job again; its node, when it is back, may end that start too, as what it had been told to end before.
    (first, *_, last) = training.attempts()
    assert (first["job"], first["ended"], last["ended"]) == (job, "", "completed")
    training.assert_as_if_undisturbed(tmp_path)


@long
def test_jobs_that_die_again_and_again_end_it_with_the_end_of_their_log(make_training, cluster):
    training = make_training(steps=150, job_retries=1, save_every_s=1000.0)
    with training.running() as process:
        jobs = []
        for _ in range(2):
            jobs.append(training.job(process, but=jobs))
            training.await_(lambda: training.attempt_files(jobs[-1]), process, "no attempt")
            training.send(signal.SIGKILL, jobs[-1])
        assert process.wait(120) == 2
    assert f"job {jobs[0]} ended as FAILED" in training.told()
    assert "(1 of 1 retries)" in training.told()
    *_, last = training.told().splitlines()
    assert last.startswith(f"error: train: job {jobs[1]} ended as FAILED")
    assert "as 2 in a row that had saved nothing new; the end of its log is above, all of it in" in last
    assert "Killed" in training.told()


def test_a_mistake_is_told_as_in_a_training_here_and_not_tried_again(make_training):
    training = make_training(steps=4, learning_rate=1e25, warmup_steps=0)
    with training.running() as process:
        assert process.wait(240) == 2
    *_, last = training.told().splitlines()
    assert last.startswith("error: train: the training loss is ")
    assert training.told().count("submitted as job") == 1


def test_two_nodes_train_as_one_process_does(make_training, tmp_path):
    training = make_training(steps=6, resources={"nodes": 2})
    with training.running() as process:
        job = training.job(process)
        assert process.wait(240) == 0, training.told()
        assert training.cluster.job(job)["NodeList"] == "n[1-2]"
    training.assert_as_if_undisturbed(tmp_path, tolerance=1e-3)


def test_what_slurm_does_not_take_is_told(make_training):
    training = make_training(steps=4, resources={"slurm_partition": "nowhere"})
    with training.running() as process:
        assert process.wait(60) == 2
    assert "error: train: Slurm does not take the job: " in training.told()
    assert "invalid partition specified: nowhere" in training.told()


def _let_start(cluster, job):
    """Slurm holds a requeued job back for two minutes; this one starts at once."""
    told = cluster.job(job)
    if told["JobState"] == "PENDING" and told["Restarts"] != "0":
        cluster.let_start(job)
        return True
    return False
