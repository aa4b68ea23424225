"""However a job ends, the run goes on or ends: in one workflow, a job that meets each end at its first attempt."""

import time

from cluster_project import long
from slurm_cluster import CPUS_PER_NODE
from trivial_jobs import TrivialJobs

# The first attempt waits for its end, the next one does the work.
COMMAND = """
mkdir -p starts done
echo $SLURM_JOB_ID >> starts/$n
if [ $(wc -l < starts/$n) = 1 ]; then
    case $n in
        completes) ;;
        fails) exit 3;;
        memory) python3 -c "import time; held = b'1' * 900_000_000; time.sleep(600)";;
        *) sleep 600;;
    esac
fi
touch $output
"""
ENDS_S = 300


@long
def test_every_end_of_a_job_continues_the_run(cluster, tmp_path):
    every_end_continues(cluster, tmp_path)


def every_end_continues(cluster, tmp_path, *, lose_node=True, **profile_changes):
    on_first = ("cancelled", "timeout", "preempted", "requeued")
    on_second = ("memory", "fails", *(["node"] if lose_node else []))
    workflow = TrivialJobs(
        tmp_path / "states",
        cluster,
        jobs=[*on_first, *on_second, "completes"],
        command=COMMAND,
        options={**dict.fromkeys(on_first, "--nodelist=n1"), **dict.fromkeys(on_second, "--nodelist=n2")},
        partitions={"preempted": "spare_cancel", "requeued": "spare"},
        minutes={"timeout": 1},
        profile_changes=profile_changes,
    )
    with workflow.running() as process:
        jobs = {name: _first_job(workflow, process, name) for name in (*on_first, *on_second)}
        start = time.monotonic()
        cluster.scancel(jobs["cancelled"])
        cluster.await_state(jobs["cancelled"], "CANCELLED")
        # All processors of the node but that of the job that waits for its time limit.
        urgent = cluster.sbatch("sleep 5", "-p", "work", "-w", "n1", "-c", str(CPUS_PER_NODE - 1))
        for name in ("preempted", "requeued"):  # the profile says that Slurm shall requeue nothing
            cluster.await_state(jobs[name], "PREEMPTED", patience_s=150)
        for name in ("memory", "fails"):
            cluster.await_state(jobs[name], "FAILED")
        if lose_node:
            cluster.fail_node("n2")
            cluster.await_state(jobs["node"], "NODE_FAIL")
            cluster.start_node("n2")
        cluster.await_state(jobs["timeout"], "TIMEOUT", patience_s=150)
        cluster.await_state(urgent, "COMPLETED")
        assert process.wait(ENDS_S) == 0, workflow.output()
        assert time.monotonic() - start < ENDS_S
    starts = {name: workflow.starts(name) for name in (*jobs, "completes")}
    alone = {*starts} - {"memory", "fails", "completes"}
    assert {name: starts[name] for name in alone} == dict.fromkeys(alone, 2)
    # Their second attempts, and the one that just completes, may have been on the node that failed.
    assert {starts["memory"], starts["fails"]} <= {2, 3}
    assert starts["completes"] in {1, 2}


def test_a_job_that_ran_out_of_memory_is_retried_with_more_and_no_other_is(cluster, tmp_path):
    workflow = TrivialJobs(tmp_path / "memory", cluster, jobs=["memory", "fails"], command=COMMAND)
    with workflow.running() as process:
        assert process.wait(120) == 0, workflow.output()
    asked = {name: [cluster.job(job)["MinMemoryNode"] for job in _jobs(workflow, name)] for name in ("memory", "fails")}
    assert asked == {"memory": ["500M", "600M"], "fails": ["500M", "500M"]}  # 400 MB are for the workflow inside of the job


def test_a_job_that_always_fails_ends_the_run_with_its_last_words(cluster, tmp_path):
    command = "mkdir -p starts; echo . >> starts/$n; echo 'these are my last words' >&2; exit 7"
    workflow = TrivialJobs(tmp_path / "always", cluster, jobs=["one"], command=command, profile_changes={"retries": 1})
    out, code = workflow.run(check=False)
    assert code == 1, out
    assert workflow.starts("one") == 2  # retries are those of the profile, and no workflow inside of a job adds its own
    assert "these are my last words" in out


def _jobs(workflow, name):
    return (workflow.folder / "starts" / name).read_text().split()


def _first_job(workflow, process, name):
    end = time.monotonic() + 180
    while not workflow.starts(name):
        assert process.poll() is None, workflow.output()
        assert time.monotonic() < end, f"{name} did not start"
        time.sleep(0.2)
    return _jobs(workflow, name)[0]
