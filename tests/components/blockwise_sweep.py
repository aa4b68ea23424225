"""A sweep block by block, for comparison with the sweep of the whole volume."""

import numpy as np

from pipeline_lib.components import finish_sweep, join_regions, join_rounds, reduce_block, sweep_thresholds
from pipeline_lib.geometry import BlockGrid


def reduced_blocks(affinities, block_vox, points_vox, **options):
    """The forests of all blocks, as an array of the shape of the grid; odd ones are given all points, others those in them."""
    grid, all_points = BlockGrid(affinities.shape[1:], block_vox), np.asarray(points_vox).astype(np.int64)
    forests = np.empty(len(grid), object)
    for i, block in enumerate(grid):
        edges = affinities[(slice(None), *block.write_box.slices)]
        options = {"threads": 1, **options}
        points = points_vox if i % 2 else all_points[grid.blocks_at(all_points) == i]
        forests[i] = reduce_block(edges, block.write_box, grid.shape_vox, points_vox=points, **options)
    return forests.reshape(grid.counts)


def joined_in_rounds(forests, grid):
    regions = dict(enumerate(forests.ravel()))
    for joins in join_rounds(grid):
        for left, right, joined in joins:
            regions[joined] = join_regions(regions.pop(left), regions.pop(right))
    (forest,) = regions.values()
    return forest


def joined_at_random(forests, rng):
    """The volume is cut in two anywhere, its parts again, and so on; either part comes first."""
    if forests.size == 1:
        return forests.item()
    axis = rng.choice([axis for axis in range(3) if forests.shape[axis] > 1])
    parts = np.split(forests, [rng.integers(1, forests.shape[axis])], axis=axis)
    rng.shuffle(parts)
    return join_regions(*(joined_at_random(part, rng) for part in parts))


def sweep_by_blocks(affinities, block_vox, points_vox, **options):
    forests = reduced_blocks(affinities, block_vox, points_vox, **options)
    return finish_sweep(joined_in_rounds(forests, BlockGrid(affinities.shape[1:], block_vox)), points_vox)


def assert_equals_the_whole(found, affinities, points_vox, *, lowest, min_size_vox):
    """Sizes at all levels, and for the points: in background or not, together or not, joined below which level."""
    sweep = sweep_thresholds(affinities, lowest=lowest, points_vox=points_vox, threads=1)
    sizes = sweep.sizes(min_size_vox=min_size_vox)
    history = sweep.point_history(sizes=sizes if min_size_vox else None)
    np.testing.assert_array_equal(found.n_segments, sizes.n_segments)
    np.testing.assert_array_equal(found.histogram, sizes.histogram)
    np.testing.assert_array_equal(found.history.appears_at, history.appears_at)
    for level in range(255):
        labels, expected = found.history.labels_at(level), history.labels_at(level)
        np.testing.assert_array_equal(labels == 0, expected == 0)
        pairs = np.unique(np.stack([labels, expected]), axis=1)
        assert len(pairs.T) == len(np.unique(labels)) == len(np.unique(expected)), level
    if len(points_vox):
        pairs = np.random.default_rng(0).integers(0, len(points_vox), (300, 2))
        np.testing.assert_array_equal(found.history.joined_at(pairs), history.joined_at(pairs))
