import re
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline_lib.settings.networks import MedNeXt, NetworkSettings, ResidualSymmetricUNet

SETTINGS = TypeAdapter(NetworkSettings)


def test_the_name_chooses_the_settings():
    assert SETTINGS.validate_python({"name": "rsunet", "width": [8, 16]}) == ResidualSymmetricUNet(width=(8, 16))
    assert SETTINGS.validate_python({"name": "mednext", "size": "L"}) == MedNeXt(size="L")
    with pytest.raises(ValidationError, match="expected tags: 'rsunet', 'mednext'"):
        SETTINGS.validate_python({"name": "unet"})


@pytest.mark.parametrize("settings", [ResidualSymmetricUNet(factors=((1, 2, 2), (2, 2, 2))), MedNeXt(expansion_ratios=3)])
def test_settings_survive_json(settings):
    assert SETTINGS.validate_json(settings.model_dump_json()) == settings


def test_divisors():
    assert ResidualSymmetricUNet().divisor_vox == (4, 4, 4)
    assert ResidualSymmetricUNet(width=(2, 3, 4, 5), factors=((1, 2, 2), (1, 3, 2), (2, 2, 2))).divisor_vox == (2, 12, 8)
    assert ResidualSymmetricUNet(factors=(1, 2, 3)).level_factors == ((1, 2, 3), (1, 2, 3))
    assert ResidualSymmetricUNet(width=(2,)).divisor_vox == (1, 1, 1)
    assert MedNeXt().divisor_vox == (16, 16, 16)


@pytest.mark.parametrize(("settings", "patch"), [(MedNeXt(), (16, 16, 32)), (ResidualSymmetricUNet(), (64, 60, 4))])
def test_accepted_patches(settings, patch):
    settings.check_patch(patch)


@pytest.mark.parametrize(
    ("settings", "patch", "message"),
    [
        (
            ResidualSymmetricUNet(),
            (64, 62, 64),
            "patch_vox (64, 62, 64) is not accepted by rsunet: must be a multiple of (4, 4, 4); "
            "the nearest accepted are (64, 60, 64) and (64, 64, 64)",
        ),
        (MedNeXt(), (8, 40, 32), "not accepted by mednext: must be a multiple of (16, 16, 16); the nearest accepted are"),
        (MedNeXt(), (8, 40, 32), "(16, 32, 32) and (16, 48, 32)"),
        (MedNeXt(), (9, 32, 32), "multiple of (16, 16, 16); the nearest accepted is (16, 32, 32)"),
        (MedNeXt(), (0, 16, 32), "must be a multiple of (16, 16, 16); the nearest accepted is (16, 16, 32)"),
        (MedNeXt(), (16, 16, 16), "leaves one voxel at the lowest level; the smallest accepted is (16, 16, 32)"),
        (MedNeXt(), (64, 64), "patch_vox (64, 64) is not accepted by mednext: expected three lengths (z, y, x)"),
    ],
)
def test_refused_patches(settings, patch, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        settings.check_patch(patch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": [[2, 2, 2]] * 3}, "factors: expected 1 or 2 (one for each level below the finest), got 3"),
        ({"normalisation": "group", "group_size": 5}, "width (16, 32, 64): every entry must be a multiple of group_size 5"),
        ({"factors": [2, 2]}, "factors.0"),
        ({"depth2d": 4}, "depth2d 4: there are only 3 levels"),
        ({"input_kernel": [1, 4, 5]}, "input_kernel (1, 4, 5): must be odd on every axis"),
        ({"output_kernel": [2, 1, 1]}, "output_kernel (2, 1, 1): must be odd on every axis"),
        ({"activation_parameters": {"init": 0.1}}, "activation ReLU has no parameter init; it takes none"),
        (
            {"activation": "LeakyReLU", "activation_parameters": {"slope": 0.1}},
            "activation LeakyReLU has no parameter slope; it takes negative_slope",
        ),
        ({"width": []}, "at least 1 item"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        ResidualSymmetricUNet(**options)


def test_nine_counts():
    with pytest.raises(ValidationError, match="at least 9 items"):
        MedNeXt(block_counts=(2,) * 8)


def test_no_torch_is_imported():
    code = (
        "import sys, pipeline_lib.settings.networks; sys.exit('torch' in sys.modules or 'pipeline_lib.network' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
