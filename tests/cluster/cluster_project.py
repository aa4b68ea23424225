"""Running the workflow on a Slurm of tests, with the shipped profile adapted to it as a user adapts it."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
import yaml
from small_project import ROOT, Workflow

SHIPPED = ROOT / "profiles" / "slurm" / "config.yaml"
POLL_S = 2

long = pytest.mark.skipif(not os.environ.get("TEST_CLUSTER_LONG"), reason="takes minutes: `make test-cluster`")


def adapted(**changes):
    """The shipped profile for a cluster of small nodes with one partition, which is asked often."""
    profile = yaml.safe_load(SHIPPED.read_text())
    profile["default-resources"].update(slurm_partition="work", runtime=30, mem_mb=1500)
    for resources in profile["set-resources"].values():
        own = {"slurm_partition": "work", "runtime": 30, "mem_mb": 2000}
        resources.update({name: value for name, value in own.items() if name in resources})
    profile["set-threads"] = dict.fromkeys(profile["set-threads"], 1)
    profile["slurm-init-seconds-before-status-checks"] = POLL_S
    profile["max-status-checks-per-second"] = 1 / POLL_S
    return {**profile, **changes}


class ClusterWorkflow(Workflow):
    """A project whose jobs go to a cluster. `profile_changes` replace whole entries of the profile."""

    def __init__(self, folder, cluster, *, profile_changes=None, **settings):
        super().__init__(folder, workers=True, **settings)
        self.cluster = cluster
        self.environment = cluster.environment
        self.profile = self.folder / "profile"
        self.profile.mkdir(exist_ok=True)
        self.adapt(**(profile_changes or {}))

    def adapt(self, **changes):
        (self.profile / "config.yaml").write_text(yaml.safe_dump(adapted(**changes)))

    @contextmanager
    def running(self, *arguments):
        """The workflow while it runs; killed, with the jobs left to themselves, if it is not done at the end of the block."""
        with (self.folder / "output.txt").open("w") as file:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def output(self):
        return (self.folder / "output.txt").read_text()

    def jobs(self, *states):
        """The ids of the cluster's jobs by rule and wildcards, of those in a state; without any, of those that are not done."""
        chosen = ["--states", ",".join(states)] if states else []
        lines = self.cluster.client("squeue", "--noheader", "--format", "%i %k", *chosen).stdout.splitlines()
        return {comment.removeprefix("rule_"): job for job, comment in (line.split(" ", 1) for line in lines)}

    def job_of(self, rule, process, *, states=("RUNNING",), patience_s=120):
        """The id of a job of this rule, as soon as it is in one of the states; fails when the workflow ends before."""
        end = time.monotonic() + patience_s
        while True:
            found = [job for comment, job in self.jobs(*states).items() if comment.split("_wildcards_")[0] == rule]
            if found:
                return found[0]
            assert process.poll() is None, self.output()
            assert time.monotonic() < end, f"no job of {rule}"
            time.sleep(0.2)
