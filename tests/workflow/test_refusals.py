"""Mistakes are one clear message before any job starts."""

import os
import subprocess

import h5py
import numpy as np
import pytest
from small_project import SMALL, Workflow, synthetic

from pipeline_lib.artefacts import Lock


def message(workflow, *arguments):
    out, code = workflow.run(*arguments, check=False)
    assert code != 0
    assert "Traceback" not in out
    return out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training": {"stepps": 3}}, "training.stepps: unknown key; did you mean 'steps'?"),
        ({"training": {"patch_vox": [17, 32, 32]}}, "patch_vox (17, 32, 32) is not accepted by rsunet"),
        ({"volumes": {**SMALL["volumes"], "val": {**SMALL["volumes"]["val"], "split": "test"}}}, "no volume has split val"),
        (
            {"volumes": {**SMALL["volumes"], "x": {"split": "test", "image": {"path": "no such.h5"}}}},
            "no such.h5 does not exist",
        ),
    ],
    ids=["wrong key", "patch", "no val volume", "missing source"],
)
def test_settings_are_refused_at_parse_time(tmp_path, settings, words):
    workflow = Workflow(tmp_path, **settings)
    out = message(workflow, "--dry-run")
    assert words in out
    assert not workflow.results().exists()


def test_an_override_is_checked_too(tmp_path):
    assert "unknown key; did you mean 'steps'" in message(Workflow(tmp_path), "--config", "training={stps: 3}", "--dry-run")


def test_a_results_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "results").write_text("a file")
    assert "results is not a folder that can be written" in message(Workflow(tmp_path))


def test_a_second_workflow_says_who_has_the_project(tmp_path):
    workflow = Workflow(tmp_path)
    with Lock(workflow.results(), what="the workflow"):
        out = message(workflow)
    assert f"in use by the workflow, process {os.getpid()}" in out
    assert not (workflow.results() / "volumes").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((20, 32, 31), np.uint32), "(20, 32, 31)"),
        (np.zeros((20, 32, 32), np.float32), "float32"),
    ],
    ids=["other shape", "float labels"],
)
def test_bad_labels_stop_the_import_with_both_facts(tmp_path, labels, words):
    with h5py.File(tmp_path / 'it\'s a "file".h5', "w") as file:
        file["raw"] = np.zeros((20, 32, 32), np.uint8)
        file["labels"] = labels
    source = {"path": 'it\'s a "file".h5'}
    bad = {
        "split": "train",
        "image": {**source, "array": "raw"},
        "labels": {**source, "array": "labels"},
        "voxel_size_nm": [10, 10, 10],
    }
    workflow = Workflow(tmp_path, volumes={**SMALL["volumes"], "train": bad})
    out = message(workflow)
    assert "error: import: " in out
    assert words in out
    assert not list(workflow.results().glob("volumes/train-*/volume.json"))


def test_a_stage_keeps_to_the_memory_that_the_profile_gives(tmp_path):
    workflow = Workflow(tmp_path, volumes={**SMALL["volumes"], "test": synthetic("test", 3, (200, 300, 300))})
    out = message(workflow, "--set-resources", "import_volume:mem_mb=600")
    assert "error: import: a synthetic volume of 200 x 300 x 300 voxels takes 800 MB, but the memory budget is 600 MB" in out
    assert len(list(workflow.results().glob("volumes/*/volume.json"))) < 3


def test_the_command_line_shows_one_line(tmp_path):
    workflow = Workflow(tmp_path, training={"stepps": 3})
    command = [
        workflow.command()[0].replace("snakemake", "python"),
        "-m",
        "pipeline_lib",
        "config",
        "check",
        str(workflow.config),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: {workflow.config}: training.stepps: unknown key; did you mean 'steps'?"]


def test_a_key_that_stands_twice_is_refused_by_the_workflow_too(tmp_path):
    workflow = Workflow(tmp_path)
    workflow.config.write_text(workflow.config.read_text() + "project: another\n")
    assert "the key 'project' stands twice" in message(workflow, "--dry-run")
