import weakref
from dataclasses import replace

import h5py
import numpy as np
import pytest
from adversarial_edges import adversarial, between, spiral
from blockwise import assert_same_segments, in_order_of_blocks, label_blockwise, read_block, some_blocks
from components_by_scipy import labelled_by_scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.components import (
    BlockSummary,
    JoinedBlocks,
    join_blocks,
    label_block,
    label_components,
    open_forest,
    remove_small_segments,
)
from pipeline_lib.geometry import BlockGrid


def assert_blocks_give(expected, affinities, block_vox, **options):
    """Equal up to renaming, with ids that are 1..n in the order of blocks."""
    segments, n_segments = label_blockwise(affinities, options.pop("threshold", 0.5), block_vox, **options)
    assert_same_segments(segments, expected)
    np.testing.assert_array_equal(segments, in_order_of_blocks(expected, block_vox))
    assert n_segments == expected.max(initial=0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 16)] * 3),
    block=st.tuples(*[st.integers(1, 18)] * 3),
    density=st.sampled_from([0.05, 0.2, 0.25, 0.3, 0.6]),
    min_size_vox=st.one_of(st.integers(0, 6), st.integers(7, 400)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_blocks_in_any_order_give_the_segments_of_the_whole(shape, block, density, min_size_vox, seed):
    rng = np.random.default_rng(seed)
    affinities = (rng.random((3, *shape)) < density) * np.uint8(255)
    expected = remove_small_segments(label_components(affinities, 0.5), min_size_vox)
    order = rng.permutation(len(BlockGrid(shape, block))).tolist()
    assert_blocks_give(expected, affinities, block, min_size_vox=min_size_vox, order=order, threads=int(rng.integers(1, 4)))


@pytest.mark.parametrize("name", adversarial())
def test_adversarial_edges_in_blocks(name):
    present = adversarial()[name]
    whole = labelled_by_scipy(present)
    sizes = np.bincount(whole[whole > 0], minlength=2)[1:]
    for block_vox in some_blocks(whole.shape):
        for min_size_vox in (0, int(np.median(sizes)), int(sizes.max())):
            expected = remove_small_segments(whole, min_size_vox)
            assert_blocks_give(expected, present * np.uint8(255), block_vox, min_size_vox=min_size_vox)


@pytest.mark.parametrize("block_vox", [(3, 5, 4), (1, 1, 1), (1, 21, 2), (2, 7, 21)])
def test_a_spiral_through_many_blocks_is_one_segment(block_vox):
    voxels = spiral(21)
    for above, kept in ((0, 1), (1, 0)):
        expected = (kept * voxels).astype(np.uint32)
        min_size_vox = int(voxels.sum()) + above
        assert_blocks_give(expected, between(voxels) * np.uint8(255), block_vox, min_size_vox=min_size_vox)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.75, 1.0])
def test_types_ties_and_what_is_not_a_number(dtype, threshold):
    """Affinities in steps of a quarter, so that many lie at the threshold itself."""
    rng = np.random.default_rng(61)
    affinities = rng.choice([0, 0.25, 0.5, 0.75, 1.0], (3, 9, 10, 11), p=[0.3, 0.3, 0.2, 0.15, 0.05])
    affinities = np.rint(255 * affinities).astype(np.uint8) if dtype == np.uint8 else affinities.astype(dtype)
    if dtype != np.uint8:
        odd = rng.random(affinities.shape) < 0.1
        affinities[odd] = rng.choice([np.nan, np.inf, -np.inf, -0.0], odd.sum())
    expected = remove_small_segments(label_components(affinities, threshold), 4)
    for block_vox in some_blocks(expected.shape):
        assert_blocks_give(expected, affinities, block_vox, threshold=threshold, min_size_vox=4)


@pytest.mark.parametrize("shape", [(1, 12, 13), (12, 1, 13), (12, 13, 1), (1, 1, 50), (1, 50, 1), (50, 1, 1), (1, 1, 1)])
def test_flat_volumes_with_edges_out_of_their_last_planes(shape):
    rng = np.random.default_rng(62)
    affinities = rng.integers(0, 256, (3, *shape), np.uint8)
    for axis in range(3):
        np.moveaxis(affinities[axis], axis, 0)[-1] = 255
    expected = remove_small_segments(label_components(affinities, 0.4), 3)
    for block_vox in some_blocks(shape):
        assert_blocks_give(expected, affinities, block_vox, threshold=0.4, min_size_vox=3)


