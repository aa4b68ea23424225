"""An experiment of several jobs for each stage, from volumes to the report, on both nodes."""

import re
import time

import pytest
import yaml
from blocks_project import BLOCKS, JOBS, blocks_settings
from cluster_project import SHIPPED, ClusterWorkflow, long
from same_results import assert_same_result
from slurm_cluster import CPUS_PER_NODE
from small_disk import small_disk
from small_project import ROOT, Workflow

# What a shell would run, or stumble over, wherever a path or a value is not quoted.
FOLDER, FILE = 'my "project"; $(touch ran) `touch ran` & #1', "val $(touch ran); `touch ran`.h5"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Run by the local profile, with as many threads as on the cluster."""
    folder = tmp_path_factory.mktemp("local")
    workflow = Workflow(folder, workers=True, **blocks_settings(folder, FILE))
    workflow.run("--cores", "1")
    return workflow


@pytest.fixture
def experiment(cluster, tmp_path):
    folder = tmp_path / FOLDER
    workflow = ClusterWorkflow(folder, cluster, **blocks_settings(folder, FILE))
    workflow.repository = tmp_path / "my repository $HOME"
    workflow.repository.symlink_to(ROOT)
    return workflow


pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


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


@long
def test_a_node_that_dies_in_the_middle_changes_nothing(local, experiment, cluster):
    """With all that ran there, while the jobs that share a prediction are at work; the node comes back later."""
    with experiment.running() as process:
        experiment.job_of("predict_part", process, states=("RUNNING",), patience_s=900)
        while not (lost := _shards_on(cluster, experiment, "n2")):
            assert process.poll() is None, experiment.output()
            time.sleep(0.2)
        cluster.fail_node("n2")
        for job in lost:
            cluster.await_state(job, "NODE_FAIL")
        cluster.start_node("n2")
        assert process.wait(1200) == 0, experiment.output()
    assert_same_result(local, experiment)
    attempts = re.findall(r"Trying to restart job", experiment.output())
    assert len(attempts) == len(lost)  # those that the node has taken along, each alone


@long
def test_a_full_disk_during_a_shard_is_named_and_loses_nothing(local, experiment):
    experiment.adapt(retries=0)
    with small_disk(experiment.folder / "results", 2600) as remount:
        out, code = experiment.run(check=False)
        assert code == 1
        assert re.search(r"Error in rule \w+_part", out)
        assert "No space left on device" in out
        assert "Traceback" not in out
        done = {path: path.stat().st_mtime_ns for path in experiment.results().rglob("complete.json")}
        assert done
        remount("size=100m")
        experiment.run()
        assert {path: path.stat().st_mtime_ns for path in done} == done
        assert_same_result(local, experiment)


@long
@pytest.mark.timeout(7200)
def test_the_demo_ends_as_with_the_local_profile(cluster, tmp_path):
    """In several jobs for each stage, with as many threads in either. Those that label fill a node each."""
    threads = dict.fromkeys(yaml.safe_load(SHIPPED.read_text())["set-threads"], 2) | {"label_part": CPUS_PER_NODE}
    demo = {**yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()), "project": "small", "choice": {}}
    demo |= {**BLOCKS, "blocks_per_job": JOBS}
    local = Workflow(tmp_path / "local", workers=True, **demo)
    local.run("--cores", "2")
    experiment = ClusterWorkflow(tmp_path / "cluster", cluster, profile_changes={"set-threads": threads}, **demo)
    out, _ = experiment.run()
    print(out[out.rindex("Report:") - 500 :])
    assert_same_result(local, experiment)
    nodes = {name: cluster.job(job)["NodeList"] for name, job in experiment.jobs("COMPLETED").items()}
    for stage in ("predict", "label"):
        assert {node for name, node in nodes.items() if re.match(f"{stage}_part.*-of-", name)} == {"n1", "n2"}


def _shards_on(cluster, experiment, node):
    """The ids of the jobs at work on a share of the prediction there."""
    at_work = {name: job for name, job in experiment.jobs("RUNNING").items() if re.match("predict_part.*-of-", name)}
    return [job for job in at_work.values() if cluster.job(job)["NodeList"] == node]
