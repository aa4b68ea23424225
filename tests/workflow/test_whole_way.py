"""From volumes to report, and what a second run does."""

import json
import shutil

import numpy as np
import pytest
import yaml
from small_project import SMALL, Workflow, synthetic

from pipeline_lib.volumes import open_array

AFTER_SEGMENTING = {"label": 2, "segment": 2, "evaluate": 2, "report": 1, "all": 1}


def test_the_workflow_ends_with_a_report_and_prints_the_headline(finished):
    report = finished.results() / "report" / "index.html"
    assert report.stat().st_size > 10_000
    assert "results/small/report/index.html" in finished.output
    assert "NERL" in finished.output[finished.output.index("Report:") - 2000 :]


def test_metrics_belong_to_the_choice_made_on_val(finished):
    (choice_file,) = finished.results().glob("sweeps/*/choice.json")
    choice = json.loads(choice_file.read_text())
    assert choice["volumes"] == ["val"]
    metrics = [json.loads(p.read_text()) for p in sorted(finished.results().glob("evaluations/*/*/metrics.json"))]
    assert sorted(m["volume"] for m in metrics) == ["test", "val"]
    for scores in metrics:
        assert scores["choice"]["threshold"] == choice["threshold"]
        assert 0 <= scores["skeletons"]["nerl"] <= 1
        assert scores["voxels"]["voi_split"] >= 0
    (curve_file,) = finished.results().glob("sweeps/*/*/curve.json")
    points = json.loads(curve_file.read_text())["points"]
    best = max(points, key=lambda p: (p["skeletons"]["nerl"], p["threshold"]))
    assert best["threshold"] == choice["threshold"]
    val = next(m for m in metrics if m["volume"] == "val")
    assert val["skeletons"] == best["skeletons"]


def test_a_second_run_does_nothing(finished):
    assert finished.planned() == {}
    before = sorted((p, p.stat().st_mtime_ns) for p in finished.results().rglob("*.json"))
    finished.run()
    assert sorted((p, p.stat().st_mtime_ns) for p in finished.results().rglob("*.json")) == before


def test_what_is_run_otherwise_is_not_run_again(finished):
    text = finished.config.read_text()
    try:
        finished.config.write_text("# a comment\n" + text)
        assert finished.planned() == {}
        training = {**SMALL["training"], "workers": 0, "log_every_steps": 7, "save_every_s": 5.0}
        finished.configure(training=training, inference={"block_vox": [128, 128, 128]})
        assert finished.planned() == {}
        in_jobs = dict.fromkeys(("import", "predict", "label", "segment", "sweep", "evaluate"), 1)
        finished.configure(blocks_per_job=in_jobs, segmentation={"block_vox": [128, 128, 128]})
        assert finished.planned() == {}
    finally:
        finished.config.write_text(text)


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"segmentation": {"threshold": 0.5}}, AFTER_SEGMENTING),
        ({"segmentation": {"min_size_vox": 9}}, {"sweep": 1, "choose_threshold": 1, **AFTER_SEGMENTING}),
        ({"evaluation": {"worst_errors": 3}}, {"evaluate": 2, "report": 1, "all": 1}),
        (
            {"volumes": {**SMALL["volumes"], "more": synthetic("test", 4)}},
            {"import_volume": 1, "predict": 1, "label": 1, "segment": 1, "evaluate": 1, "report": 1, "all": 1},
        ),
        ({"inference": {"logit_scale": 1.0}}, {"predict": 2, "sweep": 1, "choose_threshold": 1, **AFTER_SEGMENTING}),
    ],
    ids=["threshold", "size filter", "metrics", "one more volume", "inference"],
)
def test_a_change_runs_only_what_follows_from_it(finished, change, jobs):
    text = finished.config.read_text()
    try:
        finished.configure(**change)
        planned = finished.planned()
    finally:
        finished.config.write_text(text)
    assert planned == jobs