def test_one_block_has_the_ids_of_the_whole():
    affinities = np.random.default_rng(63).integers(0, 256, (3, 9, 10, 11), np.uint8)
    for block_vox in ((9, 10, 11), (64, 64, 64)):
        for min_size_vox in (0, 6):
            segments, _ = label_blockwise(affinities, 0.75, block_vox, min_size_vox=min_size_vox)
            expected = remove_small_segments(label_components(affinities, 0.75), min_size_vox)
            np.testing.assert_array_equal(segments, expected)
            assert segments.dtype == np.uint32


def test_real_affinities(shared_data):
    with h5py.File(shared_data / "fib25" / "val_affinities.h5") as file:
        affinities = file["affinities"][:3, :40, :120, :130]
    for threshold in (0.3, 0.8, 0.996):
        for min_size_vox in (0, 100):
            expected = remove_small_segments(label_components(affinities, threshold), min_size_vox)
            for block_vox in ((16, 64, 64), (40, 17, 200), (7, 33, 50)):
                assert_blocks_give(expected, affinities, block_vox, threshold=threshold, min_size_vox=min_size_vox)


def summaries_of(affinities, block_vox, *, min_size_vox=0, threshold=0.75):
    grid = BlockGrid(affinities.shape[1:], block_vox)
    options = {"threshold": threshold, "min_size_vox": min_size_vox}
    return grid.counts, [label_block(**read_block(affinities, part), **options).summary for part in grid]


@pytest.fixture(scope="module")
def affinities():
    return np.random.default_rng(64).integers(0, 256, (3, 12, 13, 14), np.uint8)


@pytest.mark.parametrize("most", [0, 7, 60, 300])
@pytest.mark.parametrize("min_size_vox", [0, 5])
def test_numbers_beyond_uint32_take_the_same_way(affinities, monkeypatch, most, min_size_vox):
    """As if 32 bits ended at `most`, which is passed at the first block, on the way or by the number of segments only."""
    expected, n_segments = label_blockwise(affinities, 0.75, (5, 6, 4), min_size_vox=min_size_vox)
    monkeypatch.setattr(open_forest, "_MOST_IN_32_BITS", most)
    segments, n_found = label_blockwise(affinities, 0.75, (5, 6, 4), min_size_vox=min_size_vox)
    np.testing.assert_array_equal(segments, expected)
    assert n_found == n_segments
    assert segments.dtype == (np.uint64 if n_segments > most else np.uint32)


@pytest.mark.parametrize("min_size_vox", [2**32 - 1, 2**32, 2**40])
def test_a_minimal_size_beyond_any_block(affinities, min_size_vox):
    segments, n_segments = label_blockwise(affinities, 0.3, (5, 6, 4), min_size_vox=min_size_vox)
    assert n_segments == 0
    assert not segments.any()


def test_sizes_of_large_blocks_add_up_beyond_uint32():
    """Two components of 3e9 voxels each, joined: as large as 6e9 and no larger."""
    size, joint = np.array([3_000_000_000], np.uint32), np.zeros(1, np.uint32)
    none = np.empty(0, np.uint32)
    summaries = [
        BlockSummary(1, joint + 1, size, (none, none, none), (none, none, joint)),
        BlockSummary(1, joint + 1, size, (none, none, joint), (none, none, none)),
    ]
    for min_size_vox, kept in ((4_000_000_000, 1), (6_000_000_000, 1), (6_000_000_001, 0)):
        assert join_blocks((1, 1, 2), summaries, min_size_vox=min_size_vox).n_segments == kept


def test_the_result_can_be_saved_and_memory_mapped(affinities, tmp_path):
    counts, summaries = summaries_of(affinities, (5, 6, 4))
    joined = join_blocks(counts, summaries)
    for name, array in vars(joined).items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = JoinedBlocks(**{name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in vars(joined)})
    assert mapped.n_segments == joined.n_segments
    for block, summary in enumerate(summaries):
        np.testing.assert_array_equal(mapped.table(block, summary), joined.table(block, summary))


def test_memory_mapped_summaries(affinities, tmp_path):
    counts, summaries = summaries_of(affinities, (5, 6, 4), min_size_vox=5)

    def mapped(array):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    stored = [
        BlockSummary(
            i.n_labels, mapped(i.open_ids), mapped(i.open_sizes_vox), *(tuple(map(mapped, f)) for f in (i.first, i.last))
        )
        for i in summaries
    ]
    joined, expected = join_blocks(counts, stored, min_size_vox=5), join_blocks(counts, summaries, min_size_vox=5)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(joined, name), array)
    for block, (told, summary) in enumerate(zip(stored, summaries, strict=True)):
        np.testing.assert_array_equal(joined.table(block, told), expected.table(block, summary))


