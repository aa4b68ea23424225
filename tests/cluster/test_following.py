"""The follower of a submitted training where a Slurm of tests cannot produce the state: what is forgotten, held, or refused."""

import os
import subprocess
import sys

import pytest

from pipeline_lib.artefacts import write_json
from pipeline_lib.cluster import following, job_states, slurm, submitted
from pipeline_lib.cluster.following import _Follower, train_by_jobs
from pipeline_lib.cluster.job_states import JobState, own_end_s, state_of
from pipeline_lib.cluster.submission import JobRequest, Submission
from pipeline_lib.cluster.submitted import SubmittedTraining, requeue
from pipeline_lib.errors import UserError

GONE, COMPLETED, RUNNING = JobState("GONE"), JobState("COMPLETED"), JobState("RUNNING", "n1")


class Jobs:
    """Stands for Slurm: job k goes through states[k], of which the last stays; what it leaves behind is called then."""

    def __init__(self, folder, states, leaves):
        self.folder, self.states, self.leaves, self.cancelled, self.n = folder / "submitted", states, leaves, [], 0
        self.folder.mkdir(parents=True)

    def running(self, say):
        return None

    def submit(self, *, memory_factor):
        self.n += 1
        self.memory_factor = memory_factor
        return str(self.n)

    def state_of(self, job):
        states = self.states[int(job) - 1]
        if len(states) > 1:
            return states.pop(0)
        self.leaves(self, int(job))
        return states[0]

    def ended(self, job, ended, restart=0):
        told = {"job": str(job), "restart": restart, "digest": "d", "log": "", "ended": ended, "message": f"{ended} it was"}
        write_json(self.folder / f"{job}-{restart}.json", told)

    def saved(self):
        path = self.folder.parent / "resume.ckpt"
        path.write_text("")
        os.utime(path, ns=(self.n, self.n))

    def completed(self, job):
        (self.folder.parent / "checkpoint.ckpt").write_text("")
        self.ended(job, "completed")


@pytest.fixture
def follow(tmp_path, monkeypatch):
    def make(states, leaves, *, retries=1):
        jobs = Jobs(tmp_path, states, leaves)
        monkeypatch.setattr(following, "state_of", jobs.state_of)
        monkeypatch.setattr(following, "LATENCY_S", 0.05)
        monkeypatch.setattr(slurm, "cancel", jobs.cancelled.extend)
        _Follower(jobs, tmp_path / "checkpoint.ckpt", 0.001, retries).run()
        return jobs

    return make


def test_a_job_that_slurm_has_forgotten_is_judged_by_what_it_left(follow):
    assert follow([[RUNNING, GONE]], Jobs.completed).n == 1


def test_a_job_that_slurm_has_forgotten_and_that_left_nothing_is_followed_by_another(follow):
    def leaves(jobs, job):
        jobs.completed(job) if job == 2 else None

    assert follow([[RUNNING, GONE], [RUNNING, COMPLETED]], leaves).n == 2


def test_a_controller_that_does_not_answer_ends_nothing(follow, capsys):
    assert follow([[RUNNING, None, None, RUNNING, None, COMPLETED]], Jobs.completed).n == 1
    assert capsys.readouterr().err.count("is not known now, as Slurm does not answer") == 2