def test_a_run_is_compared_with_another_of_the_same_project(finished):
    text = finished.config.read_text()
    (evaluations,) = (finished.results() / "evaluations").iterdir()
    try:
        against = str(evaluations.relative_to(finished.folder))
        finished.configure(segmentation={"threshold": 0.5}, evaluation={"against": against})
        assert finished.planned() == AFTER_SEGMENTING
        finished.run()
        assert finished.planned() == {}
        (compared,) = {*(finished.results() / "evaluations").iterdir()} - {evaluations}
        for path in compared.rglob("metrics.json"):
            comparison = json.loads(path.read_text())["comparison"]
            other = json.loads((evaluations / path.parent.name / "metrics.json").read_text())
            assert comparison["against"] == other["segmentation_id"]
            if path.parent.name.startswith("test"):
                assert comparison["verdict"] in (finished.results() / "report" / "index.html").read_text()
        assert len(list(compared.rglob("metrics.json"))) == 2
        finished.configure(evaluation={"against": "results/none"})
        out, code = finished.run("--dry-run", check=False)
        assert code != 0
        assert "evaluation.against: results/none/val-" in out
    finally:
        finished.config.write_text(text)
        finished.run()


def test_any_division_into_jobs_gives_the_same_and_repeats_nothing(tmp_path):
    """One block a job, then another division, which runs nothing; the result is that of one job for each stage."""
    wide = {**SMALL["volumes"], "test": synthetic("test", 3, (32, 150, 150))}
    small_blocks = {group: {"block_vox": [128, 128, 128]} for group in ("inference", "segmentation", "evaluation")}
    stages = ("import", "predict", "label", "segment", "sweep", "evaluate")
    one = Workflow(tmp_path / "one", volumes=wide, **small_blocks)
    one.run()
    many = Workflow(tmp_path / "many", volumes=wide, **small_blocks, blocks_per_job=dict.fromkeys(stages, 1))
    planned = many.planned()
    assert {rule: planned[rule] for rule in planned if rule.endswith("_part")} == dict.fromkeys(
        ("predict_part", "label_part", "segment_part", "evaluate_part"), 1 + 4
    )
    many.run()
    for workflow in (one, many):
        for n in (1, 2, 3):
            workflow.configure(volumes=wide, **small_blocks, blocks_per_job=dict.fromkeys(stages, n))
            assert workflow.planned() == {}
    read = lambda workflow: {p.parts[-2:]: p.read_text() for p in workflow.results().glob("evaluations/*/*/*.*")}  # noqa: E731
    metrics = [{name: text for name, text in read(w).items() if name[1] == "metrics.json"} for w in (one, many)]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) == 2


def test_every_stage_left_its_log_and_its_cost(finished):
    for stage in ("import", "train", "predict", "sweep", "label", "segment", "evaluate"):
        assert list((finished.results() / "logs" / stage).rglob("*.log")), stage
    records = [json.loads(p.read_text()) for p in finished.results().rglob("record.json")]
    assert {r["stage"] for r in records} >= {"import", "train", "predict", "sweep", "label", "segment", "evaluate"}
    assert all(r["wall_s"] > 0 and r["peak_memory_mb"] > 10 for r in records)


def test_snakemakes_own_report_works(finished, tmp_path):
    finished.run("--report", str(tmp_path / "report.zip"))
    assert (tmp_path / "report.zip").stat().st_size > 1000


def test_the_default_config_is_the_demo(finished):
    command = [word for word in finished.command("--dry-run") if word not in ("--configfile", str(finished.config))]
    import subprocess

    out = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=True)
    assert "results/demo/report/index.html" in out.stdout + out.stderr


def test_the_nisb_layout_end_to_end(tmp_path, shared_data):
    root = tmp_path / "nisb's data"
    shutil.copytree(shared_data / "nisb_layout", root)
    volumes = {
        split: {"kind": "nisb", "split": split, "path": str(root / split / "seed0"), "voxel_size_nm": [10, 10, 10]}
        for split in ("train", "val")
    }
    workflow = Workflow(tmp_path, volumes=volumes)
    workflow.run()
    (metrics_file,) = workflow.results().glob("evaluations/*/*/metrics.json")
    metrics = json.loads(metrics_file.read_text())
    assert metrics["skeletons"]["n_skeletons"] > 10
    (image,) = workflow.results().glob("volumes/val-*/image.zarr/0")
    (labels,) = workflow.results().glob("volumes/val-*/labels.zarr/0")
    source = open_array(root / "val" / "seed0" / "data.zarr" / "img")
    assert np.array_equal(open_array(image)[:], np.transpose(source[..., 0]))
    assert np.array_equal(open_array(labels)[:], np.transpose(open_array(root / "val" / "seed0" / "data.zarr" / "seg")[:]))


def test_yaml_of_the_model_is_complete(finished):
    (path,) = finished.results().glob("models/*/settings.yaml")
    settings = yaml.safe_load(path.read_text())
    assert settings["training"]["steps"] == 8
    assert settings["network"]["name"] == "rsunet"
