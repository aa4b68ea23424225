"""Training on a GPU: to tolerance that of a processor, and to the bit that of an undisturbed run after a crash.

Where kernels add up in any order, as the fastest do, two undisturbed runs differ, too; so they are told not to.
"""

import pytest
import torch

from pipeline_lib.artefacts import read_json
from pipeline_lib.errors import UserError
from pipeline_lib.training.checkpoint import load_checkpoint
from pipeline_lib.training.train import train_segment

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Full float32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def in_order(monkeypatch):
    """Each sum always in the same order."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class CrashError(Exception):
    """Stands for a kill: nothing of ours handles it."""


def train(settings, volumes, folder, *, steps=12, device="cuda"):
    train_segment(settings, *volumes, folder, end_step=steps, device=device)
    return load_checkpoint(folder / "segments" / str(steps) / "checkpoint.ckpt")


def losses(content):
    return [row[2] for row in content["log"]["rows"]]


@pytest.fixture
def volumes(stripes):
    return [stripes("train", shape=(40, 40, 40))], [stripes("val", shape=(40, 40, 40), seed=1)]


def test_the_losses_are_those_of_a_processor(volumes, make_settings, tmp_path):
    settings = make_settings(steps=30, learning_rate=0.01)
    on_gpu = train(settings, volumes, tmp_path / "gpu", steps=30)
    on_cpu = train(settings, volumes, tmp_path / "cpu", steps=30, device="cpu")
    assert torch.cuda.max_memory_allocated() > 0
    assert losses(on_gpu) == pytest.approx(losses(on_cpu), rel=0.01)
    assert on_gpu["validation_loss"] == pytest.approx(on_cpu["validation_loss"], rel=0.01)
    assert on_gpu["random"]["cuda"]
    assert read_json(tmp_path / "gpu" / "plan.json")["hardware"]["device"] == torch.cuda.get_device_name()


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_crash_and_a_second_run_give_the_weights_of_an_undisturbed_one(
    volumes, make_settings, tmp_path, monkeypatch, workers
):
    network = {"name": "mednext", "init_filters": 4}  # max pooling has no fixed order in older versions of torch
    settings = make_settings(network=network, patch_vox=(32, 32, 32), save_every_s=1e-6, workers=workers)
    undisturbed = train(settings, volumes, tmp_path / "undisturbed")

    from pipeline_lib.training import module

    calls = iter(range(100))

    def crashing(*arguments, loss=module.masked_bce):
        if next(calls) == 7:
            raise CrashError
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "masked_bce", crashing)
        with pytest.raises(CrashError):
            train(settings, volumes, tmp_path / "killed")
    assert load_checkpoint(tmp_path / "killed" / "segments" / "12" / "resume.ckpt")["step"] == 7
    continued = train(settings, volumes, tmp_path / "killed")
    assert continued["step"] == undisturbed["step"] == 12
    torch.testing.assert_close(continued["state_dict"], undisturbed["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(continued["random"], undisturbed["random"], rtol=0, atol=0)
    assert losses(continued) == losses(undisturbed)


def test_what_a_processor_began_a_gpu_ends(volumes, make_settings, tmp_path):
    settings = make_settings()
    train(settings, volumes, tmp_path, steps=6, device="cpu")
    previous = tmp_path / "segments" / "6" / "checkpoint.ckpt"
    train_segment(settings, *volumes, tmp_path, end_step=12, previous=previous, device="cuda")
    content = load_checkpoint(tmp_path / "segments" / "12" / "checkpoint.ckpt")
    whole = train(settings, volumes, tmp_path / "whole", device="cpu")
    torch.testing.assert_close(content["state_dict"], whole["state_dict"], rtol=0.01, atol=1e-3)


def test_both_precisions_are_tried_where_none_is_asked_for(volumes, make_settings, tmp_path):
    content = train(make_settings(precision="auto"), volumes, tmp_path)
    plan = read_json(tmp_path / "plan.json")
    assert content["precision"] == plan["precision"]
    assert plan["float32_ms"] > 0
    assert plan["bfloat16_ms"] > 0


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_step_larger_than_the_gpu_is_told(stripes, make_settings, tmp_path, precision):
    volumes = [stripes("train", shape=(96, 96, 96))], []
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(100e6 / total)
    try:
        settings = make_settings(patch_vox=(64, 64, 64), batch_size=4, precision=precision)
        with pytest.raises(
            UserError, match=r"^training with 4 patches at a time of training.patch_vox \[64, 64, 64\] takes more"
        ):
            train(settings, volumes, tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert not list(tmp_path.rglob("*.ckpt"))
