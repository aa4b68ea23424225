"""A volume labelled block by block, as a stage would do it, and what to compare it with."""

import math

import numpy as np

from pipeline_lib.components import join_blocks, label_block, relabel
from pipeline_lib.geometry import BlockGrid


def read_block(affinities, part):
    """What label_block is given of the volume: the affinities of a block of a BlockGrid, and where the volume goes on."""
    start, stop = part.write_box.start_vox, part.write_box.stop_vox
    before = tuple(a > 0 for a in start)
    after = tuple(b < n for b, n in zip(stop, affinities.shape[1:], strict=True))
    read = tuple(slice(a - extra, b) for a, b, extra in zip(start, stop, before, strict=True))
    return {"affinities": affinities[(slice(None), *read)].copy(), "goes_on_before": before, "goes_on_after": after}


def label_blockwise(affinities, threshold, block_vox, *, min_size_vox=0, order=None, threads=1):
    """The segments, (z, y, x), and how many there are. order: that in which blocks are labelled, for the summary and again."""
    grid = BlockGrid(affinities.shape[1:], block_vox)
    order = range(len(grid)) if order is None else order

    def labelled(index):
        options = {"threshold": threshold, "min_size_vox": min_size_vox, "threads": threads}
        return label_block(**read_block(affinities, grid[index]), **options)

    summaries = {index: labelled(index).summary for index in order}
    joined = join_blocks(grid.counts, (summaries[i] for i in range(len(grid))), min_size_vox=min_size_vox)
    segments = np.full(grid.shape_vox, 2**32 - 1, joined.open_segments.dtype)
    for index in reversed(order):
        block = labelled(index)
        segments[grid[index].write_box.slices] = relabel(block.labels, joined.table(index, block.summary))
    return segments, joined.n_segments


def in_order_of_blocks(labels, block_vox):
    """The same segments, with ids 1..n in the order of blocks and, in each, of first voxels."""
    grid = BlockGrid(labels.shape, block_vox)
    seen = np.concatenate([labels[part.write_box.slices].ravel() for part in grid])
    found, first = np.unique(seen, return_index=True)
    found = found[np.argsort(first)]
    table = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    table[found[found != 0]] = np.arange(1, np.count_nonzero(found) + 1)
    return table[labels]


def assert_same_segments(segments, expected):
    """Equal up to renaming: a bijection of ids that keeps 0, over whole arrays; and the ids are dense."""
    assert segments.shape == expected.shape
    pairs = np.unique(np.stack([segments.ravel(), expected.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    np.testing.assert_array_equal(segments == 0, expected == 0)
    np.testing.assert_array_equal(np.unique(segments[segments != 0]), np.arange(1, np.count_nonzero(np.unique(expected)) + 1))


def some_blocks(shape_vox):
    """Block shapes that fit and that do not, thin ones, and one that is larger than the volume."""
    halves = tuple(-(-n // 2) for n in shape_vox)
    shapes = {halves, (3, 4, 5), (1, shape_vox[1], 7), (5, 3, 2), tuple(n + 3 for n in shape_vox)}
    return sorted(shapes | ({(1, 1, 1)} if math.prod(shape_vox) < 300 else set()))
