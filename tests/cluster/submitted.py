"""A training small enough for tests, in jobs of a Slurm of tests, called as the workflow calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from slurm_cluster import processes_of

from pipeline_lib.artefacts import read_json
from pipeline_lib.settings.stages import TrainStage, execution_json, science_json
from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.train import train_segment
from pipeline_lib.volumes import Volume, create_array

PATIENCE_S = 240
FOLDER = 'my "model"; $(touch ran) `touch ran` & #1'  # what a shell would run, or stumble over, where a path is not quoted
NETWORK = {
    "name": "rsunet",
    "width": [4, 8],
    "input_kernel": [1, 3, 3],
    "output_kernel": [1, 3, 3],
    "normalisation": "instance",
}


def settings_of(**training):
    defaults = {
        "patch_vox": (8, 16, 16),
        "batch_size": 2,
        "warmup_steps": 3,
        "precision": "float32",
        "log_every_steps": 2,
        "workers": 0,
        "save_every_s": 0.3,
        "job_poll_s": 1.0,
        "save_before_limit_s": 20.0,
    }
    return TrainStage(
        seed=3,
        targets={},
        augment={},
        network={**NETWORK, "normalisation": "instance"},
        loss={},
        training={**defaults, **training},
    )


def stripes(folder):
    """A volume of slabs between dark membranes."""
    shape = (20, 36, 36)
    _, y, x = np.indices(shape)
    labels = ((y + x // 2) // 8 + 1).astype(np.uint32)
    noise = np.random.default_rng(0).normal(0, 12, shape)
    image = np.clip(np.where((y + x // 2) % 8 == 0, 60, 180) + noise, 0, 255).astype(np.uint8)
    for kind, array in (("image", image), ("labels", labels)):
        create_array(folder / f"{kind}.zarr", shape, str(array.dtype), attributes={})[:] = array
    volume = Volume(folder, "stripes", shape, (10.0, 10.0, 10.0), image_path="image.zarr", labels_path="labels.zarr")
    volume.save()
    return volume


class SubmittedTraining:
    """One segment. `resources` as a profile gives them."""

    def __init__(self, folder, cluster, *, resources=None, **training):
        self.folder = Path(folder) / FOLDER
        self.cluster = cluster
        self.settings = settings_of(**training)
        self.end_step = self.settings.training.steps
        self.resources = {"slurm_partition": "work", "runtime": 5, "mem_mb": 1000, "gpu": 0, **(resources or {})}
        self.volume = stripes(Path(folder) / "volume")
        self.segment = self.folder / "segments" / str(self.end_step)
        self.checkpoint = self.segment / "checkpoint.ckpt"
        self.output = Path(folder) / "output.txt"

    def command(self, launcher="submitit"):
        options = {
            "output": self.checkpoint,
            "train-volume": self.volume.folder / "volume.json",
            "settings": science_json(self.settings),
            "execution": execution_json(self.settings),
            "launcher": launcher,
            "resources": json.dumps(self.resources),
            "log": self.folder.parent / "log.txt",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "pipeline_lib", "train", *words]

    def start(self, launcher="submitit"):
        environment = {**self.cluster.environment, "OMP_NUM_THREADS": "1"}
        environment.pop("PIPELINE_WORKFLOW", None)
        with self.output.open("a") as file:
            return subprocess.Popen(
                self.command(launcher), env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @contextmanager
    def running(self):
        process = self.start()
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def told(self):
        return self.output.read_text() if self.output.exists() else ""

    def job(self, process=None, *states, but=()):
        """The id of its job, as soon as it is in one of the states (RUNNING if none is given)."""
        chosen = ["--states", ",".join(states or ("RUNNING",))]
        return self.await_(lambda: self._other(chosen, but), process, "no job came")

    def _other(self, chosen, but):
        lines = self.cluster.client("squeue", "--noheader", "--format", "%i %j", *chosen).stdout.splitlines()
        jobs = [line.split()[0] for line in lines if line.split()[1].startswith("train-")]
        return next((job for job in jobs if job not in but), None)

    def send(self, number, job):
        """A signal to the process that trains, as its system would send it: nothing of Slurm knows."""
        for process in processes_of(self.cluster.folder):
            with suppress(psutil.Error):
                is_task = "submitit.core._submit" in process.cmdline() and process.name() != "srun"
                if is_task and process.environ()["SLURM_JOB_ID"] == job:
                    process.send_signal(number)
                    return
        raise AssertionError(f"job {job} does not train")

    def saved_step(self):
        path = self.segment / "resume.ckpt"
        return load_checkpoint(path, mmap=True)["step"] if path.exists() else 0

    def await_step(self, step, process=None):
        self.await_(lambda: self.saved_step() >= step, process, f"step {step} was not saved")

    def await_(self, holds, process, message):
        end = time.monotonic() + PATIENCE_S
        while not (found := holds()):
            assert process is None or process.poll() is None, self.told()
            assert time.monotonic() < end, f"{message}: {self.told()}"
            time.sleep(0.1)
        return found

    def attempts(self):
        return self.record()["jobs"]

    def attempt_files(self, job):
        return list((self.segment / "submitted").glob(f"{job}-*.json"))

    def log(self):
        return (self.folder.parent / "log.txt").read_text()

    def record(self):
        return read_json(self.segment / "record.json")

    def assert_as_if_undisturbed(self, tmp_path, *, tolerance=0.0):
        undisturbed = tmp_path / "undisturbed"
        threads = torch.get_num_threads()
        train_segment(self.settings, [self.volume], [], undisturbed, end_step=self.end_step)
        torch.set_num_threads(threads)
        expected = load_checkpoint(undisturbed / "segments" / str(self.end_step) / "checkpoint.ckpt")
        got = load_checkpoint(self.checkpoint)
        assert got["step"] == self.end_step
        if tolerance == 0:
            for key in ("state_dict", "optimizer"):
                torch.testing.assert_close(got[key], expected[key], rtol=0, atol=0)
        else:  # Adam makes whole steps of gradients that are 0 but for rounding
            a, b = (torch.cat([w.flatten() for w in checkpoint["state_dict"].values()]) for checkpoint in (got, expected))
            assert torch.linalg.norm(a - b) < tolerance * torch.linalg.norm(b)
            assert got["log"]["rows"][-1][2] == pytest.approx(expected["log"]["rows"][-1][2], rel=tolerance)


def end_with(process, number=signal.SIGINT):
    os.killpg(process.pid, number)
    return process.wait(60)
