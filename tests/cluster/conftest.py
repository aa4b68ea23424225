import os
from contextlib import contextmanager

import pytest
from slurm_cluster import Cluster, missing, missing_for_accounting


@contextmanager
def started(folder, **options):
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory):
    """A real Slurm of two nodes; where none can be started the tests are skipped, or fail if REQUIRE_CLUSTER is set."""
    reason = missing()
    if reason:
        (pytest.fail if os.environ.get("REQUIRE_CLUSTER") else pytest.skip)(reason)
    with started(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster):
    """The cluster without jobs, whatever the test before has left."""
    running_cluster.clear()
    yield running_cluster
    running_cluster.clear()


@pytest.fixture(scope="module")
def accounted_cluster(tmp_path_factory):
    """One with accounting, on which squeue forgets jobs soon; where it cannot be had the tests are skipped."""
    if reason := missing() or missing_for_accounting():
        pytest.skip(reason)
    with started(tmp_path_factory.mktemp("accounted"), accounting=True, remembers_s=2) as cluster:
        yield cluster
