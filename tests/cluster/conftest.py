import os

import pytest
from slurm_cluster import Cluster, missing


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory):
    """A real Slurm of two nodes; where none can be started the tests are skipped, or fail if REQUIRE_CLUSTER is set."""
    reason = missing()
    if reason:
        (pytest.fail if os.environ.get("REQUIRE_CLUSTER") else pytest.skip)(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running_cluster):
    """The cluster without jobs, whatever the test before has left."""
    running_cluster.clear()
    yield running_cluster
    running_cluster.clear()
