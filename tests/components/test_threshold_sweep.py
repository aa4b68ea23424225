import subprocess
import sys
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
from components_by_scipy import labelled_by_scipy

from pipeline_lib.components import label_components, remove_small_segments, strongest, sweep_thresholds
from pipeline_lib.components.edges import to_levels
from pipeline_lib.components.merge_tree import merge_basins
from pipeline_lib.components.strongest import find_basins
from pipeline_lib.errors import UserError

SHAPE_VOX = (6, 7, 8)


def random_affinities(dtype, seed=11):
    """Mostly strong, so that segments of all sizes occur over the thresholds."""
    values = np.random.default_rng(seed).random((3, *SHAPE_VOX)) ** 0.3
    return np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_every_level_equals_the_components_of_scipy(dtype):
    affinities = random_affinities(dtype)
    points_vox = np.argwhere(np.ones(SHAPE_VOX))
    sweep = sweep_thresholds(affinities, points_vox=points_vox)
    np.testing.assert_allclose(sweep.thresholds, np.arange(254, 62, -1) / 255)
    for threshold, n_segments in zip(sweep.thresholds, sweep.n_segments, strict=True):
        limit = round(255 * threshold) if dtype == np.uint8 else threshold
        expected = labelled_by_scipy(affinities.astype(float) > limit)
        np.testing.assert_array_equal(label_components(affinities, threshold), expected)
        np.testing.assert_array_equal(sweep.labels_at(threshold), expected)
        assert n_segments == expected.max()
        of_points = sweep.point_labels_at(threshold)
        np.testing.assert_array_equal(of_points == 0, expected.ravel() == 0)
        pairs = np.unique(np.stack([of_points, expected.ravel()]), axis=1)
        assert len(pairs.T) == len(np.unique(of_points)) == len(np.unique(expected))
    assert len(set(sweep.n_segments.tolist())) > 20


@pytest.mark.parametrize("shape_vox", [(1, 40, 50), (40, 50, 1), (50, 1, 40), (1, 1, 300), (300, 1, 1), (13, 14, 15)])
@pytest.mark.parametrize("values", [(0, 255), (0, 100, 101, 254), (255,), tuple(range(250, 256))])
@pytest.mark.parametrize("threads", [1, 3])
def test_ties_and_flat_volumes(shape_vox, values, threads):
    affinities = np.random.default_rng(13).choice(np.array(values, np.uint8), (3, *shape_vox))
    sweep = sweep_thresholds(affinities, lowest=0, threads=threads)
    for level in {0, 99, 100, 101, 253, 254, *(v - 1 for v in values if v)}:
        np.testing.assert_array_equal(sweep.labels_at(level / 255), label_components(affinities, level / 255))


def test_real_affinities_at_every_tenth_level(shared_data):
    with h5py.File(shared_data / "fib25" / "val_affinities.h5") as file:
        affinities = file["affinities"][:3, :30, :120, :120]
    sweep = sweep_thresholds(affinities, threads=2)
    for level in range(254, 63, -10):
        np.testing.assert_array_equal(sweep.labels_at(level / 255), label_components(affinities, level / 255))


@pytest.mark.parametrize("most_edges", [1, 100, 10**6])
def test_edges_in_bands_give_the_same_segments(most_edges):
    levels = to_levels(random_affinities(np.uint8))
    basins, strongest, n_basins = find_basins(levels, 63, 1)
    tree = merge_basins(levels, basins, n_basins, lowest_level=63, threads=2, most_edges=most_edges)
    assert 1 < n_basins < basins.size / 3
    assert (np.diff(tree.attached_at[_way(tree.parents, tree.attached_at)].astype(int)) <= 0).all()
    for level in range(63, 255, 7):
        segments = np.where(strongest > level, tree.segments_at(level)[basins], 0)
        expected = label_components(levels, level / 255)
        assert len(np.unique(np.stack([segments, expected]).reshape(2, -1), axis=1).T) == len(np.unique(expected))
        np.testing.assert_array_equal(segments == 0, expected == 0)


