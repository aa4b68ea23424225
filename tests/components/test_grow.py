import numpy as np
import pytest

from pipeline_lib.components import grow_segments


def grown_by_brute_force(labels, radius_vox, foreground):
    labels = labels.copy()
    for _ in range(radius_vox):
        before = labels.copy()
        for v in np.argwhere((before == 0) & foreground):
            neighbours = [
                before[tuple(w)] for w in v + np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)]) if inside(w, before)
            ]
            labels[tuple(v)] = min((n for n in neighbours if n), default=0)
    return labels


def inside(voxel, array):
    return all(0 <= i < n for i, n in zip(voxel, array.shape, strict=True))


def sparse_labels(dtype, seed=21, shape=(6, 7, 8)):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.03, rng.integers(1, 60, shape), 0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("radius_vox", [0, 1, 2, 3, 100])
def test_growth_matches_brute_force(dtype, radius_vox):
    labels = sparse_labels(dtype)
    before = labels.copy()
    everywhere = np.ones(labels.shape, bool)
    grown = grow_segments(labels, radius_vox)
    np.testing.assert_array_equal(grown, grown_by_brute_force(before, min(radius_vox, 30), everywhere))
    np.testing.assert_array_equal(labels, before)
    assert grown.dtype == dtype
    assert grown.all() == (radius_vox == 100)


@pytest.mark.parametrize("radius_vox", [1, 2, 100])
def test_growth_stays_in_the_foreground(radius_vox):
    labels = sparse_labels(np.uint32)
    foreground = np.random.default_rng(22).random(labels.shape) < 0.6
    grown = grow_segments(labels, radius_vox, foreground=foreground)
    np.testing.assert_array_equal(grown, grown_by_brute_force(labels, min(radius_vox, 30), foreground))
    np.testing.assert_array_equal(grown[~foreground], labels[~foreground])
    assert (grown != labels).any()


def test_growth_of_a_view_and_of_nothing():
    labels = sparse_labels(np.uint32)
    np.testing.assert_array_equal(grow_segments(labels[:, ::-1].T, 2), grow_segments(labels[:, ::-1].T.copy(), 2))
    assert not grow_segments(np.zeros((2, 3, 4), np.uint32), 5).any()


def test_equally_near_voxels_take_the_smaller_id():
    row = np.array([[[7, 0, 0, 0, 2, 0, 0, 3]]], np.uint32)
    assert grow_segments(row, 9)[0, 0].tolist() == [7, 7, 2, 2, 2, 2, 3, 3]
    assert grow_segments(row, 1)[0, 0].tolist() == [7, 7, 0, 2, 2, 2, 3, 3]


def test_growth_refuses():
    labels = np.zeros((1, 2, 3), np.uint32)
    with pytest.raises(ValueError, match="radius_vox must be >= 0, got -1"):
        grow_segments(labels, -1)
    with pytest.raises(ValueError, match=r"foreground must be bool \(1, 2, 3\), got bool \(1, 2, 2\)"):
        grow_segments(labels, 1, foreground=np.ones((1, 2, 2), bool))
