import subprocess
import sys

import h5py
import numpy as np
import pytest
from adversarial_edges import adversarial
from blockwise_sweep import assert_equals_the_whole, joined_at_random, joined_in_rounds, reduced_blocks, sweep_by_blocks
from components_by_scipy import labelled_by_scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.components import RegionForest, finish_sweep, join_regions, join_rounds, reduce_block, sweep_thresholds
from pipeline_lib.components.falling import in_falling_order
from pipeline_lib.components.regions.reduction import reduce_forest
from pipeline_lib.components.regions.shared import is_shared, region_of, shared_voxels
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.metrics import score_thresholds
from pipeline_lib.skeletons import Skeletons

SHAPE_VOX = (7, 8, 9)


def random_affinities(dtype, seed, shape_vox=SHAPE_VOX):
    """Mostly strong, so that segments of all sizes occur over the thresholds."""
    values = np.random.default_rng(seed).random((3, *shape_vox)) ** 0.3
    return np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)


def random_points(seed, n_points=40, shape_vox=SHAPE_VOX):
    """Some of them twice."""
    points_vox = np.random.default_rng(seed).integers(0, shape_vox, (n_points, 3))
    return np.concatenate([points_vox, points_vox[: n_points // 5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
@pytest.mark.parametrize("min_size_vox", [0, 2, 5, 50])
@pytest.mark.parametrize("lowest", [0.0, 0.25, 0.99])
def test_equals_the_sweep_of_the_whole(dtype, min_size_vox, lowest):
    affinities, points_vox = random_affinities(dtype, 1), random_points(2)
    options = {"lowest": lowest, "min_size_vox": min_size_vox}
    found = sweep_by_blocks(affinities, (4, 3, 5), points_vox, **options)
    assert_equals_the_whole(found, affinities, points_vox, **options)
    if lowest < 0.99 or min_size_vox < 5:
        assert len(set(found.history.appears_at.tolist())) > 3


@settings(max_examples=60, deadline=None)
@given(
    shape_vox=st.tuples(*[st.integers(1, 9)] * 3),
    block_vox=st.tuples(*[st.integers(1, 6)] * 3),
    values=st.sampled_from([tuple(range(256)), tuple(range(248, 256)), (0, 255), (0, 100, 101, 254), (70, 200), (255,)]),
    lowest=st.sampled_from([0.0, 0.25, 100 / 255, 0.996, 1.0]),
    min_size_vox=st.sampled_from([0, 2, 5, 50]),
    n_points=st.integers(0, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_volume_blocks_and_order_of_joins(*, shape_vox, block_vox, values, lowest, min_size_vox, n_points, seed):
    rng = np.random.default_rng(seed)
    affinities = rng.choice(np.array(values, np.uint8), (3, *shape_vox))
    points_vox = rng.integers(0, shape_vox, (n_points, 3))
    options = {"lowest": lowest, "min_size_vox": min_size_vox}
    forests = reduced_blocks(affinities, block_vox, points_vox, **options)
    found = finish_sweep(joined_at_random(forests, rng), points_vox)
    assert_equals_the_whole(found, affinities, points_vox, **options)


@pytest.mark.parametrize("name", adversarial())
@pytest.mark.parametrize("levels", [(255,), (90, 180, 181)])
def test_adversarial_edges(name, levels):
    present = adversarial()[name]
    affinities = present * np.random.default_rng(3).choice(np.array(levels, np.uint8), present.shape)
    points_vox = random_points(4, shape_vox=present.shape[1:])
    for block_vox in ((1, 30, 4), (5, 4, 50), (100, 7, 1), (100, 100, 100)):
        found = sweep_by_blocks(affinities, block_vox, points_vox, min_size_vox=5)
        assert_equals_the_whole(found, affinities, points_vox, lowest=0.25, min_size_vox=5)


@pytest.mark.parametrize("value", [0, 63, 64, 255])
def test_constant_affinities(value):
    affinities, points_vox = np.full((3, *SHAPE_VOX), value, np.uint8), random_points(5)
    found = sweep_by_blocks(affinities, (3, 3, 3), points_vox, min_size_vox=50)
    assert_equals_the_whole(found, affinities, points_vox, lowest=0.25, min_size_vox=50)
    assert found.n_segments[:255].tolist() == [int(value > max(level, 63)) for level in range(255)]


@pytest.mark.parametrize("block_vox", [(1, 2, 4), (1, 8, 9), (7, 1, 3), (2, 8, 1), (4, 4, 4), (8, 9, 10)])
def test_points_anywhere(block_vox):
    """In every voxel; where a number of coordinates lie on faces of blocks: in faces, edges, corners; nowhere."""
    affinities = random_affinities(np.uint8, 6)
    voxels = np.random.default_rng(7).permutation(np.argwhere(np.ones(SHAPE_VOX)))
    on_faces = np.sum((voxels % block_vox == 0) | ((voxels + 1) % block_vox == 0), axis=1)
    for points_vox in (voxels, *(voxels[on_faces == n] for n in range(4)), np.empty((0, 3))):
        found = sweep_by_blocks(affinities, block_vox, points_vox, min_size_vox=5)
        assert_equals_the_whole(found, affinities, points_vox, lowest=0.25, min_size_vox=5)


def test_sizes_equal_those_of_scipy():
    affinities = random_affinities(np.uint8, 8)
    found = sweep_by_blocks(affinities, (3, 5, 4), np.empty((0, 3)), lowest=0, min_size_vox=5)
    for level in range(255):
        sizes_vox = np.bincount(labelled_by_scipy(affinities > level).ravel())[1:]
        np.testing.assert_array_equal(found.histogram[level], np.bincount(np.log2(sizes_vox).astype(int), minlength=64))
        assert found.n_segments[level] == np.sum(sizes_vox >= 5)


def test_every_order_of_joins_gives_the_same():
    affinities, points_vox, grid = random_affinities(np.uint8, 9), random_points(10), BlockGrid(SHAPE_VOX, (3, 3, 3))
    forests = reduced_blocks(affinities, grid.block_vox, points_vox, min_size_vox=5)
    expected = finish_sweep(joined_in_rounds(forests, grid), points_vox)
    pairs = np.random.default_rng(11).integers(0, len(points_vox), (300, 2))
    for seed in range(8):
        found = finish_sweep(joined_at_random(forests, np.random.default_rng(seed)), points_vox)
        np.testing.assert_array_equal(found.n_segments, expected.n_segments)
        np.testing.assert_array_equal(found.histogram, expected.histogram)
        np.testing.assert_array_equal(found.history.appears_at, expected.history.appears_at)
        np.testing.assert_array_equal(found.history.joined_at(pairs), expected.history.joined_at(pairs))


@pytest.mark.parametrize("min_size_vox", [0, 12])
def test_scores_of_skeletons(min_size_vox):
    rng = np.random.default_rng(12)
    affinities, voxels = random_affinities(np.uint8, 13), rng.integers(0, SHAPE_VOX, (120, 3))
    ids, edges = rng.integers(0, 7, len(voxels)) * 10, rng.integers(0, len(voxels), (400, 2))
    skeletons = Skeletons((voxels + 0.5) * (20.0, 10.0, 10.0), ids, edges[ids[edges[:, 0]] == ids[edges[:, 1]]])
    sweep = sweep_thresholds(affinities, points_vox=voxels)
    whole = sweep.point_history(sizes=sweep.sizes(min_size_vox=min_size_vox) if min_size_vox else None)
    by_blocks = sweep_by_blocks(affinities, (4, 4, 4), voxels, min_size_vox=min_size_vox).history
    expected, found = (score_thresholds(skeletons, history, lowest_level=63).to_json() for history in (whole, by_blocks))
    for tolerance, nerl in expected.pop("nerl_by_tolerance").items():
        np.testing.assert_allclose(found["nerl_by_tolerance"][tolerance], nerl, rtol=0, atol=1e-12)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=0 if name.startswith("n_") else 1e-12)
    assert len(set(expected["voi_split"])) > 20


def test_real_affinities(shared_data):
    with h5py.File(shared_data / "fib25" / "val_affinities.h5") as file:
        affinities = file["affinities"][:3, :30, :120, :120]
    points_vox = random_points(14, 300, affinities.shape[1:])
    for block_vox in ((16, 50, 64), (30, 7, 120)):
        found = sweep_by_blocks(affinities, block_vox, points_vox, min_size_vox=50, threads=2)
        assert_equals_the_whole(found, affinities, points_vox, lowest=0.25, min_size_vox=50)


def test_forests_through_a_file(tmp_path):
    affinities, points_vox, grid = random_affinities(np.uint8, 15), random_points(16), BlockGrid(SHAPE_VOX, (4, 4, 5))
    forests = reduced_blocks(affinities, grid.block_vox, points_vox, min_size_vox=5)
    for i, forest in enumerate(forests.ravel()):
        np.savez(tmp_path / f"{i}.npz", allow_pickle=False, **forest.arrays())
        with np.load(tmp_path / f"{i}.npz", allow_pickle=False) as arrays:
            forests.ravel()[i] = again = RegionForest.from_arrays(arrays)
        assert (again.box, again.shape_vox, again.min_size_vox) == (forest.box, SHAPE_VOX, 5)
        for name, array in forest.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], array)
            assert again.arrays()[name].dtype == array.dtype
    found = finish_sweep(joined_in_rounds(forests, grid), points_vox)
    assert_equals_the_whole(found, affinities, points_vox, lowest=0.25, min_size_vox=5)


def test_what_no_terminal_can_reach_is_gone():
    affinities = random_affinities(np.uint8, 17, (20, 20, 20))
    points_vox = random_points(18, 10, (20, 20, 20))
    for forest in reduced_blocks(affinities, (10, 10, 10), points_vox, lowest=0).ravel():
        n_clusters, known = len(forest.tree.parents) - 1, forest.terminals
        assert n_clusters < len(known.voxels) / 2
        assert set(range(1, n_clusters + 1)) <= set(known.clusters[known.strongest > 0].tolist())
        assert forest.gains.n_vox.sum() + np.sum(forest.terminals.strongest > 0) <= 1331
        assert len(np.unique(np.stack([forest.gains.clusters, forest.gains.levels]), axis=1).T) == len(forest.gains.levels)
    whole = reduce_block(affinities, Box.of_shape((20, 20, 20)), (20, 20, 20))
    assert [len(column) for column in (*whole.terminals, *whole.tree, *whole.gains)] == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert whole.n_closed.any()


def test_regions_that_hold_a_voxel():
    grid = BlockGrid(SHAPE_VOX, (3, 1, 4))
    held = np.zeros(SHAPE_VOX, int)
    voxels = np.arange(held.size).reshape(SHAPE_VOX)
    regions = [(block.write_box, region_of(block.write_box, SHAPE_VOX)) for block in grid]
    ends = []
    for box, region in regions:
        holds = np.zeros(SHAPE_VOX, bool)
        for axis in range(3):
            holds[(*box.slices[:axis], region.slices[axis], *box.slices[axis + 1 :])] = True
        held += holds
        ends.append(holds)
    assert held.max() == 4
    for (box, region), holds in zip(regions, ends, strict=True):
        expected = (held > 1)[holds]
        np.testing.assert_array_equal(shared_voxels(box, SHAPE_VOX)[holds[region.slices]], expected)
        planes = np.array([box.start_vox, box.stop_vox])
        assert [is_shared(voxel, planes, np.array(SHAPE_VOX)) for voxel in voxels[holds]] == expected.tolist()


def test_clusters_beyond_uint32_take_the_same_way():
    rng = np.random.default_rng(19)
    levels, ends = rng.integers(0, 256, 300).astype(np.uint8), rng.integers(1, 101, (2, 300))
    clusters, strongest = rng.integers(1, 101, 20), rng.integers(0, 256, 20).astype(np.uint8)
    found = []
    for ids in (np.uint32, np.uint64):
        joins = in_falling_order(levels, *ends.astype(ids))
        gains = in_falling_order(levels, ends[0].astype(ids), ends[1])
        found.append(reduce_forest(100, joins, gains, clusters.astype(ids), strongest, min_size_vox=5))
        assert found[-1].clusters.dtype == ids
    for a, b in zip(*([*r.tree, r.clusters, *r.gains, r.n_closed, r.histogram] for r in found), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(found[0].tree.parents) > 3


@pytest.mark.parametrize("block_vox", [(10, 30, 7), (10, 5, 100), (3, 3, 3), (100, 100, 100)])
def test_rounds_of_joins(block_vox):
    grid = BlockGrid((31, 32, 33), block_vox)
    boxes = {block.index: block.write_box for block in grid}
    rounds = join_rounds(grid)
    for joins in rounds:
        for left, right, joined in joins:
            a, b = boxes.pop(left), boxes.pop(right)
            united = Box(a.start_vox, b.stop_vox)
            assert a.n_voxels + b.n_voxels == united.n_voxels
            boxes[joined] = united
        assert not {join.joined for join in joins} & {end for join in joins for end in join[:2]}
    assert list(boxes.values()) == [Box.of_shape(grid.shape_vox)]
    assert len(rounds) == sum((count - 1).bit_length() for count in grid.counts)


def test_the_shortest_axis_is_joined_first():
    assert join_rounds(BlockGrid((1, 8, 9), (1, 4, 3))) == [[(0, 1, 6), (3, 4, 7)], [(6, 7, 8), (2, 5, 9)], [(8, 9, 10)]]
    assert join_rounds(BlockGrid((5, 5, 5), (5, 5, 5))) == []


def test_memory_beyond_the_input():
    """Bytes for each voxel, in a process of its own, of smooth affinities."""
    code = """
from pathlib import Path
import numpy as np
from scipy.ndimage import zoom
from pipeline_lib.components import reduce_block
from pipeline_lib.geometry import Box
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
rng = np.random.default_rng(0)
large = np.stack([zoom(rng.integers(0, 256, (43, 43, 43)).astype(np.uint8), 6, order=1) for _ in range(3)])
def reduce(affinities):
    start = np.array((5, 5, 5))
    return reduce_block(affinities, Box(start, start + affinities.shape[1:]), (300, 300, 300), threads=1)
reduce(large[:, :2])
before = peak()
forest = reduce(large)
print((peak() - before) / large[0].size)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 8 < float(told.stdout) < 14


def test_a_block_is_refused():
    affinities, box = random_affinities(np.uint8, 20), Box((0, 0, 0), SHAPE_VOX)
    with pytest.raises(ValueError, match=r"expected affinities \(3, z, y, x\)"):
        reduce_block(affinities[0], box, SHAPE_VOX)
    with pytest.raises(ValueError, match=r"affinities of \(7, 8, 9\) voxels do not fill Box\(start_vox=\(0, 0, 0\), stop_vox="):
        reduce_block(affinities, Box((0, 0, 0), (7, 8, 8)), SHAPE_VOX)
    for outside in (box.shifted((0, 0, 1)), box.shifted((0, -1, 0))):
        with pytest.raises(ValueError, match=r"Box\(.*\) is not inside the volume of \(7, 8, 9\) voxels"):
            reduce_block(affinities, outside, SHAPE_VOX)
    with pytest.raises(ValueError, match="points_vox are voxels, so integers, got float64"):
        reduce_block(affinities, box, SHAPE_VOX, points_vox=np.array([[0.5, 0, 0]]))
    with pytest.raises(UserError, match=r"1 of 1 points lie outside the volume of \(7, 8, 9\) voxels, the first at voxel"):
        reduce_block(affinities, box, SHAPE_VOX, points_vox=np.array([[7, 0, 0]]))
    with pytest.raises(ValueError, match="a threshold lies between 0 and 1, got 2"):
        reduce_block(affinities, box, SHAPE_VOX, lowest=2)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        reduce_block(affinities, box, SHAPE_VOX, threads=0)


def test_a_join_is_refused():
    a, b, c = reduced_blocks(random_affinities(np.uint8, 21), (7, 8, 3), np.empty((0, 3))).ravel()
    for pair in ((a, c), (a, a), (join_regions(a, b), b)):
        with pytest.raises(ValueError, match=r"Box\(.*\) and Box\(.*\) do not form a box"):
            join_regions(*pair)
    affinities = random_affinities(np.uint8, 21, (8, 8, 9))
    taller = reduced_blocks(affinities, (7, 8, 3), np.empty((0, 3)))[0, 0, 1]
    with pytest.raises(ValueError, match=r"regions of one sweep have the same shape_vox, got \(7, 8, 9\) and \(8, 8, 9\)"):
        join_regions(a, taller)
    other = reduced_blocks(affinities[:, :7], (7, 8, 3), np.empty((0, 3)), lowest=0.3, min_size_vox=7)[0, 0, 1]
    with pytest.raises(ValueError, match="regions of one sweep have the same lowest_level, got 63 and 76"):
        join_regions(a, other)
    other = reduced_blocks(affinities[:, :7], (7, 8, 3), np.empty((0, 3)), min_size_vox=7)[0, 0, 1]
    with pytest.raises(ValueError, match="regions of one sweep have the same min_size_vox, got 0 and 7"):
        join_regions(a, other)


def test_finishing_is_refused():
    points_vox = np.array([[0, 0, 0], [6, 7, 8], [1, 2, 3]])
    a, b = reduced_blocks(random_affinities(np.uint8, 22), (7, 8, 6), points_vox[:2]).ravel()
    with pytest.raises(ValueError, match=r"the regions joined so far hold Box\(.*\), not the volume of \(7, 8, 9\) voxels"):
        finish_sweep(a, points_vox)
    forest = join_regions(a, b)
    with pytest.raises(ValueError, match=r"1 of 3 points were not given to reduce_block, the first at voxel \(1, 2, 3\)"):
        finish_sweep(forest, points_vox)
    with pytest.raises(UserError, match="1 of 1 points lie outside the volume"):
        finish_sweep(forest, np.array([[-1, 0, 0]]))


def test_other_arrays_are_refused():
    arrays = reduce_block(random_affinities(np.uint8, 23), Box.of_shape(SHAPE_VOX), SHAPE_VOX).arrays()
    arrays["voxels"] = arrays.pop("terminal_voxels")
    message = r"these are not the arrays of a region's forest: missing \['terminal_voxels'\], unknown \['voxels'\]"
    with pytest.raises(ValueError, match=message):
        RegionForest.from_arrays(arrays)
