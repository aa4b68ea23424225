import numpy as np
import pytest

from pipeline_lib.geometry import BlockGrid, Box, nm_to_vox_exact, nm_to_vox_floor


def test_a_box_cannot_be_built_wrong():
    with pytest.raises(ValueError, match=r"start \(0, 0, 5\), stop \(1, 1, 5\)"):
        Box((0, 0, 5), (1, 1, 5))
    with pytest.raises(ValueError, match="three integers"):
        Box((0, 0), (1, 1))
    with pytest.raises(AttributeError):
        Box((0, 0, 0), (1, 1, 1)).start_vox = (1, 1, 1)


def test_box_arithmetic_agrees_with_indexing():
    array = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    outer, inner = Box((1, 2, 3), (5, 6, 8)), Box((2, 3, 4), (4, 6, 7))
    assert np.array_equal(array[outer.slices][inner.relative_to(outer).slices], array[inner.slices])
    assert inner.grown((1, 1, 1)).clipped(outer) == Box((1, 2, 3), (5, 6, 8))
    assert inner.n_voxels == array[inner.slices].size
    assert outer.meets(inner)
    assert not outer.meets(Box((5, 2, 3), (6, 3, 4)))
    with pytest.raises(ValueError, match="must hold voxels"):
        outer.clipped(Box((5, 2, 3), (6, 3, 4)))


@pytest.mark.parametrize(("shape", "block"), [((5, 9, 13), (2, 4, 5)), ((4, 4, 4), (4, 4, 4)), ((3, 1, 7), (8, 8, 8))])
def test_blocks_tile_the_volume_once_in_scan_order(shape, block):
    grid = BlockGrid(shape, block, halo_vox=(1, 2, 0))
    covered = np.zeros(shape, int)
    for b in grid:
        covered[b.write_box.slices] += 1
    assert (covered == 1).all()
    assert [b.write_box.start_vox for b in grid] == sorted(b.write_box.start_vox for b in grid)
    assert len(list(grid)) == len(grid)
    with pytest.raises(IndexError):
        grid[len(grid)]


def test_read_boxes_hold_the_halo_and_end_with_the_volume():
    grid = BlockGrid((10, 10, 10), (5, 5, 5), halo_vox=(2, 3, 9))
    assert grid[0].read_box == Box((0, 0, 0), (7, 8, 10))
    assert grid[7].read_box == Box((3, 2, 0), (10, 10, 10))


@pytest.mark.parametrize("shape", [(10, 10, 10), (15, 4, 40), (5, 8, 11)])
def test_no_block_reads_more_than_the_largest(shape):
    grid = BlockGrid(shape, (5, 5, 5), halo_vox=(2, 3, 1))
    read = np.max([b.read_box.shape_vox for b in grid], axis=0)
    assert (read <= grid.largest_read_vox).all()
    assert BlockGrid((15, 17, 13), (5, 5, 5), halo_vox=(2, 3, 1)).largest_read_vox == (9, 11, 7)
    assert (np.array(grid.largest_read_vox) <= shape).all()


def test_nm_convert_exactly_or_not_at_all():
    assert nm_to_vox_exact((40, 27, 9), (20, 9, 9)) == (2, 3, 1)
    with pytest.raises(ValueError, match="not a whole number of voxels"):
        nm_to_vox_exact((41, 27, 9), (20, 9, 9))


def test_points_fall_into_the_voxel_that_contains_them():
    index = np.random.default_rng(0).integers(0, 5000, (1000, 3))
    size = (20.0, 9.0, 0.1)
    assert np.array_equal(nm_to_vox_floor(index * np.array(size), size), index)
    assert np.array_equal(nm_to_vox_floor((index + 0.5) * np.array(size), size), index)
    assert nm_to_vox_floor(np.array([[-0.5, 0, 19.9]]), (1, 1, 20)).tolist() == [[-1, 0, 0]]
