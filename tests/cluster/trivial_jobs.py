"""Jobs of trivial work on the cluster of the tests."""

from pathlib import Path

import yaml
from cluster_project import ClusterWorkflow, adapted

SNAKEFILE = Path(__file__).with_name("trivial") / "Snakefile"


class TrivialJobs(ClusterWorkflow):
    """`command` runs in each job with `n`, its name, and `output`, the file to make; options: of sbatch, by job."""

    def __init__(self, folder, cluster, *, jobs, command, options=None, partitions=None, minutes=None, profile_changes=None):
        super().__init__(folder, cluster, profile_changes=profile_changes)
        self.configure_jobs(jobs, command, options, partitions, minutes)

    def configure_jobs(self, jobs, command, options=None, partitions=None, minutes=None):
        config = {"jobs": list(map(str, jobs)), "command": command}
        config |= {"options": options or {}, "partitions": partitions or {}, "minutes": minutes or {}}
        self.config.write_text(yaml.safe_dump(config))

    def adapt(self, **changes):
        profile = adapted(**{"retries": 2, **changes})
        profile["default-resources"]["mem_mb"] = 100
        del profile["set-resources"], profile["set-threads"]
        profile["latency-wait"] = 5
        (self.profile / "config.yaml").write_text(yaml.safe_dump(profile))

    def command(self, *arguments):
        words = super().command(*arguments)
        words[words.index("--snakefile") + 1] = str(SNAKEFILE)
        return words

    def starts(self, n):
        """How often a job was started, where its command tells by a line in `starts/<n>`."""
        file = self.folder / "starts" / str(n)
        return len(file.read_text().splitlines()) if file.exists() else 0
