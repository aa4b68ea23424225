"""`cluster check` names what would never start on the real Slurm, and a job for which it says nothing starts."""

import subprocess
import sys

import pytest
import yaml
from cluster_project import ClusterWorkflow, adapted


def check(workflow, profile=None):
    command = [sys.executable, "-m", "pipeline_lib", "cluster", "check", "--profile", profile or workflow.profile]
    done = subprocess.run(
        [*command, "--configfile", workflow.config],
        cwd=workflow.folder,
        env=workflow.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.stderr.strip(), done.returncode


def test_each_thing_that_the_cluster_does_not_have_is_one_line(cluster, tmp_path):
    workflow = ClusterWorkflow(tmp_path / "a project", cluster)
    lines, error, code = check(workflow)
    assert (lines, error, code) == (["the jobs of all 8 rules can start"], "", 0)
    asked = adapted()["set-resources"]
    asked["train"] |= {"gpu": 2, "runtime": 90}
    asked["predict"] |= {"slurm_partition": "gpu"}
    asked["label"] |= {"mem_mb": 5601}  # with the workflow inside of the job
    asked["segment"] |= {"mem_mb": 5600}
    asked["evaluate"] = {"slurm_extra": "'--begin=nonsense'"}
    asked["report"] = {"gpu": 1, "gpu_model": "a100"}
    workflow.adapt(**{"set-resources": asked, "set-threads": {"sweep": 5, "label": 2, "segment": 2}})
    lines, error, code = check(workflow)
    assert code == 2
    assert error == f"error: {workflow.profile} asks for what this cluster does not have; change it there"
    (refused,) = [line for line in lines if line.startswith("evaluate: ")]
    assert "would not be taken: sbatch: " in refused
    assert "nonsense" in refused or "--begin" in refused
    assert sorted(set(lines) - {refused}) == [
        "label: 6001 MB of memory (mem_mb + 400), but a node of work has at most 6000 MB",
        "predict: there is no partition gpu; slurm_partition can be work, spare, spare_cancel",
        "report: 1 GPUs a100 (gpu), but a node of work has at most 0",
        "sweep: 5 processors (set-threads), but a node of work has at most 4",
        "train: 2 GPUs (gpu), but a node of work has at most 1",
        "train: runtime 90 min, but work ends jobs after 60 min",
    ]


def test_a_partition_that_takes_no_jobs(cluster, tmp_path):
    workflow = ClusterWorkflow(tmp_path / "a project", cluster)
    cluster.client("scontrol", "update", "PartitionName=work", "State=INACTIVE")
    try:
        lines, _, code = check(workflow)
    finally:
        cluster.client("scontrol", "update", "PartitionName=work", "State=UP")
    assert code == 2
    assert "train: partition work takes no jobs now" in lines


def test_a_controller_that_forgets_jobs_before_they_are_asked_for(cluster, tmp_path):
    workflow = ClusterWorkflow(
        tmp_path / "a project", cluster, profile_changes={"slurm-init-seconds-before-status-checks": 1300}
    )
    lines, _, code = check(workflow)
    assert code == 2
    assert lines == [
        "every job: squeue lists it for 3600 s after its end (MinJobAge), asked every 1300 s; "
        "set slurm-status-command: sacct, or a shorter slurm-init-seconds-before-status-checks"
    ]


def test_what_cannot_be_checked_is_one_line(cluster, tmp_path):
    workflow = ClusterWorkflow(tmp_path / "a project", cluster)
    local = workflow.repository / "profiles" / "local"
    assert check(workflow, local)[1:] == (f"error: {local} does not use Slurm: executor is local, expected slurm", 2)
    workflow.config.write_text(yaml.safe_dump({"project": "p", "volumes": {}}))
    _, error, code = check(workflow)
    assert code == 2
    assert error.startswith("error: the workflow cannot be planned: ")
    assert "volumes" in error
    workflow.environment = {**workflow.environment, "SLURM_CONF": "/dev/null"}
    _, error, code = check(workflow)
    assert code == 2
    assert error.startswith("error: scontrol: ")


def test_without_slurm_the_command_says_where_to_call_it(tmp_path, monkeypatch):
    from pipeline_lib.cluster.slurm import ask
    from pipeline_lib.errors import UserError

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="squeue is not installed here; call this from a login node of a Slurm cluster"):
        ask("squeue")
