import numpy as np
import pytest
from scipy import ndimage

from pipeline_lib.affinity import erode_labels, relabel_components


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(pairs.T) == len(np.unique(a)) == len(np.unique(b)) and np.array_equal(a == 0, b == 0)


def eroded_by_brute_force(labels, radius_vox):
    result = labels.copy()
    voxels = np.array(list(np.ndindex(labels.shape)))
    for v in voxels:
        near = voxels[np.abs(voxels - v).sum(axis=1) <= radius_vox]
        if set(labels[tuple(near.T)].tolist()) - {0, labels[tuple(v)]}:
            result[tuple(v)] = 0
    return result


def blobs(seed, shape=(7, 8, 9), n=4):
    noise = np.random.default_rng(seed).random((n, *shape))
    return np.argmax([ndimage.gaussian_filter(channel, 1.2) for channel in noise], axis=0)


@pytest.mark.parametrize("radius_vox", [0, 1, 2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64, np.uint64])
def test_erosion_matches_brute_force(radius_vox, dtype):
    labels = blobs(3).astype(dtype)
    before = labels.copy()
    eroded = erode_labels(labels, radius_vox)
    np.testing.assert_array_equal(eroded, eroded_by_brute_force(before, radius_vox))
    np.testing.assert_array_equal(labels, before)
    assert eroded.dtype == dtype
    assert np.array_equal(eroded, before) == (radius_vox == 0)


def test_background_does_not_erode_an_object():
    row = np.array([[[2, 2, 2, 5, 5, 0, 5]]], np.uint32)
    assert erode_labels(row)[0, 0].tolist() == [2, 2, 0, 0, 5, 0, 5]


def test_a_larger_radius_reaches_across_background():
    row = np.array([[[2, 2, 2, 0, 5, 5, 5]]], np.uint32)
    assert erode_labels(row, 1)[0, 0].tolist() == [2, 2, 2, 0, 5, 5, 5]
    assert erode_labels(row, 2)[0, 0].tolist() == [2, 2, 0, 0, 0, 5, 5]


def test_negative_radius_is_refused():
    with pytest.raises(ValueError, match="radius_vox must be >= 0, got -1"):
        erode_labels(np.zeros((1, 1, 1), np.uint8), -1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64, np.uint64])
def test_components_match_scipy_of_each_label(dtype):
    labels = np.random.default_rng(4).integers(0, 3, (6, 7, 8)).astype(dtype)
    expected, n = np.zeros(labels.shape, int), 0
    for label in (1, 2):
        parts, n_parts = ndimage.label(labels == label)
        expected[parts > 0] = parts[parts > 0] + n
        n += n_parts
    found = relabel_components(labels)
    assert found.dtype == np.uint32
    assert sorted(np.unique(found)) == list(range(n + 1))
    assert same_partition(found, expected)


def test_components_keep_apart_what_touches_by_a_corner():
    labels = np.zeros((2, 2, 2), np.uint32)
    labels[0, 0, 0] = labels[1, 1, 0] = 9
    assert relabel_components(labels).max() == 2
