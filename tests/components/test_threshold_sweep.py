import numpy as np
import pytest

from pipeline_lib.components import label_components, sweep_thresholds
from pipeline_lib.errors import UserError

SHAPE_VOX = (6, 7, 8)


def random_affinities(dtype, seed=11):
    """Mostly strong, so that segments of all sizes occur over the thresholds."""
    values = np.random.default_rng(seed).random((3, *SHAPE_VOX)) ** 0.3
    return np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_every_level_equals_label_components(dtype):
    affinities = random_affinities(dtype)
    points_vox = np.argwhere(np.ones(SHAPE_VOX))
    sweep = sweep_thresholds(affinities, points_vox=points_vox)
    np.testing.assert_allclose(sweep.thresholds, np.arange(254, 62, -1) / 255)
    for threshold, n_segments in zip(sweep.thresholds, sweep.n_segments, strict=True):
        expected = label_components(affinities, threshold)
        np.testing.assert_array_equal(sweep.labels_at(threshold), expected)
        assert n_segments == expected.max()
        of_points = sweep.point_labels_at(threshold)
        np.testing.assert_array_equal(of_points == 0, expected.ravel() == 0)
        pairs = np.unique(np.stack([of_points, expected.ravel()]), axis=1)
        assert len(pairs.T) == len(np.unique(of_points)) == len(np.unique(expected))
    assert len(set(sweep.n_segments.tolist())) > 20


def test_thresholds_between_levels_follow_the_uint8_rule():
    affinities = random_affinities(np.uint8)
    sweep = sweep_thresholds(affinities, lowest=0.3)
    for threshold in np.random.default_rng(12).uniform(0.3, 0.9999, 20):
        np.testing.assert_array_equal(sweep.labels_at(threshold), label_components(affinities, threshold))


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
    with pytest.raises(ValueError, match="the sweep was made without points_vox"):
        sweep_thresholds(affinities).point_labels_at(0.5)
    message = (
        r"2 of 3 points lie outside the volume of \(6, 7, 8\) voxels, the first at voxel \(0, 7, 0\): check the voxel size"
    )
    with pytest.raises(UserError, match=message):
        sweep_thresholds(affinities, points_vox=np.array([[0, 0, 0], [0, 7, 0], [-1, 0, 0]]))
