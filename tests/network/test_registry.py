import re

import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.network import build_network, network_from_settings
from pipeline_lib.settings.networks import MedNeXt, ResidualSymmetricUNet


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rsunet", ResidualSymmetricUNet(width=(4, 8))), ("mednext", MedNeXt(init_filters=2, kernel_size=5))],
)
def test_by_name_and_by_settings_give_the_same_network(name, settings):
    options = settings.model_dump(mode="json", exclude={"name"})
    torch.manual_seed(3)
    by_name = build_network(name, in_channels=2, out_channels=3, **options)
    torch.manual_seed(3)
    by_settings = network_from_settings(settings, in_channels=2, out_channels=3)
    assert list(by_name.state_dict()) == list(by_settings.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(by_name.parameters(), by_settings.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rsunets", {}, "network rsunets is unknown (did you mean rsunet?); there are rsunet, mednext, RSUNet, isoRSUNet"),
        ("rsunet", {}, "network rsunet: missing a required argument: 'out_channels'"),
        ("rsunet", {"out_channels": 1, "widht": [2]}, "network rsunet: unknown option widht (did you mean width?)"),
        ("mednext", {"out_channels": 1, "sizes": "S"}, "network mednext: unknown option sizes (did you mean size?)"),
        ("rsunet", {"out_channels": 1, "width": [0]}, "network rsunet: width.0: Input should be greater than 0, got 0"),
        ("rsunet", {"out_channels": 1, "kernel2d": [1, 2, 3]}, "network rsunet: kernel2d (1, 2, 3): must be odd on every axis"),
        ("mednext", {"out_channels": 1, "size": "XL"}, "network mednext: size: Input should be 'S', 'B', 'M' or 'L', got 'XL'"),
        ("RSUNet", {"width": [2], "group": 3}, "network RSUNet: got an unexpected keyword argument 'group'"),
        (
            "rsunet_gn",
            {"width": [4, 6], "group": 4},
            "network rsunet_gn: width [4, 6]: every entry must be a multiple of group 4",
        ),
        (
            "rsunet_act",
            {"width": [2, 3], "zfactor": [1, 2]},
            "zfactor: expected 1 entries, one for each level below the finest",
        ),
        ("rsunet_act", {"width": [2], "act": "Relu"}, "act: expected one of ReLU, LeakyReLU, PReLU, ELU, SiLU, GELU, got Relu"),
        ("rsunet_act", {"width": [2], "slope": 1}, "network rsunet_act: activation ReLU has no parameter slope; it takes none"),
        ("rsunet_2d3d", {"width": [2], "kernel2d": [1, 2, 2]}, "kernel2d: expected three odd lengths (z, y, x), got [1, 2, 2]"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name, options, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        build_network(name, **options)
    assert "\n" not in str(error.value)
