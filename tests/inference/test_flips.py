from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline_lib.affinity import encode_affinities
from pipeline_lib.inference.flips import average_flips

AXIS_OFFSETS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (5, 0, 0), (0, -3, 0), (0, 0, 20)]
DIAGONALS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 0), (1, -2, 0), (2, 1, 1)]
SHAPE = (9, 10, 12)


def labels() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 3, SHAPE)


def perfect(offsets: list[tuple[int, int, int]]):
    """Reads labels off the intensities, in whatever orientation they come, and encodes them."""

    def forward(patch: Tensor) -> Tensor:
        found = (patch[0, 0].numpy() * 255).round().astype(np.int64)
        return torch.from_numpy(encode_affinities(found, offsets).affinities[None].astype(np.float32))

    return forward


def as_patch(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(ids.astype(np.float32) / 255)[None, None]


@pytest.mark.parametrize("offsets", [AXIS_OFFSETS, DIAGONALS])
def test_a_perfect_predictor_stays_perfect(offsets: list[tuple[int, int, int]]) -> None:
    patch = as_patch(labels())
    expected = perfect(offsets)(patch)
    assert 0.1 < expected.mean() < 0.6
    torch.testing.assert_close(average_flips(perfect(offsets), offsets)(patch), expected, rtol=0, atol=0)


def test_flips_without_moving_edges_back_would_be_wrong() -> None:
    """The reason for the care: mirroring channels like an image smears the edges."""
    patch = as_patch(labels())
    forward = perfect(AXIS_OFFSETS)
    naive = torch.stack([forward(patch.flip(d)).flip(d) for d in ([], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4])]).mean(
        0
    )
    assert (naive - forward(patch)).abs().max() >= 0.5


def test_the_mean_is_over_all_mirror_images_where_an_edge_is_seen_in_all() -> None:
    """A predictor with an error that depends on the place: each voxel's mean is worked out edge by edge."""
    noise = np.random.default_rng(1).random((3, *SHAPE)).astype(np.float32)
    offsets = [(1, 0, 0), (0, 2, 0), (1, 1, 0)]

    def forward(patch: Tensor) -> Tensor:
        return torch.from_numpy(noise)[None]

    expected = np.zeros((3, *SHAPE))
    for channel, offset in enumerate(offsets):
        for v in np.ndindex(SHAPE):
            seen = []
            for mirror in product((False, True), repeat=3):
                ends = [v, tuple(a + o for a, o in zip(v, offset, strict=True))]
                ends = [tuple(n - 1 - a if m else a for a, n, m in zip(end, SHAPE, mirror, strict=True)) for end in ends]
                for start, stop in (ends, ends[::-1]):
                    step = tuple(b - a for a, b in zip(start, stop, strict=True))
                    inside = all(0 <= a < n for a, n in zip(start, SHAPE, strict=True))
                    if step in offsets and inside:
                        seen.append(noise[(offsets.index(step), *start)])
            expected[(channel, *v)] = np.mean(seen)
    np.testing.assert_allclose(average_flips(forward, offsets)(as_patch(labels()))[0].numpy(), expected, atol=1e-6)


def test_eight_forward_passes_of_the_mirror_images() -> None:
    seen = []
    patch = as_patch(labels())

    def forward(mirrored: Tensor) -> Tensor:
        seen.append(mirrored.numpy().tobytes())
        return torch.zeros((1, 1, *SHAPE))

    average_flips(forward, [(1, 0, 0)])(patch)
    images = [patch.flip([2 + a for a in range(3) if m[a]]).numpy().tobytes() for m in product((0, 1), repeat=3)]
    assert sorted(seen) == sorted(images)
    assert len(set(seen)) == 8
