"""A config with a sweep, as a user runs it: two folds of one cube, and their ensemble."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from small_project import Workflow, synthetic

from pipeline_lib.volumes import open_array

VOLUMES = {"cube": synthetic("train", 1, (96, 64, 64)), "test": synthetic("test", 3)}
FOLDS = {"count": 2, "slabs": "z"}
JOBS = {
    "import_volume": 3,
    "train": 2,
    "choose_checkpoint": 2,
    "predict": 4,
    "average": 1,
    "sweep": 2,
    "choose_threshold": 3,
    "label": 5,
    "segment": 5,
    "evaluate": 5,
    "report": 3,
    "compare": 1,
    "all": 1,
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("a user's sweep"), volumes=VOLUMES, sweep={"folds": FOLDS})
    workflow.jobs = workflow.planned()
    workflow.output, _ = workflow.run()
    return workflow


def test_the_dry_run_tells_the_number_of_runs_and_of_what_they_share(swept):
    out, _ = swept.run("--dry-run")
    assert out.count("sweep: 3 runs of small; what they share is made once: import 3, train 2,") == 1
    assert swept.jobs == JOBS


def test_each_run_has_a_page_and_the_comparison_leads_to_them(swept):
    report = swept.results() / "report"
    page = (report / "index.html").read_text()
    for name in ("fold=1", "fold=2", "fold=mean"):
        assert (report / "runs" / name / "index.html").exists()
        assert f'href="runs/{name}/index.html"' in page
    assert "Report: results/small/report/index.html" in swept.output


def test_the_table_for_other_tools_has_every_run_and_volume(swept):
    with (swept.results() / "report" / "results.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = {(row["run"], row["split"], row["volume"]) for row in rows}
    assert found == {
        ("fold=1", "val", "cube-z1of2"),
        ("fold=1", "test", "test"),
        ("fold=2", "val", "cube-z2of2"),
        ("fold=2", "test", "test"),
        ("fold=mean", "test", "test"),
    }


def test_the_ensemble_is_the_mean_of_what_the_folds_predict(swept):
    arrays = {path.parts[-4]: open_array(path)[:] for path in swept.results().glob("predictions/*/test-*/affinities.zarr/0")}
    (name,) = (name for name in arrays if name.startswith("mean-"))
    members = [array.astype(int) for other, array in arrays.items() if other != name]
    assert len(members) == 2
    assert np.abs(members[0] - members[1]).max() > 1, "two networks"
    np.testing.assert_array_equal(arrays[name], (members[0] + members[1] + 1) // 2)


def test_it_is_done_and_another_value_runs_only_what_is_new(swept):
    text = swept.config.read_text()
    try:
        assert swept.planned() == {}
        swept.configure(volumes=VOLUMES, sweep={"folds": FOLDS, "grid": {"segmentation.min_size_vox": [0, 20]}})
        planned = swept.planned()
    finally:
        swept.config.write_text(text)
    again = {"sweep": 2, "choose_threshold": 3, "label": 5, "segment": 5, "evaluate": 5}
    assert planned == {**again, "report": 6, "compare": 1, "all": 1}, "reports, as runs have other names now"


def test_all_that_a_sweep_has_made_is_needed(swept):
    command = [sys.executable, "-m", "pipeline_lib", "runs", str(swept.config)]
    out = subprocess.run(command, cwd=swept.folder, capture_output=True, text=True, check=True).stdout
    assert "0 of them, 0.0 MB, are needed by no config given" in out
    assert out.count("models/") == 2
