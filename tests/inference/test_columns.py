from itertools import product

import numpy as np
import pytest

from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.inference.columns import columns_of, count_calls, memory_need_mb
from pipeline_lib.inference.patches import count_patches
from pipeline_lib.settings.scoring import InferenceSettings

DEFAULT_BLOCK = InferenceSettings().block_vox


def calls_ratio(shape: tuple[int, int, int], patch: tuple[int, int, int]) -> float:
    columns = columns_of(BlockGrid(shape, DEFAULT_BLOCK), patch)
    return sum(count_calls(column.box, shape, patch) for column in columns) / count_patches(shape, patch)


@pytest.mark.parametrize(("shape", "patch"), [((7, 23, 14), (4, 4, 4)), ((20, 9, 33), (8, 8, 8)), ((5, 5, 5), (8, 8, 8))])
def test_columns_hold_every_block_once_and_fill_the_volume_once(
    shape: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    grid = BlockGrid(shape, (6, 6, 6))
    columns = columns_of(grid, patch)
    filled = np.zeros(shape, int)
    for column in columns:
        filled[column.box.slices] += 1
        for k, blocks in enumerate(column.layers):
            inside = np.zeros(shape, int)
            inside[column.box_of(k, k).slices] += 1
            for block in blocks:
                inside[block.write_box.slices] -= 1
            assert not inside.any()
    np.testing.assert_array_equal(filled, 1)
    assert sorted(b.index for c in columns for blocks in c.layers for b in blocks) == list(range(len(grid)))


def test_a_rest_thinner_than_a_patch_joins_its_neighbour() -> None:
    joined = columns_of(BlockGrid((4, 13, 12), (4, 6, 6)), (4, 4, 4))
    assert [column.box for column in joined] == [
        Box((0, 0, 0), (4, 6, 6)),
        Box((0, 0, 6), (4, 6, 12)),
        Box((0, 6, 0), (4, 13, 6)),
        Box((0, 6, 6), (4, 13, 12)),
    ]
    apart = columns_of(BlockGrid((4, 16, 12), (4, 6, 6)), (4, 4, 4))
    assert [column.box.shape_vox[1] for column in apart] == [6, 6, 6, 6, 4, 4]


def test_calls_are_the_patches_that_meet_the_box() -> None:
    shape, patch, box = (20, 13, 9), (8, 4, 6), Box((3, 5, 0), (11, 6, 4))
    starts = product([0, 4, 8, 12], [0, 2, 4, 6, 8, 9], [0, 3])
    meeting = [s for s in starts if Box.of_shape(patch).shifted(s).meets(box)]
    assert count_calls(box, shape, patch) == len(meeting)
    assert count_calls(Box.of_shape(shape), shape, patch) == count_patches(shape, patch)


@pytest.mark.parametrize("patch", [48, 64])
def test_forward_calls_stay_within_a_quarter_of_whole_volume_inference(patch: int) -> None:
    """The ratio is a product of one for y and one for x: square planes hold the worst case."""
    sizes = [*range(patch, 1700, 13), 4096, 20_000]
    worst = max((calls_ratio((128, size, size), (patch,) * 3), size) for size in sizes)
    assert worst[0] <= 1.25, f"{worst[0]:.3f} times the calls for a plane of {worst[1]} voxels"


def test_forward_calls_of_a_common_volume() -> None:
    assert calls_ratio((512, 1024, 1024), (64, 64, 64)) == pytest.approx((32 / 31) ** 2)


def test_memory_is_that_of_a_column_not_of_the_volume() -> None:
    small, large = (
        memory_need_mb(columns_of(BlockGrid((n, n, n), (128, 512, 512)), (64,) * 3), (64,) * 3, 6) for n in (1024, 2048)
    )
    assert small == large == pytest.approx((4 * 7 * 64 + 2 * 6 * 128) * 512 * 512 / 1e6)