def _way(parents, attached_at):
    """The longest way through a tree."""
    ways = []
    for basin in range(len(parents)):
        way = [basin]
        while attached_at[way[-1]] > 0:
            way.append(int(parents[way[-1]]))
        ways.append(way[:-1])
    return max(ways, key=len)


@pytest.mark.parametrize("lowest_value", [0, 250])
def test_memory_beyond_the_input(lowest_value):
    """In volumes of labels, of which the result takes 1.25, in a process of its own; noise has most edges between basins."""
    code = f"""
from pathlib import Path
import numpy as np
from pipeline_lib.components import sweep_thresholds
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
rng = np.random.default_rng(0)
small, large = (rng.integers({lowest_value}, 256, (3, n, 256, 256), np.uint8) for n in (2, 256))
sweep_thresholds(small)
before = peak()
sweep = sweep_thresholds(large)
print((peak() - before) / (4 * large[0].size))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1.2 < float(told.stdout) < 3.2


@pytest.mark.parametrize("min_size_vox", [2, 3, 10, 60])
def test_sizes_at_every_level(min_size_vox):
    affinities = random_affinities(np.uint8)
    sizes = sweep_thresholds(affinities, lowest=0.3).sizes(min_size_vox=min_size_vox)
    for level in range(76, 255):
        labels = label_components(affinities, level / 255)
        size_vox = np.bincount(labels.ravel())[1:]
        expected = np.bincount(np.log2(size_vox).astype(int), minlength=64)
        np.testing.assert_array_equal(sizes.histogram[level], expected)
        assert sizes.n_segments[level] == remove_small_segments(labels, min_size_vox).max()


@pytest.mark.parametrize("min_size_vox", [0, 7, 40])
def test_history_of_points(min_size_vox):
    affinities = random_affinities(np.uint8, seed=14)
    rng = np.random.default_rng(15)
    points_vox, pairs = rng.integers(0, SHAPE_VOX, (60, 3)), rng.integers(0, 60, (200, 2))
    sweep = sweep_thresholds(affinities, points_vox=points_vox)
    history = sweep.point_history(sizes=sweep.sizes(min_size_vox=min_size_vox) if min_size_vox else None)
    joined_at = history.joined_at(pairs)
    for level in range(63, 255):
        expected = remove_small_segments(label_components(affinities, level / 255), max(min_size_vox, 2))[tuple(points_vox.T)]
        found = history.labels_at(level)
        np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
        np.testing.assert_array_equal(found == 0, expected == 0)
        together = (expected[pairs[:, 0]] == expected[pairs[:, 1]]) & (expected[pairs[:, 0]] != 0)
        np.testing.assert_array_equal(joined_at > level, together)
    assert len(set(joined_at.tolist())) > 5


def test_ids_beyond_uint32_take_the_same_way(monkeypatch):
    affinities, points_vox = random_affinities(np.uint8), np.random.default_rng(16).integers(0, SHAPE_VOX, (50, 3))
    monkeypatch.setattr(strongest, "label_links", partial(strongest.label_links, dtype=np.uint64))
    sweep = sweep_thresholds(affinities, points_vox=points_vox, threads=2)
    sizes = sweep.sizes(min_size_vox=5)
    history = sweep.point_history(sizes=sizes)
    assert (sweep.basins.dtype, sweep.tree.parents.dtype) == (np.uint64, np.uint64)
    for level in range(63, 255, 16):
        labels = label_components(affinities, level / 255)
        found = sweep.labels_at(level / 255)
        assert found.dtype == np.uint64
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(sweep.point_labels_at(level / 255) == 0, labels[tuple(points_vox.T)] == 0)
        kept = remove_small_segments(labels, 5)
        assert sizes.n_segments[level] == kept.max()
        at_points, expected = history.labels_at(level), kept[tuple(points_vox.T)]
        np.testing.assert_array_equal(at_points[:, None] == at_points, expected[:, None] == expected)


def test_segments_of_points_do_not_touch_the_volume():
    points_vox = np.argwhere(np.ones(SHAPE_VOX))
    sweep = sweep_thresholds(random_affinities(np.uint8), points_vox=points_vox)
    without = replace(sweep, basins=None, strongest=None)
    for threshold in sweep.thresholds[::20]:
        np.testing.assert_array_equal(without.point_labels_at(threshold), sweep.point_labels_at(threshold))
    np.testing.assert_array_equal(without.point_history().appears_at, sweep.point_history().appears_at)


def test_thresholds_between_levels_follow_the_uint8_rule():
    affinities = random_affinities(np.uint8)
    sweep = sweep_thresholds(affinities, lowest=0.3)
    for threshold in np.random.default_rng(12).uniform(0.3, 0.9999, 20):
        np.testing.assert_array_equal(sweep.labels_at(threshold), label_components(affinities, threshold))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_thresholds_of_floats_are_those_of_the_level_below(dtype):
    affinities = random_affinities(dtype)
    sweep = sweep_thresholds(affinities)
    for threshold in (0.4502, 0.5498, 0.7311):
        below = np.floor(255 * threshold) / 255
        np.testing.assert_array_equal(sweep.labels_at(threshold), label_components(affinities, below))


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0), (1, 1, 1)])
def test_nothing_to_sweep(shape):
    sweep = sweep_thresholds(np.full((3, *shape), 255, np.uint8), points_vox=np.empty((0, 3)))
    assert not sweep.n_segments.any()
    assert not sweep.labels_at(0.5).any()
    assert sweep.labels_at(0.5).shape == shape
    assert not sweep.sizes().histogram.any()
    assert sweep.point_labels_at(0.5).shape == (0,)


def test_owns_what_it_needs():
    affinities = random_affinities(np.uint8)
    before = affinities.copy()
    points_vox = np.array([[0, 0, 0], [5, 6, 7]])
    sweep = sweep_thresholds(affinities, points_vox=points_vox)
    np.testing.assert_array_equal(affinities, before)
    expected = sweep.labels_at(0.8), sweep.point_labels_at(0.8)
    affinities[:], points_vox[:] = 0, 1
    np.testing.assert_array_equal(sweep.labels_at(0.8), expected[0])
    np.testing.assert_array_equal(sweep.point_labels_at(0.8), expected[1])


def test_lowest_zero_and_no_edges():
    affinities = np.zeros((3, *SHAPE_VOX), np.float32)
    affinities[0, 0, 0, 0] = np.nan
    sweep = sweep_thresholds(affinities, lowest=0)
    assert len(sweep.thresholds) == 255
    assert not sweep.n_segments.any()
    assert not sweep.labels_at(0).any()
    affinities[0, 1, 0, 0] = 1e-6
    assert sweep_thresholds(affinities, lowest=0).labels_at(0)[1:3, 0, 0].tolist() == [1, 1]


@pytest.mark.parametrize("threshold", [0.2, 1.0])
def test_thresholds_outside_the_sweep_are_refused(threshold):
    sweep = sweep_thresholds(random_affinities(np.uint8))
    with pytest.raises(ValueError, match=r"the sweep holds thresholds from 0.2471 to 0.9961, got"):
        sweep.labels_at(threshold)


def test_refuses():
    affinities = random_affinities(np.uint8)
    with pytest.raises(ValueError, match=r"expected affinities \(3, z, y, x\)"):
        sweep_thresholds(affinities[:2])
    with pytest.raises(ValueError, match="points_vox are voxels, so integers, got float64"):
        sweep_thresholds(affinities, points_vox=np.array([[-0.5, 0.9, 6.9]]))
    with pytest.raises(ValueError, match="the sweep was made without points_vox"):
        sweep_thresholds(affinities).point_labels_at(0.5)
    message = (
        r"2 of 3 points lie outside the volume of \(6, 7, 8\) voxels, the first at voxel \(0, 7, 0\): check the voxel size"
    )
    with pytest.raises(UserError, match=message):
        sweep_thresholds(affinities, points_vox=np.array([[0, 0, 0], [0, 7, 0], [-1, 0, 0]]))