def test_summaries_are_taken_one_by_one(affinities):
    counts, summaries = summaries_of(affinities, (5, 6, 4))
    held = []

    def one_by_one():
        while summaries:
            assert sum(summary() is not None for summary in held) <= 1
            told = summaries.pop(0)
            held.append(weakref.ref(told))
            yield told
            del told

    join_blocks(counts, one_by_one())
    assert len(held) == 36


def test_no_blocks_and_no_components():
    none = np.empty(0, np.uint32)
    empty = BlockSummary(0, none, none, (none,) * 3, (none,) * 3)
    joined = join_blocks((1, 2, 1), [empty, empty], min_size_vox=9)
    assert joined.n_segments == 0
    assert joined.table(1, empty).tolist() == [0]
    assert join_blocks((0, 2, 1), []).n_segments == 0


def test_the_number_of_summaries_is_that_of_the_blocks(affinities):
    counts, summaries = summaries_of(affinities, (6, 7, 7))
    with pytest.raises(ValueError, match="expected the summaries of 8 blocks, got 7"):
        join_blocks(counts, summaries[:-1])
    with pytest.raises(ValueError, match="expected the summaries of 8 blocks, got more"):
        join_blocks(counts, [*summaries, summaries[0]])


@pytest.mark.parametrize(("block", "axis", "before"), [(1, 2, 0), (2, 1, 0), (4, 0, 0), (7, 1, 5)])
def test_neighbours_must_agree_on_the_edges_between_them(affinities, block, axis, before):
    counts, summaries = summaries_of(affinities, (6, 7, 7))
    first = list(summaries[block].first)
    n_edges, first[axis] = len(first[axis]), first[axis][1:]
    summaries[block] = replace(summaries[block], first=tuple(first))
    message = (
        f"blocks {before} and {block} have {n_edges} and {n_edges - 1} edges between them along {'zyx'[axis]}: their input"
    )
    with pytest.raises(ValueError, match=message):
        join_blocks(counts, summaries)


@pytest.mark.parametrize("axis", range(3))
def test_no_edge_leads_out_of_the_volume(affinities, axis):
    counts, summaries = summaries_of(affinities, (6, 7, 7))
    for block, side in ((0, "first"), (7, "last")):
        changed = list(summaries)
        edges = list(getattr(changed[block], side))
        edges[axis] = np.zeros(3, np.uint32)
        changed[block] = replace(changed[block], **{side: tuple(edges)})
        with pytest.raises(ValueError, match=f"block {block} has 3 edges out of the volume along {'zyx'[axis]}"):
            join_blocks(counts, changed)


@pytest.mark.parametrize(("block", "side"), [(0, "last"), (7, "first")])
def test_edges_end_at_components_that_there_are(affinities, block, side):
    counts, summaries = summaries_of(affinities, (6, 7, 7))
    n_open = len(summaries[block].open_ids)
    edges = list(getattr(summaries[block], side))
    edges[1] = np.where(np.arange(len(edges[1])) == 1, n_open, edges[1]).astype(np.uint32)
    summaries[block] = replace(summaries[block], **{side: tuple(edges)})
    with pytest.raises(ValueError, match=f"block {block} has an edge to open component {n_open} along y, of {n_open}"):
        join_blocks(counts, summaries)


def test_a_table_is_refused_for_a_block_that_has_changed(affinities):
    counts, summaries = summaries_of(affinities, (6, 7, 7))
    joined = join_blocks(counts, summaries)
    for block, summary in enumerate(summaries):
        ids = summary.open_ids
        closed = np.setdiff1d(np.arange(1, summary.n_labels + 1, dtype=np.uint32), ids)
        swapped = np.sort(np.append(ids[1:], closed[-1]))
        for other in (
            replace(summary, open_ids=ids[:-1]),
            replace(summary, n_labels=summary.n_labels + 1),
            replace(summary, n_labels=int(ids[-1]) - 1),
            replace(summary, open_ids=swapped) if block == 0 else replace(summary, n_labels=summary.n_labels - 1),
        ):
            with pytest.raises(ValueError, match=f"block {block} has other components than when it was joined; its input or"):
                joined.table(block, other)


def test_a_table_without_gaps_in_the_ids_that_begin_in_its_block():
    """Component 2 is the second segment that begins in block 1; a block without the first one is another block."""
    joined = JoinedBlocks(np.array([0, 5, 7]), np.array([0, 1, 3]), np.array([1, 7, 1], np.uint32))
    none = np.empty(0, np.uint32)
    summary = BlockSummary(3, np.array([2, 3], np.uint32), np.ones(2, np.uint32), (none,) * 3, (none,) * 3)
    assert joined.table(1, summary).tolist() == [0, 6, 7, 1]
    with pytest.raises(ValueError, match="block 1 has other components"):
        joined.table(1, replace(summary, n_labels=2, open_ids=np.array([1, 2], np.uint32)))
