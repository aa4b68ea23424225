from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.inference.checkpoint import load_trained_network
from pipeline_lib.network import build_network
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import ResidualSymmetricUNet

SPEC = ResidualSymmetricUNet(width=(4, 6))


def content(**changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    options = SPEC.model_dump(exclude={"name"})
    module = build_network("rsunet", in_channels=1, out_channels=6, **options)
    with torch.no_grad():
        for name, values in module.named_buffers():
            if name.endswith("running_var"):
                values.uniform_(0.5, 2)
    return {
        "network": SPEC.model_dump(mode="json"),
        "targets": TargetSettings().model_dump(mode="json"),
        "in_channels": 1,
        "state_dict": module.state_dict(),
        "precision": "float32",
        "step": 7,
        **changes,
    }


def save(path: Path, **changes: Any) -> Path:
    torch.save(content(**changes), path)
    return path


def test_the_network_that_was_saved_gives_scaled_sigmoids_of_its_logits(tmp_path: Path) -> None:
    saved = content()
    module = build_network("rsunet", in_channels=1, out_channels=6, **SPEC.model_dump(exclude={"name"}))
    module.load_state_dict(saved["state_dict"])
    patch = torch.rand((1, 1, 8, 16, 16), generator=torch.Generator().manual_seed(1))
    network = load_trained_network(save(tmp_path / "a.ckpt"))
    assert network.offsets_vox == TargetSettings().offsets_vox
    with torch.no_grad():
        logits = module.eval()(patch)
    assert logits.std() > 0.05
    for _ in range(2):  # batch statistics are those of training, and stay so
        found = network.forward(logit_scale=0.2)(patch)
        torch.testing.assert_close(found, 1 / (1 + torch.exp(-0.2 * logits)), rtol=0, atol=1e-6)
    assert not found.requires_grad


def test_bfloat16_is_used_where_training_used_it_and_the_result_is_float32(tmp_path: Path) -> None:
    patch = torch.rand((1, 1, 8, 16, 16), generator=torch.Generator().manual_seed(1))
    full = load_trained_network(save(tmp_path / "a.ckpt")).forward(logit_scale=1.0)(patch)
    half = load_trained_network(save(tmp_path / "b.ckpt", precision="bfloat16")).forward(logit_scale=1.0)(patch)
    assert half.dtype == torch.float32
    assert 1e-5 < (half - full).abs().max() < 0.05


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no checkpoint .*none.ckpt; train first"):
        load_trained_network(tmp_path / "none.ckpt")


def test_a_torn_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="is not a checkpoint of this pipeline: ") as caught:
        load_trained_network(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a checkpoint of this pipeline: "):
        load_trained_network(save(tmp_path / "a.ckpt", step=tmp_path))


def test_missing_keys_are_listed(tmp_path: Path) -> None:
    torch.save({"network": {}, "step": 1, "in_channels": 1}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="it lacks targets, state_dict, precision"):
        load_trained_network(tmp_path / "a.ckpt")


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    other = ResidualSymmetricUNet(width=(4, 6, 8)).model_dump(mode="json")
    with pytest.raises(UserError, match="its weights do not fit the network rsunet: ") as caught:
        load_trained_network(save(tmp_path / "a.ckpt", network=other))
    assert "\n" not in str(caught.value)


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    network = {"name": "rsunet", "widths": [4]}
    with pytest.raises(UserError, match=r"its settings do not fit this version: rsunet.widths: .*; train again"):
        load_trained_network(save(tmp_path / "a.ckpt", network=network))


@pytest.mark.parametrize("change", [{"in_channels": 2}, {"precision": "float16"}])
def test_other_channels_and_precisions_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"expected one image channel and .* got .*{next(iter(change.values()))}"):
        load_trained_network(save(tmp_path / "a.ckpt", **change))
