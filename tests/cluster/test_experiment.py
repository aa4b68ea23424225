"""An experiment of several jobs for each stage, from volumes to the report, on both nodes."""

import re

import pytest
from blocks_project import blocks_settings
from cluster_project import ClusterWorkflow
from same_results import assert_same_result
from small_project import ROOT, Workflow

# What a shell would run, or stumble over, wherever a path or a value is not quoted.
FOLDER, FILE = 'a user\'s "folder"; $(touch ran) `touch ran` & #1', "val $(touch ran); `touch ran`.h5"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Run by the local profile, with as many threads as on the cluster."""
    folder = tmp_path_factory.mktemp("local")
    workflow = Workflow(folder, workers=True, **blocks_settings(folder, FILE))
    workflow.run("--cores", "2")
    return workflow


@pytest.fixture
def experiment(cluster, tmp_path):
    folder = tmp_path / FOLDER
    workflow = ClusterWorkflow(folder, cluster, **blocks_settings(folder, FILE))
    workflow.repository = tmp_path / "my repository $HOME"
    workflow.repository.symlink_to(ROOT)
    return workflow


@pytest.mark.slow
def test_an_experiment_ends_with_the_result_of_the_local_profile(local, experiment, cluster, tmp_path):
    out, _ = experiment.run()
    assert "Report: results/small/report/index.html" in out
    assert_same_result(local, experiment)
    assert experiment.planned() == {}
    assert not list(tmp_path.rglob("ran"))
    nodes = {name: cluster.job(job)["NodeList"] for name, job in experiment.jobs("COMPLETED").items()}
    for stage in ("predict", "label"):
        shards = {name: node for name, node in nodes.items() if name.startswith(f"{stage}_part") and "-of-" in name}
        assert len(shards) == 2
    assert {node for name, node in nodes.items() if re.match("predict_part.*-of-2", name)} == {"n1", "n2"}
    assert not any(name.startswith("choose_") for name in nodes)  # by the workflow itself
