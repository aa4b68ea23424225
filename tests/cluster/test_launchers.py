"""The workflow with a training of its own job: as the shipped profile has it, through deaths of the workflow and Ctrl-C."""

import os
import signal
import time

import pytest
from cluster_project import ClusterWorkflow

from pipeline_lib.artefacts import read_json
from pipeline_lib.training.checkpoint import load_checkpoint

STEPS = 300
TRAINING = {
    "patch_vox": [16, 32, 32],
    "steps": STEPS,
    "precision": "float32",
    "validate_every_steps": STEPS,
    "validation_patches": 1,
    "save_every_s": 0.3,
    "job_poll_s": 1,
    "workers": 0,
}


@pytest.mark.slow
def test_a_training_outlives_its_workflow_is_found_again_and_ends_with_ctrl_c(cluster, tmp_path):
    workflow = ClusterWorkflow(tmp_path / "a project", cluster, training=TRAINING)
    with workflow.running("--until", "train") as process:
        job = _training(cluster, workflow, process)
        _await(lambda: _saved_step(workflow) > 1, workflow, process)
        process.kill()  # Snakemake alone
        process.wait()
    time.sleep(3)
    assert cluster.state(job) == "RUNNING"

    with workflow.running("--until", "train") as process:
        _await(lambda: f"job {job}, which was submitted before, goes on" in workflow.output(), workflow, process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 1
    assert f"cancelled job {job}" in workflow.output()
    cluster.await_state(job, "CANCELLED")
    assert not cluster.jobs()

    saved = _saved_step(workflow)
    out, _ = workflow.run("--until", "train")
    assert f"continuing at step {saved}" in out
    (record,) = workflow.results().glob(f"models/*/segments/{STEPS}/record.json")
    assert next(attempt["job"] for attempt in read_json(record)["jobs"]) == job
    assert "train" not in workflow.planned()
    workflow.configure(training={**TRAINING, "launcher": "inline", "job_poll_s": 2})
    assert "train" not in workflow.planned()  # how it runs re-runs nothing


def test_a_config_has_the_last_word_on_the_launcher(cluster, tmp_path):
    workflow = ClusterWorkflow(tmp_path / "inline", cluster)
    out, _ = workflow.run("--dry-run", "--printshellcmds")
    assert "--launcher submitit --resources" in out
    workflow.configure(training={**TRAINING, "launcher": "inline"})
    out, _ = workflow.run("--dry-run", "--printshellcmds")
    assert "--launcher" not in out


def _training(cluster, workflow, process):
    """The id of the running job that trains."""

    def found():
        lines = cluster.client("squeue", "--noheader", "--states", "RUNNING", "--format", "%i %j").stdout.splitlines()
        return next((line.split()[0] for line in lines if line.split()[1].startswith("train-")), None)

    return _await(found, workflow, process)


def _saved_step(workflow):
    paths = list(workflow.results().glob("models/*/segments/*/resume.ckpt"))
    return load_checkpoint(paths[0], mmap=True)["step"] if paths else 0


def _await(holds, workflow, process, patience_s=240):
    end = time.monotonic() + patience_s
    while not (value := holds()):
        assert process.poll() is None, workflow.output()
        assert time.monotonic() < end, workflow.output()
        time.sleep(0.2)
    return value
