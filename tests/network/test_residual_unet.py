import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline_lib.network import build_network
from pipeline_lib.network.upsampling import FixedBilinearUpsampling, _axis_matrix

REFERENCE = Path(__file__).parents[1] / "reference" / "emvision"
MODELS = json.loads((REFERENCE / "models.json").read_text())


def published(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, np.ndarray]:
    with np.load(REFERENCE / f"{name}.npz") as arrays:
        weights = {k.removeprefix("param/"): torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("param/")}
        return weights, torch.from_numpy(arrays["input"]), arrays["output/0"]


@pytest.mark.parametrize("name", MODELS)
def test_published_weights_fit_by_name_and_give_the_published_output(name):
    network = build_network(MODELS[name]["constructor"], **MODELS[name]["arguments"]).eval()
    weights, image, expected = published(name)
    network.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        output = network(image).numpy()
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert sum(p.numel() for p in network.parameters()) == MODELS[name]["trainable_parameters"]


@pytest.mark.parametrize(
    ("name", "options", "other", "other_options"),
    [("rsunet_gn", {"group": 2}, "rsunet_2d3d_gn", {"group": 2}), ("rsunet_act_nn", {}, "RSUNet", {})],
)
def test_constructors_without_reference_values_equal_a_sibling_that_has_them(name, options, other, other_options):
    ours, sibling = (build_network(n, width=[4, 6], **o).eval() for n, o in ((name, options), (other, other_options)))
    if name == "rsunet_act_nn":
        assert sibling.state_dict().keys() - {k.replace("_act", "_relu") for k in ours.state_dict()} == {
            "uconvs.0.up.up.0.weight"
        }
        sibling.uconvs[0].up.up[0] = nn.Upsample(scale_factor=(1, 2, 2))
    ours.load_state_dict(dict(zip(ours.state_dict(), sibling.state_dict().values(), strict=True)))
    image = torch.rand(1, 4, 4, 8, 8)
    torch.testing.assert_close(ours(image), sibling(image), rtol=0, atol=0)


def test_published_parameter_counts():
    assert sum(p.numel() for p in build_network("RSUNet", width=[16, 32, 64, 128]).parameters()) == 2_653_760
    with torch.device("meta"):
        assert sum(p.numel() for p in build_network("RSUNet", width=[16, 32, 64, 128, 256, 512]).parameters()) == 42_639_168


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 2, 2), (1, 3, 3), (3, 3, 2), (2, 1, 4)])
def test_bilinear_upsampling_is_the_transposed_convolution_with_its_stored_kernel(factors):
    torch.manual_seed(0)
    upsample = FixedBilinearUpsampling(3, factors)
    image = torch.randn(2, 3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    kernel = upsample.weight.double()
    padding = [(k - f) // 2 for k, f in zip(kernel.shape[2:], factors, strict=True)]
    expected = functional.conv_transpose3d(image, kernel, stride=factors, padding=padding, groups=3)
    output = upsample(image)
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    wanted, got = (torch.autograd.grad(y.square().sum(), image)[0] for y in (expected, output))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_bilinear_taps():
    weight = FixedBilinearUpsampling(1, (2, 2, 3)).weight
    along_y, along_x = torch.tensor([0.25, 0.75, 0.75, 0.25]), torch.tensor([1, 2, 3, 2, 1]) / 3
    torch.testing.assert_close(weight[0, 0], (along_y[:, None] * along_x).expand(4, 4, 5))


@pytest.mark.parametrize("normalisation", ["batch", "group", "instance", "none"])
@pytest.mark.parametrize("activation", ["ReLU", "LeakyReLU", "PReLU", "ELU", "SiLU", "GELU"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_every_combination_trains_and_keeps_the_size(normalisation, activation, bfloat16):
    torch.manual_seed(0)
    network = build_network(
        "rsunet",
        in_channels=2,
        out_channels=5,
        width=[4, 8],
        factors=[[1, 2, 2]],
        normalisation=normalisation,
        group_size=2,
        activation=activation,
        upsampling="nearest" if activation == "ELU" else "bilinear",
        depth2d=1,
    )
    image = torch.rand(2, 2, 3, 8, 6)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = network(image)
    assert logits.shape == (2, 5, 3, 8, 6)
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_gradients_are_right_although_layers_work_in_place(normalisation):
    torch.manual_seed(0)
    options = {"width": [2, 3], "normalisation": normalisation, "activation": "ELU", "input_kernel": [1, 1, 1]}
    network = build_network("rsunet", out_channels=1, **options).double()
    image = torch.randn(2, 1, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, image)


def test_the_input_is_left_as_it_was():
    image = torch.randn(1, 4, 4, 4, 4)
    before = image.clone()
    build_network("rsunet", out_channels=1, width=[4, 4], normalisation="none", in_channels=4)(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("activation", "parameters", "slope"),
    [("ReLU", {}, 0.0), ("LeakyReLU", {"negative_slope": 0.5}, 0.5), ("PReLU", {}, 0.25), ("LeakyReLU", {}, 0.01)],
)
def test_initial_weights_are_kaiming_normal_for_the_slope(activation, parameters, slope):
    torch.manual_seed(0)
    network = build_network("rsunet", out_channels=1, width=[16, 32], activation=activation, activation_parameters=parameters)
    weight = network.core.uconvs[0].conv.post.conv.weight
    expected = (2 / (1 + slope**2) / weight[0].numel()) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=expected / 10)
    assert torch.equal(network.output.bias, torch.zeros(1))
    if activation != "ReLU":
        act = network.core.final.act
        assert (act.negative_slope if isinstance(act, nn.LeakyReLU) else act.weight.item()) == slope


def test_kernels_and_factors_are_those_asked_for():
    network = build_network(
        "rsunet", out_channels=1, width=[2, 3, 4], factors=[[1, 3, 3], [2, 2, 2]], depth2d=2, kernel2d=[1, 5, 3]
    )
    assert [network.core.dconvs[i][0].kernel_size for i in (0, 1)] == [(1, 3, 3), (2, 2, 2)]
    blocks = [network.core.iconv, network.core.dconvs[0][1], network.core.dconvs[1][1]]
    assert [b.res.conv1.conv.kernel_size for b in blocks] == [(1, 5, 3), (1, 5, 3), (3, 3, 3)]
    assert [u.conv.pre.conv.kernel_size for u in network.core.uconvs] == [(1, 5, 3), (1, 5, 3)]
    assert network(torch.zeros(1, 1, 2, 6, 12)).shape == (1, 1, 2, 6, 12)
    assert (network.input.kernel_size, network.output.kernel_size) == ((3, 3, 3), (1, 1, 1))


def test_one_level_is_a_network_too():
    assert build_network("rsunet", out_channels=2, width=[4])(torch.zeros(1, 1, 3, 3, 3)).shape == (1, 2, 3, 3, 3)


def test_without_the_residual_pair_a_block_is_two_convolutions():
    plain = build_network("rsunet", width=[2, 4], residual=False, out_channels=3)
    assert not [key for key in plain.state_dict() if ".res." in key]
    assert sum(isinstance(module, nn.Conv3d) for module in plain.core.iconv.modules()) == 2
    assert plain(torch.rand(1, 1, 4, 8, 8)).shape == (1, 3, 4, 8, 8)


def test_a_network_that_was_used_for_inference_can_be_trained():
    network = build_network("rsunet", in_channels=1, out_channels=2, width=[2, 3])
    _axis_matrix.cache_clear()
    image = torch.rand(1, 1, 4, 24, 40)
    with torch.inference_mode():
        expected = network(image)
    found = network(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    found.sum().backward()
