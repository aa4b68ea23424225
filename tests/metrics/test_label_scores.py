import json

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from pipeline_lib.errors import UserError
from pipeline_lib.metrics import score_labels

SHAPE_VOX = (6, 9, 10)


def random_case(seed):
    """A truth of slabs, and a segmentation that merges, splits and loses some of it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, (6, 1, 1)) * np.ones(SHAPE_VOX, int)
    segmentation = np.where(rng.random(SHAPE_VOX) < 0.7, truth // 2 + 1, rng.integers(0, 4, SHAPE_VOX))
    return truth.astype(np.uint32), segmentation.astype(np.uint64)


def pairs_by_brute_force(truth, segmentation):
    """Unordered pairs of voxels that share (both ids, the true id, the segment)."""
    first, second = np.triu_indices(len(truth), k=1)
    same_truth, same_segment = truth[first] == truth[second], segmentation[first] == segmentation[second]
    return (same_truth & same_segment).sum(), same_truth.sum(), same_segment.sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("masked", [False, True])
def test_matches_skimage_and_brute_force(seed, masked):
    truth, segmentation = random_case(seed)
    valid = np.random.default_rng(seed).random(SHAPE_VOX) < 0.6 if masked else None
    scores = score_labels(truth, segmentation, valid=valid)
    scored = truth != 0 if valid is None else (truth != 0) & valid
    t, s = truth[scored].astype(int), segmentation[scored].astype(int)
    split, merge = variation_of_information(t, s)
    assert (scores.voi_split, scores.voi_merge) == pytest.approx((split, merge))
    assert scores.voi_sum == pytest.approx(split + merge)
    assert scores.adapted_rand_error == pytest.approx(adapted_rand_error(t, s, ignore_labels=())[0])
    both, same_truth, same_segment = pairs_by_brute_force(t, s)
    assert scores.precision == pytest.approx(both / same_segment)
    assert scores.recall == pytest.approx(both / same_truth)
    assert scores.n_voxels == scored.sum()
    assert 0 in segmentation[scored]


def test_splits_cost_recall_and_mergers_precision():
    truth = np.array([[[1, 1, 1, 1, 2, 2, 0]]])
    split = score_labels(truth, np.array([[[1, 1, 3, 3, 2, 2, 2]]]))
    assert (split.precision, split.voi_merge) == (1, 0)
    assert split.recall == pytest.approx(3 / 7)
    assert split.voi_split == pytest.approx(4 / 6)
    merged = score_labels(truth, np.array([[[1, 1, 1, 1, 1, 1, 1]]]))
    assert (merged.recall, merged.voi_split) == (1, 0)
    assert merged.precision == pytest.approx(7 / 15)


def test_single_voxels_have_no_pairs():
    scores = score_labels(np.array([[[1, 2]]]), np.array([[[1, 2]]]))
    assert (scores.precision, scores.recall, scores.adapted_rand_error, scores.voi_sum) == (1, 1, 0, 0)
    scores = score_labels(np.array([[[1, 2]]]), np.array([[[1, 1]]]))
    assert (scores.precision, scores.recall, scores.adapted_rand_error) == (0, 1, 1)


def test_json_holds_plain_numbers():
    found = score_labels(*random_case(1)).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"voi_split", "voi_merge", "voi_sum", "adapted_rand_error", "precision", "recall", "n_voxels"}


def test_refuses():
    truth, segmentation = random_case(2)
    with pytest.raises(ValueError, match=r"truth has shape \(6, 9, 10\) but segmentation \(5, 9, 10\)"):
        score_labels(truth, segmentation[:5])
    with pytest.raises(ValueError, match=r"truth has shape \(6, 9, 10\) but valid \(6, 9, 9\)"):
        score_labels(truth, segmentation, valid=np.ones((6, 9, 9), bool))
    with pytest.raises(UserError, match="no voxel to score: every true label is 0 or masked"):
        score_labels(truth, segmentation, valid=truth == 0)
