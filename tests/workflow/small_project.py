"""Running the workflow as a user does, on a project small enough for tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))


def synthetic(split, seed, shape=(48, 64, 64)):
    return {"kind": "synthetic", "split": split, "shape_vox": list(shape), "seed": seed}


SMALL = {
    "project": "small",
    "volumes": {"train": synthetic("train", 1), "val": synthetic("val", 2), "test": synthetic("test", 3)},
    "network": {"name": "rsunet", "width": [4, 8], "input_kernel": [1, 3, 3], "output_kernel": [1, 3, 3]},
    "training": {
        "patch_vox": [16, 32, 32],
        "steps": 8,
        "validate_every_steps": 4,
        "validation_patches": 2,
        "precision": "float32",
    },
    "choice": {"thresholds": [0.3, 0.5, 0.7]},
}


# Jobs of small volumes are mostly the start of a process: one thread each, and as many at once as there are cores.
IN_BLOCKS = ("predict", "average", "sweep", "label", "segment", "evaluate")
RULES = ("import_volume", "import_part", "train", *IN_BLOCKS, *(f"{rule}_part" for rule in IN_BLOCKS))
SIDE_BY_SIDE = ("--set-threads", *(f"{rule}=1" for rule in RULES))


class Workflow:
    """One project in a folder of its own, which may hold spaces and quotes. workers: stages have all cores, one at a time."""

    repository = ROOT
    profile = ROOT / "profiles" / "local"
    environment = None  # that of the tests

    def __init__(self, folder, *, workers=False, **settings):
        self.threads = () if workers else SIDE_BY_SIDE
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure(**settings)

    def configure(self, **settings):
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump({**SMALL, **settings}, sort_keys=False))

    def command(self, *arguments):
        base = [SNAKEMAKE, "--snakefile", self.repository / "workflow" / "Snakefile", "--profile", self.profile]
        return [str(word) for word in [*base, "--configfile", self.config, *self.threads, *arguments]]

    def run(self, *arguments, check=True):
        """Output and exit code of the whole workflow, or of snakemake with `arguments`."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(done.stdout)
        return done.stdout, done.returncode

    def planned(self):
        """The rules that a run would execute, with the number of jobs of each."""
        out, _ = self.run("--dry-run")
        if "Nothing to be done" in out:
            return {}
        table = out[out.index("Job stats:") :].split("total")[0].splitlines()[3:]
        return {name: int(count) for name, count in (line.split() for line in table if line.strip())}

    def killed_when(self, reached, patience_s=240):
        """Start the workflow and SIGKILL all of it as soon as `reached()` holds; False if it ended before."""
        process = subprocess.Popen(
            self.command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + patience_s
        try:
            while process.poll() is None and time.monotonic() < end:
                if reached():
                    return True
                time.sleep(0.005)
            return False
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
            process.wait()

    def results(self):
        return self.folder / "results" / "small"
