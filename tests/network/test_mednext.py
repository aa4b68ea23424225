import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.network import build_network

REFERENCE = Path(__file__).parents[1] / "reference" / "mednext"
SIZES = json.loads((REFERENCE / "mednext.json").read_text())["sizes"]
TINY = {"init_filters": 4, "block_counts": [1, 2, 1, 1, 1, 1, 1, 2, 1], "expansion_ratios": [2, 3, 4, 4, 4, 4, 4, 3, 2]}


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "tiny_k3_deep_supervision.npz") as arrays:
        return dict(arrays)


def with_published_weights(reference, **options):
    network = build_network("mednext", out_channels=6, **TINY, **options)
    weights = {k.removeprefix("param/"): torch.from_numpy(v) for k, v in reference.items() if k.startswith("param/")}
    wanted = network.state_dict()
    assert set(wanted) == {k for k in weights if k in wanted}
    network.load_state_dict({k: weights[k] for k in wanted})
    return network


def test_every_output_of_deep_supervision_is_the_published_one(reference):
    network = with_published_weights(reference, deep_supervision=True).train()
    outputs = network(torch.from_numpy(reference["input"]))
    assert len(outputs) == 5
    for level, output in enumerate(outputs):
        expected = reference[f"output/{level}"]
        np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_outside_training_there_is_one_output(reference, deep_supervision):
    network = with_published_weights(reference, deep_supervision=deep_supervision).eval()
    with torch.inference_mode():
        output = network(torch.from_numpy(reference["input"])).numpy()
    expected = reference["output/0"]
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_have_the_published_parameter_counts(size):
    with torch.device("meta"):
        network = build_network("mednext", in_channels=1, out_channels=6, size=size)
    # The published files hold one more: a parameter of one number that no output depends on.
    assert sum(p.numel() for p in network.parameters()) + 1 == SIZES[size]["trainable_parameters"]
    assert len(network.state_dict()) + 1 == SIZES[size]["state_dict_keys"]


def test_one_ratio_is_nine_equal_ones_and_kernel_5_is_taken():
    options = {"out_channels": 1, "init_filters": 2, "block_counts": [1] * 9, "kernel_size": 5}
    torch.manual_seed(0)
    one = build_network("mednext", expansion_ratios=3, **options)
    torch.manual_seed(0)
    nine = build_network("mednext", expansion_ratios=[3] * 9, **options)
    assert one.get_submodule("enc_block_0")[0].conv1.kernel_size == (5, 5, 5)
    image = torch.rand(1, 1, 16, 16, 32)
    assert one(image).shape == (1, 1, 16, 16, 32)
    torch.testing.assert_close(one(image), nine(image), rtol=0, atol=0)


def test_trains_in_bfloat16():
    torch.manual_seed(0)
    network = build_network("mednext", in_channels=2, out_channels=3, init_filters=2, block_counts=[1] * 9)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(1, 2, 16, 16, 32))
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
