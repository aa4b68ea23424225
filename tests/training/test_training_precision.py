"""The probe decides by its measurement and leaves no trace."""

import copy

import pytest
import torch
from torch import nn

from pipeline_lib.training import precision as precision_module
from pipeline_lib.training.precision import resolve_precision

CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Dropout(0.5), nn.Conv3d(4, 3, 3, padding=1))


def resolve(network, asked="auto"):
    return resolve_precision(asked, network, patches=2, patch_vox=(6, 6, 6), device=CPU)


@pytest.mark.parametrize(
    ("bfloat16_ms", "expected"), [(50.0, "bfloat16"), (90.0, "bfloat16"), (92.0, "float32"), (300.0, "float32")]
)
def test_bfloat16_must_be_a_tenth_faster(network, monkeypatch, bfloat16_ms, expected):
    measured = iter([1e6, 1e6, 100.0, 900.0, 130.0, bfloat16_ms, 110.0, 500.0])  # the first two are warm-up
    monkeypatch.setattr(precision_module, "_step_ms", lambda *_: next(measured))
    choice = resolve(network)
    assert choice.precision == expected
    assert (choice.float32_ms, choice.bfloat16_ms) == (100.0, bfloat16_ms)
    assert f"{100 / bfloat16_ms:.2f} times as fast" in choice.reason


def test_a_hopeless_bfloat16_is_tried_once(network, monkeypatch):
    measured = iter([200.0, 1001.0])
    monkeypatch.setattr(precision_module, "_step_ms", lambda *_: next(measured))
    choice = resolve(network)
    assert (choice.precision, choice.float32_ms, choice.bfloat16_ms) == ("float32", 200.0, 1001.0)


def test_weights_gradients_mode_and_random_state_stay(network):
    network.eval()
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    choice = resolve(network)
    assert choice.float32_ms > 0
    assert choice.bfloat16_ms > 0
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_is_asked_for_is_not_probed(network, monkeypatch, asked):
    monkeypatch.setattr(precision_module, "_step_ms", lambda *_: pytest.fail("probed"))
    choice = resolve(network, asked)
    assert (choice.precision, choice.reason, choice.float32_ms) == (asked, "as set in training.precision", None)


@pytest.mark.parametrize(
    ("fitting", "chosen", "reason"),
    [
        ("none", "bfloat16", "steps of either precision take more memory than the GPU has"),
        ("bfloat16", "bfloat16", "a float32 step takes more memory than the GPU has"),
        ("float32", "float32", "a bfloat16 step takes more memory than the GPU has"),
    ],
)
def test_what_the_memory_of_a_gpu_holds_is_chosen(network, monkeypatch, fitting, chosen, reason):
    def step_ms(network, image, precision):
        if precision != fitting:
            raise torch.OutOfMemoryError
        return 100.0

    monkeypatch.setattr(precision_module, "_timed_ms", step_ms)
    choice = resolve(network)
    assert (choice.precision, choice.reason) == (chosen, reason)
    assert [choice.float32_ms, choice.bfloat16_ms] == [100.0 if fitting == "float32" else None, None]
