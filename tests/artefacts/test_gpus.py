"""Each process that asks for a GPU has one of its own, and no more is visible to it."""

import os
import subprocess
import sys
import time

import pytest

from pipeline_lib.artefacts import gpus
from pipeline_lib.artefacts.gpus import VISIBLE, own_gpus
from pipeline_lib.errors import UserError

HOLDER = """
import os, sys
from pipeline_lib.artefacts.gpus import own_gpus
with own_gpus(int(sys.argv[1])):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def two_gpus(tmp_path, monkeypatch):
    """Of ids that no machine has."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)
    monkeypatch.setenv(VISIBLE, "71,GPU-7/2")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def holder(n):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_jobs_have_a_gpu_each_and_a_third_waits_for_the_first_that_dies():
    with holder(1) as one, holder(1) as other:
        try:
            first, second = (process.stdout.readline().strip() for process in (one, other))
            assert {first, second} == {"71", "GPU-7/2"}
            with holder(1) as third:
                assert third.stderr.readline() == "waiting for 1 of the GPUs 71, GPU-7/2, which others have\n"
                time.sleep(1)
                assert third.poll() is None
                one.kill()
                assert third.stdout.readline().strip() == first
                third.kill()
        finally:
            one.kill()
            other.kill()


def test_two_jobs_that_each_want_both_have_them_in_turn():
    with holder(2) as one, holder(2) as other:
        while (one.poll(), other.poll()) == (None, None):
            ready = [process for process in (one, other) if _has_printed(process)]
            assert len(ready) < 2
            if ready:
                ready[0].stdin.close()
                ready[0].wait(10)
        for process in (one, other):
            process.stdin.close() if not process.stdin.closed else None
            assert process.stdout.readline().strip() == "71,GPU-7/2"
            assert process.wait(10) == 0


def _has_printed(process):
    import select

    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_what_was_visible_is_so_again():
    with own_gpus(1):
        assert os.environ[VISIBLE] == "71"
    with own_gpus(0):
        assert os.environ[VISIBLE] == ""
    with own_gpus(None):
        assert os.environ[VISIBLE] == "71,GPU-7/2"


def test_devices_of_the_machine_are_found(tmp_path, monkeypatch):
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    with own_gpus(2):
        assert os.environ[VISIBLE] == "2,10"
    assert VISIBLE not in os.environ


def test_a_machine_without_gpus_computes_on_its_processors(tmp_path, monkeypatch):
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    with own_gpus(1):
        assert VISIBLE not in os.environ


def test_in_a_job_of_slurm_those_that_it_has_given_are_used(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with own_gpus(2), own_gpus(2):
        assert os.environ[VISIBLE] == "71,GPU-7/2"


@pytest.mark.parametrize(
    ("in_slurm", "message"),
    [
        (True, "asked for 3 GPUs, but Slurm has given this job 2; change `gpu` in the profile, or CUDA_VISIBLE_DEVICES"),
        (False, "asked for 3 GPUs, but there are 2; change `gpu` in the profile, or CUDA_VISIBLE_DEVICES"),
    ],
)
def test_too_few_gpus_are_an_error(in_slurm, message, monkeypatch):
    if in_slurm:
        monkeypatch.setenv("SLURM_JOB_ID", "1")
    with pytest.raises(UserError) as error, own_gpus(3):
        pass
    assert str(error.value) == message


def test_a_job_of_slurm_without_a_gpu_does_not_compute_on_processors_instead(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv(VISIBLE, "")
    with pytest.raises(UserError, match="asked for 1 GPUs, but Slurm has given this job 0"), own_gpus(1):
        pass
