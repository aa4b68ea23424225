import json
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.inference.patches import (
    count_patches,
    padded_shape,
    patch_starts,
    patch_weights,
    starts_meeting,
    starts_per_axis,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "patch_geometry.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["geometry"], ids=lambda case: "x".join(map(str, case["volume_shape"])))
def test_patches_lie_where_the_reference_puts_them(case: dict) -> None:
    zs, ys, xs = starts_per_axis(case["volume_shape"], [case["patch"]] * 3)
    assert [[z, y, x] for z in zs for y in ys for x in xs] == case["origins"]
    assert count_patches(case["volume_shape"], [case["patch"]] * 3) == case["n"]


def test_weights_equal_the_reference() -> None:
    weights = patch_weights((8, 8, 8))
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.array(REFERENCE["weight_8"]))


def test_weights_are_the_least_distance_to_a_surface_for_unequal_sides() -> None:
    patch = (3, 4, 7)
    expected = np.zeros(patch, np.float32)
    for v in np.ndindex(patch):
        expected[v] = min(min(i + 1, p - i) for i, p in zip(v, patch, strict=True))
    np.testing.assert_array_equal(patch_weights(patch), expected)


@pytest.mark.parametrize("patch", [1, 2, 5, 8, 16])
def test_starts_follow_the_formula_and_leave_no_voxel_out(patch: int) -> None:
    step = max(1, patch // 2)
    for size in range(patch, 4 * patch + 3):
        starts = patch_starts(size, patch)
        assert starts == sorted({k * step for k in range(size) if k * step <= size - patch} | {size - patch})
        assert {s + i for s in starts for i in range(patch)} == set(range(size))


def test_a_patch_longer_than_the_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="a patch of 8 voxels does not fit into an axis of 7"):
        patch_starts(7, 8)


def test_only_short_axes_are_padded() -> None:
    assert padded_shape((5, 64, 100), (8, 64, 64)) == (8, 64, 100)


def test_starts_meeting_an_interval() -> None:
    starts = patch_starts(20, 8)
    assert starts == [0, 4, 8, 12]
    assert starts_meeting(starts, 8, 8, 12) == [4, 8]
    assert starts_meeting(starts, 8, 7, 13) == [0, 4, 8, 12]
