"""Where there is slurmdbd with a database, and sacct is asked, since squeue forgets jobs soon."""

import re
import time

import pytest
from cluster_project import long
from submitted import SubmittedTraining
from test_terminal_states import every_end_continues
from trivial_jobs import TrivialJobs

BY_SACCT = {"slurm-status-command": "sacct"}
COMMAND = """
mkdir -p starts done
echo $SLURM_JOB_ID >> starts/$n
[ $n = completes ] || [ $(wc -l < starts/$n) = 2 ] || { sleep 8; exit 3; }
touch $output
"""


def test_jobs_that_squeue_no_longer_lists(accounted_cluster, tmp_path):
    """One that completes, one that fails, one that is cancelled, and slurmdbd away for a while."""
    names = ("completes", "fails", "cancelled")
    workflow = TrivialJobs(tmp_path / "ends", accounted_cluster, jobs=names, command=COMMAND, profile_changes=BY_SACCT)
    with workflow.running("--verbose") as process:
        while not workflow.starts("cancelled"):
            assert process.poll() is None, workflow.output()
            time.sleep(0.2)
        accounted_cluster.scancel((workflow.folder / "starts" / "cancelled").read_text().strip())
        accounted_cluster.kill("slurmdbd")
        time.sleep(10)
        accounted_cluster.start_accounting()
        assert process.wait(240) == 0, workflow.output()
    assert {name: workflow.starts(name) for name in names} == {"completes": 1, "fails": 2, "cancelled": 2}
    # Of squeue none would have failed: so it was sacct that was asked.
    assert re.search(r"Status query timing summary.*failures=[1-9]", workflow.output()), workflow.output()


@long
def test_every_end_of_a_job_continues_the_run(accounted_cluster, tmp_path):
    every_end_continues(accounted_cluster, tmp_path, lose_node=False, **BY_SACCT)


@long
def test_a_job_whose_node_is_lost_goes_on_with_another(accounted_cluster, tmp_path):
    """With accounting the plugin knows which node it was, and keeps away from it."""
    workflow = TrivialJobs(tmp_path / "lost", accounted_cluster, jobs=["one"], command=COMMAND, profile_changes=BY_SACCT)
    with workflow.running() as process:
        while not workflow.starts("one"):
            assert process.poll() is None, workflow.output()
            time.sleep(0.2)
        (job,) = (workflow.folder / "starts" / "one").read_text().split()
        node = accounted_cluster.job(job)["NodeList"]
        accounted_cluster.fail_node(node)
        accounted_cluster.await_state(job, "NODE_FAIL")
        accounted_cluster.start_node(node)
        assert process.wait(240) == 0, workflow.output()
    assert workflow.starts("one") == 2
    assert f"excluded from subsequent submissions: {node}" in workflow.output()


@long
@pytest.mark.slow
def test_a_submitted_training_goes_on_after_a_job_that_was_cancelled(accounted_cluster, tmp_path):
    training = SubmittedTraining(tmp_path, accounted_cluster, steps=150)
    with training.running() as process:
        job = training.job(process)
        training.await_step(2, process)
        accounted_cluster.scancel(job)
        assert process.wait(240) == 0, training.told()
    assert [attempt["ended"] for attempt in training.attempts()][-1] == "completed"
    assert len({attempt["job"] for attempt in training.attempts()}) == 2
    training.assert_as_if_undisturbed(tmp_path)