@pytest.mark.parametrize("name", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_slurm_takes_back_is_not_given_up(follow, name):
    assert follow([[RUNNING, JobState(name), JobState("PENDING"), RUNNING, COMPLETED]], Jobs.completed).n == 1


def test_revoked_and_preempted_for_good_is_tried_again_as_often_as_needed(follow):
    def leaves(jobs, job):
        jobs.completed(job) if job == 6 else None

    states = [[RUNNING, JobState("PREEMPTED"), JobState("PREEMPTED")] for _ in range(4)]
    assert follow([*states, [JobState("REVOKED")], [COMPLETED]], leaves, retries=0).n == 6


def test_a_job_that_slurm_holds_after_a_failed_launch_is_ended_and_replaced(follow):
    held = JobState("PENDING", "launch failed requeued held")

    def leaves(jobs, job):
        jobs.completed(job) if job == 2 else None

    jobs = follow([[held, JobState("CANCELLED")], [COMPLETED]], leaves)
    assert (jobs.cancelled, jobs.n) == (["1"], 2)


def test_where_a_requeue_is_refused_another_job_goes_on_while_something_is_saved(follow):
    def leaves(jobs, job):
        if job == 6:
            return jobs.completed(job)
        jobs.saved()
        return jobs.ended(job, "the time limit")

    assert follow([[COMPLETED] for _ in range(6)], leaves, retries=0).n == 6


def test_time_limits_that_save_nothing_are_failures(follow):
    with pytest.raises(
        UserError, match=r"job 2 ended as COMPLETED, as 2 in a row that had saved nothing new; the end of its log"
    ):
        follow([[COMPLETED] for _ in range(3)], lambda jobs, job: jobs.ended(job, "the time limit"))


def test_failures_count_anew_after_something_was_saved(follow):
    def leaves(jobs, job):
        jobs.completed(job) if job == 5 else jobs.saved()

    assert follow([[JobState("FAILED")] for _ in range(4)] + [[COMPLETED]], leaves, retries=1).n == 5


def test_memory_is_doubled_where_it_was_the_cause(follow):
    def leaves(jobs, job):
        jobs.completed(job) if job == 4 else None

    states = [[JobState("OUT_OF_MEMORY")], [JobState("OUT_OF_MEMORY")], [JobState("FAILED")], [COMPLETED]]
    assert follow(states, leaves, retries=3).memory_factor == 4


def test_a_mistake_is_not_tried_again(follow):
    with pytest.raises(UserError, match="mistake it was"):
        follow([[JobState("FAILED")]], lambda jobs, job: jobs.ended(job, "mistake"), retries=5)


def test_a_completed_job_without_its_checkpoint_is_a_failure(follow):
    with pytest.raises(UserError, match="job 1 ended as COMPLETED"):
        follow([[COMPLETED]], lambda jobs, job: jobs.ended(job, "completed"), retries=0)


def test_a_signal_after_the_death_of_the_workflow_cancels_nothing(tmp_path, monkeypatch, capsys):
    workflow = subprocess.Popen([sys.executable, "-c", ""])
    workflow.wait()
    monkeypatch.setenv("PIPELINE_WORKFLOW", str(workflow.pid))
    jobs = Jobs(tmp_path, [[RUNNING]], lambda jobs, job: None)

    def interrupted(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "state_of", interrupted)
    monkeypatch.setattr(slurm, "ask", lambda *command: pytest.fail(str(command)))
    with pytest.raises(KeyboardInterrupt):
        train_by_jobs(jobs, tmp_path / "checkpoint.ckpt", poll_s=0.001, retries=0)
    assert "its training goes on, and the next call finds it" in capsys.readouterr().err


def answering(monkeypatch, answer):
    def ask(*command):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(slurm, "ask", ask)
    monkeypatch.setattr(job_states, "_TRIES", 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("RUNNING|n1\n", RUNNING),
        ("PENDING|(Resources)\n", JobState("PENDING", "Resources")),
        ("COMPLETED|None\n", COMPLETED),
        ("", GONE),
        (UserError("squeue: slurm_load_jobs error: Invalid job id specified"), GONE),
        (UserError("squeue: Unable to contact slurm controller (connect failure)"), None),
    ],
)
def test_what_squeue_says(monkeypatch, answer, expected):
    answering(monkeypatch, answer)
    assert state_of("7") == expected


@pytest.mark.parametrize(
    ("left", "seconds"),
    [("59", 59), ("1:05", 65), ("2:00:00", 7200), ("1-01:00:00", 90000), ("UNLIMITED", None), ("INVALID", None)],
)
def test_the_time_that_is_left(monkeypatch, left, seconds):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(job_states.time, "time", lambda: 1000.0)
    answering(monkeypatch, f"{left}\n")
    assert own_end_s() == (None if seconds is None else 1000.0 + seconds)
    answering(monkeypatch, UserError("squeue: no"))
    assert own_end_s() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234")
    assert own_end_s() == 1234
    monkeypatch.delenv("SLURM_JOB_ID")
    assert own_end_s() is None


def test_a_refused_requeue_is_said(monkeypatch, capsys):
    answering(monkeypatch, UserError("scontrol: Requested operation is presently disabled"))
    requeue("7")
    assert "cannot be requeued: scontrol: Requested operation is presently disabled" in capsys.readouterr().err


def test_the_resources_of_a_rule_become_options_of_sbatch():
    text = '{"slurm_partition": "gpu", "gpu": 2, "gpu_model": "a100", "nodes": 3, "runtime": 60, "mem_mb": 500, "qos": "long"}'
    request = JobRequest.of_resources(text.replace("}", ', "slurm_extra": "--exclusive --nodelist=\'n1,n 2\'"}'), threads=4)
    assert (request.partition, request.processors, request.processes, request.memory_mb) == ("gpu", 4, 6, 500)
    assert request.options == {"qos": "long", "gres": "gpu:a100:2", "exclusive": True, "nodelist": "n1,n 2"}
    assert JobRequest.of_resources("{}", threads=3).processes == 1


def test_resources_that_cannot_be_read_are_refused():
    with pytest.raises(UserError, match=r"slurm_extra: expected --option=value or --option, got '-N'"):
        JobRequest.of_resources('{"slurm_extra": "-N 2"}', threads=1)
    with pytest.raises(UserError, match="the resources of a job are JSON; "):
        JobRequest.of_resources("{", threads=1)


def test_without_slurm_the_launcher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    training = SubmittedTraining("{}", "{}", (), (), str(tmp_path), 1, None, 1, 1, str(tmp_path / "submitted"), "d")
    submission = Submission(training, JobRequest(), 1.0)
    with pytest.raises(UserError, match=r"the launcher submitit needs Slurm: .*srun.*; set training.launcher to inline"):
        submission.submit()


def test_the_other_processes_are_found_by_the_variables_of_slurm(monkeypatch):
    told = {
        "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": "2",
        "SLURM_PROCID": "1",
        "SLURM_NTASKS": "4",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
    }
    environment = dict(told)
    monkeypatch.setattr(submitted.os, "environ", environment)
    submitted.tell_processes()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert {name: environment[name] for name in names} == {
        "RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "20051",
    }
