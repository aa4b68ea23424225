import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.network import build_network, load_published_weights


def randomised(network, seed=1):
    """Other values for all that is trained; the fixed kernels stay."""
    generator = torch.Generator().manual_seed(seed)
    return {
        k: v.clone() if "up.up.0" in k or v.dtype == torch.int64 else torch.rand(v.shape, generator=generator)
        for k, v in network.state_dict().items()
    }


def unchanged_after(network, state_dict, layout) -> str:
    """The message of the refusal, having checked that nothing was copied."""
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_published_weights(network, state_dict, layout)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    return str(error.value)


@pytest.mark.parametrize(("name", "file_has"), [("RSUNet", "norm_act"), ("rsunet_act", "norm_relu"), ("RSUNet", "norm_relu")])
def test_emvision_with_either_name_of_the_normalisation(name, file_has):
    network = build_network(name, width=[2, 3])
    weights = randomised(network)
    file = {k.replace("norm_relu", file_has).replace("norm_act", file_has): v for k, v in weights.items()}
    load_published_weights(network, file, "emvision")
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())


def test_every_missing_unused_and_misshapen_key_is_listed():
    network = build_network("RSUNet", width=[2, 3])
    file = randomised(network)
    del file["final.norm.weight"], file["uconvs.0.up.up.1.weight"]
    file |= {"extra.weight": torch.zeros(1), "iconv.pre.conv.weight": torch.zeros(2, 2, 1, 3, 3)}
    message = unchanged_after(network, file, "emvision")
    for problem in (
        "missing: final.norm.weight",
        "missing: uconvs.0.up.up.1.weight",
        "unused: extra.weight",
        "shape of iconv.pre.conv.weight: expected (2, 2, 3, 3, 3), got (2, 2, 1, 3, 3)",
    ):
        assert problem in message
    assert message.count(";") == 3
    assert "\n" not in message


def test_another_upsampling_kernel_is_refused():
    network = build_network("RSUNet", width=[2, 3])
    file = randomised(network) | {"uconvs.0.up.up.0.weight": torch.ones(3, 1, 1, 4, 4)}
    assert "uconvs.0.up.up.0.weight is not the fixed bilinear kernel" in unchanged_after(network, file, "emvision")
    file["uconvs.0.up.up.0.weight"] = network.state_dict()["uconvs.0.up.up.0.weight"].half()
    load_published_weights(network, file, "emvision")


def test_deepem_joins_its_heads():
    network = build_network("rsunet", out_channels=5, width=[2, 3])
    weights = randomised(network)
    file = {f"core.{k.removeprefix('core.')}": v for k, v in weights.items() if k.startswith("core.")}
    file["in.conv.conv.weight"] = weights["input.weight"]
    for part in ("weight", "bias"):
        file[f"out.affinity.conv.{part}"] = weights[f"output.{part}"][:3]
        file[f"out.myelin.conv.{part}"] = weights[f"output.{part}"][3:]
    load_published_weights(network, file, "deepem")
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())

    del file["out.affinity.conv.bias"], file["out.myelin.conv.bias"], file["in.conv.conv.weight"]
    message = unchanged_after(network, file, "deepem")
    assert "missing: in.conv.conv.weight" in message
    assert "missing: out.<head>.conv.bias" in message


TINY = {"out_channels": 2, "init_filters": 2, "block_counts": [1] * 9}


def test_mednext_ignores_the_dummy_only():
    network = build_network("mednext", **TINY)
    weights = randomised(network)
    load_published_weights(network, weights | {"dummy_tensor": torch.ones(1)}, "mednext")
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())
    assert "unused: other" in unchanged_after(network, weights | {"other": torch.ones(1)}, "mednext")


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod."])
@pytest.mark.parametrize("whole_checkpoint", [False, True])
def test_banis(prefix, whole_checkpoint):
    network = build_network("mednext", **TINY)
    weights = randomised(network)
    file = {prefix + k: v for k, v in weights.items()} | {prefix + "dummy_tensor": torch.ones(1)}
    load_published_weights(network, {"state_dict": file, "epoch": 3} if whole_checkpoint else file, "banis")
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())
    del file[f"{prefix}stem.bias"]
    assert "missing: stem.bias" in unchanged_after(network, file, "banis")


def test_unknown_layout():
    with pytest.raises(UserError, match="unknown layout torch; there are emvision, deepem, mednext, banis"):
        load_published_weights(build_network("RSUNet", width=[2]), {}, "torch")
