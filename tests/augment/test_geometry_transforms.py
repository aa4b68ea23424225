"""Flips and quarter turns keep ids, move image, labels and mask together, and do what they say."""

import itertools

import numpy as np
import pytest

from pipeline_lib.augment import Sample
from pipeline_lib.augment.geometry import flip, quarter_turns, random_flips, random_quarter_turns


def tied_sample(shape=(6, 6, 6), voxel_size_nm=(10.0, 10.0, 10.0)) -> Sample:
    """Every voxel has its own id, and image and mask follow from the id."""
    labels = np.arange(1, np.prod(shape) + 1, dtype=np.uint32).reshape(shape)
    return Sample(image_of(labels), labels, labelled_of(labels), voxel_size_nm)


def image_of(labels):
    return (labels % 17 / 17).astype(np.float32)


def labelled_of(labels):
    return labels % 5 != 0


def assert_tied(sample: Sample) -> None:
    np.testing.assert_array_equal(sample.image, image_of(sample.labels))
    np.testing.assert_array_equal(sample.labelled, labelled_of(sample.labels))


@pytest.mark.parametrize("axes", [a for n in range(4) for a in itertools.combinations(range(3), n)])
def test_flip_reverses_these_axes_of_all_arrays(axes):
    sample = tied_sample((3, 4, 5))
    flipped = flip(sample, axes)
    index = tuple(slice(None, None, -1) if axis in axes else slice(None) for axis in range(3))
    np.testing.assert_array_equal(flipped.labels, sample.labels[index])
    assert_tied(flipped)


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_quarter_turn_moves_every_voxel_by_the_rotation(plane):
    sample = tied_sample()
    turned = quarter_turns(sample, plane, 1)
    first, second = plane
    for position in np.ndindex(6, 6, 6):
        goal = list(position)
        # The first axis turns towards the second: (a, b) -> (n - 1 - b, a).
        goal[first], goal[second] = 5 - position[second], position[first]
        assert turned.labels[tuple(goal)] == sample.labels[position]
    assert_tied(turned)
    np.testing.assert_array_equal(quarter_turns(turned, plane, 3).labels, sample.labels)


@pytest.mark.parametrize("sample", [tied_sample((6, 6, 5)), tied_sample(voxel_size_nm=(10.0, 10.0, 8.0))])
def test_planes_of_unequal_lengths_or_voxel_sizes_are_not_turned(sample):
    with pytest.raises(ValueError, match=r"axes \(0, 2\) differ in length or voxel size"):
        quarter_turns(sample, (0, 2), 1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        turned = random_quarter_turns(sample, rng)
        assert turned.image.shape == sample.image.shape
        # Along x everything stays in place: each row of the result is a row of the sample.
        rows = {tuple(row) for row in sample.labels.reshape(-1, sample.labels.shape[2])}
        assert {tuple(row) for row in turned.labels.reshape(-1, sample.labels.shape[2])} == rows


def test_random_turns_and_flips_reach_all_48_orientations_and_keep_ids():
    sample = tied_sample((3, 3, 3))
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(1500):
        moved = random_flips(random_quarter_turns(sample, rng), rng)
        assert_tied(moved)
        np.testing.assert_array_equal(np.sort(moved.labels, axis=None), np.sort(sample.labels, axis=None))
        seen.add(moved.labels.tobytes())
    assert len(seen) == 48


def test_each_axis_is_flipped_half_of_the_time():
    sample = tied_sample((2, 2, 2))
    rng = np.random.default_rng(2)
    corners = np.array([np.argwhere(random_flips(sample, rng).labels == 1)[0] for _ in range(400)])
    np.testing.assert_allclose(corners.mean(axis=0), 0.5, atol=0.08)


def test_arrays_of_unequal_shapes_are_refused():
    good = tied_sample()
    with pytest.raises(ValueError, match="must have one shape"):
        Sample(good.image, good.labels[1:], good.labelled, good.voxel_size_nm)
