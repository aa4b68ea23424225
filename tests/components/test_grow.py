import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.components import grow_segments
from pipeline_lib.geometry import BlockGrid


def grown_by_numpy(labels, radius_vox, foreground):
    """All voxels at once, step by step: each takes the first label among -z, +z, -y, +y, -x, +x."""
    labels = labels.copy()
    inner = slice(1, -1)
    for _ in range(radius_vox):
        padded = np.pad(labels, 1)
        found = np.zeros_like(labels)
        for axis in range(3):
            for side in (slice(None, -2), slice(2, None)):
                beside = padded[tuple(side if a == axis else inner for a in range(3))]
                found = np.where(found == 0, beside, found)
        labels = np.where((labels == 0) & foreground, found, labels)
    return labels


def sparse_labels(dtype, seed=21, shape=(6, 7, 8)):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.03, rng.integers(1, 60, shape), 0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("radius_vox", [0, 1, 2, 3, 100])
def test_growth_matches_plain_numpy(dtype, radius_vox):
    labels = sparse_labels(dtype)
    before = labels.copy()
    everywhere = np.ones(labels.shape, bool)
    grown = grow_segments(labels, radius_vox)
    np.testing.assert_array_equal(grown, grown_by_numpy(before, min(radius_vox, 30), everywhere))
    np.testing.assert_array_equal(labels, before)
    assert grown.dtype == dtype
    assert grown.all() == (radius_vox == 100)


@pytest.mark.parametrize("radius_vox", [1, 2, 100])
def test_growth_stays_in_the_foreground(radius_vox):
    labels = sparse_labels(np.uint32)
    foreground = np.random.default_rng(22).random(labels.shape) < 0.6
    grown = grow_segments(labels, radius_vox, foreground=foreground)
    np.testing.assert_array_equal(grown, grown_by_numpy(labels, min(radius_vox, 30), foreground))
    np.testing.assert_array_equal(grown[~foreground], labels[~foreground])
    assert (grown != labels).any()


def test_growth_of_a_view_and_of_nothing():
    labels = sparse_labels(np.uint32)
    np.testing.assert_array_equal(grow_segments(labels[:, ::-1].T, 2), grow_segments(labels[:, ::-1].T.copy(), 2))
    assert not grow_segments(np.zeros((2, 3, 4), np.uint32), 5).any()


def test_equally_near_voxels_take_the_label_of_the_first_direction():
    row = np.array([[[7, 0, 0, 0, 2, 0, 0, 3]]], np.uint32)
    for turned in (row, row.transpose(0, 2, 1), row.transpose(2, 0, 1)):
        assert grow_segments(turned, 9).ravel().tolist() == [7, 7, 7, 2, 2, 2, 3, 3]
        assert grow_segments(turned, 1).ravel().tolist() == [7, 7, 0, 2, 2, 2, 3, 3]
        assert grow_segments(turned[::-1, ::-1, ::-1], 9).ravel().tolist() == [3, 3, 2, 2, 2, 2, 7, 7]


@pytest.mark.parametrize("missing", range(6))
def test_the_order_of_directions(missing):
    """One voxel between six labels, of which the first few are missing."""
    labels = np.zeros((3, 3, 3), np.uint32)
    around = [(0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)]
    for i, voxel in enumerate(around[missing:], start=missing):
        labels[voxel] = 60 - i
    assert grow_segments(labels, 1)[1, 1, 1] == 60 - missing


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 13)] * 3),
    block=st.tuples(*[st.integers(1, 15)] * 3),
    radius_vox=st.integers(0, 5),
    masked=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_block_with_its_halo_grows_as_the_whole_whatever_the_ids(shape, block, radius_vox, masked, seed):
    rng = np.random.default_rng(seed)
    density = rng.choice([0.01, 0.1, 0.4])
    labels = np.where(rng.random(shape) < density, rng.integers(1, 9, shape), 0).astype(np.uint32)
    foreground = rng.random(shape) < 0.8 if masked else None
    whole = grow_segments(labels, radius_vox, foreground=foreground)
    joined = np.full_like(labels, 99)
    for part in BlockGrid(shape, block, (radius_vox,) * 3):
        other_ids = np.concatenate([[0], rng.permutation(8) + 1]).astype(np.uint32)
        seen = part.read_box.slices
        grown = grow_segments(other_ids[labels[seen]], radius_vox, foreground=foreground[seen] if masked else None)
        inner = part.write_box.relative_to(part.read_box).slices
        joined[part.write_box.slices] = np.argsort(other_ids)[grown[inner]]
    np.testing.assert_array_equal(joined, whole)


def test_growth_refuses():
    labels = np.zeros((1, 2, 3), np.uint32)
    with pytest.raises(ValueError, match="radius_vox must be >= 0, got -1"):
        grow_segments(labels, -1)
    with pytest.raises(ValueError, match=r"foreground must be bool \(1, 2, 3\), got bool \(1, 2, 2\)"):
        grow_segments(labels, 1, foreground=np.ones((1, 2, 2), bool))
