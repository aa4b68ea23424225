from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.inference.blending import Planes
from pipeline_lib.inference.quantise import clear_outgoing, quantised_layers, to_uint8


def test_every_uint8_value_comes_back_and_others_are_rounded_to_nearest() -> None:
    values = np.arange(256)
    np.testing.assert_array_equal(to_uint8(torch.from_numpy(values / 255).float()[None], where=""), values[None])
    between = torch.tensor([[0.49, 0.51, 254.49, 254.51]]) / 255
    np.testing.assert_array_equal(to_uint8(between, where=""), [[0, 1, 254, 255]])
    assert to_uint8(between, where="").dtype == np.uint8


def test_nan_is_refused() -> None:
    with pytest.raises(UserError, match="the network gives NaN in planes 3 to 4: training has diverged"):
        to_uint8(torch.tensor([[0.5, float("nan")]]), where="planes 3 to 4")


@pytest.mark.parametrize("cuts", [(0, 12), (0, 1, 2, 5, 11, 12), (0, 4, 8, 12), (0, 7, 12)])
@pytest.mark.parametrize("bounds", [(0, 12), (0, 4, 8, 12), (0, 5, 6, 12)])
def test_layers_hold_the_planes_however_these_are_cut(cuts: tuple[int, ...], bounds: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 12, 3, 4), dtype=np.uint8)
    affinities = torch.from_numpy(values.astype(np.float32) / 255)
    memory = torch.empty(affinities.shape)

    def planes():  # each piece overwrites the one before
        for low, high in pairwise(cuts):
            memory[:, : high - low] = affinities[:, low:high]
            yield Planes(low + 3, memory[:, : high - low])
            memory.fill_(0.5)

    layers = [Box((low + 3, 0, 0), (high + 3, 3, 4)) for low, high in pairwise(bounds)]
    found = list(quantised_layers(planes(), layers))
    assert [layer.shape[1] for layer in found] == [box.shape_vox[0] for box in layers]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), values)


def test_edges_that_lead_out_of_the_volume_become_zero() -> None:
    shape, offsets = (6, 5, 7), [(1, 0, 0), (0, -2, 0), (0, 0, 9), (2, 0, -3)]
    expected = np.ones((4, *shape), np.uint8)
    for channel, offset in enumerate(offsets):
        for v in np.ndindex(shape):
            if not all(0 <= a + o < n for a, o, n in zip(v, offset, shape, strict=True)):
                expected[(channel, *v)] = 0
    for box in (Box.of_shape(shape), Box((3, 0, 2), (6, 2, 7)), Box((0, 2, 0), (3, 5, 4))):
        values = np.ones((4, *box.shape_vox), np.uint8)
        clear_outgoing(values, offsets, box=box, shape_vox=shape)
        np.testing.assert_array_equal(values, expected[(slice(None), *box.slices)])
