import json
from dataclasses import fields

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from pipeline_lib.errors import UserError
from pipeline_lib.metrics import LabelScores, LabelTally, ScoredVoxels, score_labels
from pipeline_lib.metrics.contingency import joined, tabulate

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
    assert set(found) == {
        *("voi_split", "voi_merge", "voi_sum", "adapted_rand_error", "precision", "recall", "completeness", "purity"),
        *("n_voxels", "n_objects", "voxels", "boundary_tolerance_nm"),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("voxels", ["foreground", "all"])
def test_objects_and_segments_match_brute_force(seed, voxels):
    truth, segmentation = random_case(seed)
    segmentation[truth == truth.max()] = 0  # an object that is lost
    scores = score_labels(truth, segmentation, voxels=voxels)
    scored = np.ones(SHAPE_VOX, bool) if voxels == "all" else truth != 0
    t, s = truth[scored], segmentation[scored]
    assert scores.object_ids.tolist() == np.unique(t[t != 0]).tolist()
    for i, object_id in enumerate(scores.object_ids):
        inside = s[t == object_id]
        ids, counts = np.unique(inside[inside != 0], return_counts=True)
        assert scores.object_size_vox[i] == len(inside)
        assert scores.object_completeness[i] == (counts.max() / len(inside) if len(ids) else 0)
        assert scores.object_best_segment[i] == (ids[counts.argmax()] if len(ids) else 0)
        assert scores.object_n_segments[i] == len(ids)
        best = s == ids[counts.argmax()] if len(ids) else np.zeros(len(s), bool)
        assert scores.object_purity[i] == ((t[best] == object_id).mean() if best.any() else 0)
    largest = [np.unique(t[(s == i) & (t != 0)], return_counts=True)[1].max(initial=0) for i in np.unique(s[s != 0])]
    assert scores.purity == sum(largest) / (s != 0).sum()
    assert scores.completeness == pytest.approx(np.average(scores.object_completeness, weights=scores.object_size_vox))
    assert 0 in scores.object_completeness


@pytest.mark.parametrize("seed", range(3))
def test_all_voxels_take_true_0_as_an_object(seed):
    truth, segmentation = random_case(seed)
    truth[1] = 0
    scores, foreground = score_labels(truth, segmentation, voxels="all"), score_labels(truth, segmentation)
    named = np.where(truth == 0, 99, truth)
    for name in ("voi_split", "voi_merge", "adapted_rand_error", "precision", "recall", "n_voxels"):
        assert getattr(scores, name) == getattr(score_labels(named, segmentation), name)
        assert getattr(scores, name) != getattr(foreground, name)
    assert (scores.n_voxels, scores.to_json()["voxels"], foreground.to_json()["voxels"]) == (truth.size, "all", "foreground")


def test_a_boundary_that_is_off_by_little_is_tolerated():
    truth = np.repeat([1, 2], 10).reshape(1, 1, 20)
    shifted = np.repeat([1, 2], [12, 8]).reshape(1, 1, 20)
    assert score_labels(truth, shifted).voi_sum > 0
    tolerant = score_labels(truth, shifted, boundary_tolerance_nm=20, voxel_size_nm=(40, 4, 20))
    assert (tolerant.voi_sum, tolerant.n_voxels, tolerant.completeness, tolerant.purity) == (0, 16, 1, 1)
    assert tolerant.to_json()["boundary_tolerance_nm"] == 20


def test_great_ids_are_told_apart():
    """Ids that agree in their lower 32 bits, and beyond what a float can hold."""
    truth = np.array([[[2**33 + 1, 2**34 + 1, 2**63, 2**63 + 1]]], np.uint64)
    scores = score_labels(truth, truth + np.uint64(1))
    assert (scores.voi_sum, scores.adapted_rand_error, scores.n_voxels) == (0, 0, 4)
    assert scores.object_ids.tolist() == truth.ravel().tolist()
    assert scores.object_best_segment.tolist() == [2**33 + 2, 2**34 + 2, 2**63 + 1, 2**63 + 2]


def assert_same_scores(found, expected):
    for field in fields(LabelScores):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), err_msg=field.name)


@pytest.mark.parametrize("voxels", ["foreground", "all"])
def test_scores_follow_from_the_joined_tables_of_blocks(voxels):
    truth, segmentation = random_case(4)
    rule = ScoredVoxels(voxels)
    tables = [tabulate(t, s, where=rule.of(t)) for t, s in zip(truth, segmentation, strict=True)]
    found = LabelScores.from_tally(LabelTally.of(joined(tables)), rule)
    assert_same_scores(found, score_labels(truth, segmentation, voxels=voxels))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("voxels", ["foreground", "all"])
def test_tallies_of_parts_add_up_to_that_of_the_whole(seed, voxels):
    """Parts hold whole segments, however few: to the bit, whatever the parts and their order, and through a file."""
    truth, segmentation = random_case(seed)
    rule, rng = ScoredVoxels(voxels), np.random.default_rng(seed)
    part_of = rng.integers(0, 5, segmentation.max() + 1)  # of each segment, 0 among them
    parts = [
        LabelTally.of(tabulate(truth, segmentation, where=rule.of(truth) & (part_of[segmentation] == i))) for i in range(5)
    ]
    tally = LabelTally.added([parts[i] for i in rng.permutation(5)])
    expected = score_labels(truth, segmentation, voxels=voxels)
    assert_same_scores(LabelScores.from_tally(tally, rule), expected)
    again = LabelTally.from_arrays({"other": np.zeros(1), **tally.arrays("a_")}, "a_")
    assert_same_scores(LabelScores.from_tally(LabelTally.added([again]), rule), expected)


def test_of_equally_good_segments_in_two_parts_the_lowest_is_the_best():
    truth, segmentation = np.array([[[1, 1, 1, 1, 1]]]), np.array([[[9, 9, 4, 4, 0]]])
    parts = [LabelTally.of(tabulate(truth, segmentation, where=segmentation == i)) for i in (9, 0, 4)]
    for order in ([0, 1, 2], [2, 1, 0]):
        scores = LabelScores.from_tally(LabelTally.added([parts[i] for i in order]), ScoredVoxels())
        assert (scores.object_best_segment.tolist(), scores.object_n_segments.tolist()) == ([4], [2])


def test_nothing_found_and_nothing_true():
    lost = score_labels(np.ones((1, 2, 2), int), np.zeros((1, 2, 2), int))
    assert (lost.completeness, lost.purity, lost.object_best_segment.tolist()) == (0, 0, [0])
    assert lost.object_purity.tolist() == [0]
    invented = score_labels(np.zeros((1, 2, 2), int), np.ones((1, 2, 2), int), voxels="all")
    assert (invented.completeness, invented.purity, len(invented.object_ids)) == (0, 0, 0)


def test_refuses():
    truth, segmentation = random_case(2)
    with pytest.raises(ValueError, match="ids are integers, got float64"):
        score_labels(truth * 1.2, segmentation)
    with pytest.raises(ValueError, match="valid must be bool, got uint8"):
        score_labels(truth, segmentation, valid=np.ones(truth.shape, np.uint8))
    with pytest.raises(ValueError, match=r"truth has shape \(6, 9, 10\) but segmentation \(5, 9, 10\)"):
        score_labels(truth, segmentation[:5])
    with pytest.raises(ValueError, match=r"truth has shape \(6, 9, 10\) but valid \(6, 9, 9\)"):
        score_labels(truth, segmentation, valid=np.ones((6, 9, 9), bool))
    with pytest.raises(UserError, match="no voxel to score: every true label is 0 or masked"):
        score_labels(truth, segmentation, valid=truth == 0)
    with pytest.raises(UserError, match="no voxel to score: every true label is masked; check the labels and the mask"):
        score_labels(truth, segmentation, valid=truth > 9, voxels="all")
    with pytest.raises(UserError, match="is 0 or masked or within 900 nm of a boundary; check the labels"):
        score_labels(truth, segmentation, boundary_tolerance_nm=900, voxel_size_nm=(40, 4, 4))
    with pytest.raises(ValueError, match="boundary_tolerance_nm 900 needs voxel_size_nm"):
        score_labels(truth, segmentation, boundary_tolerance_nm=900)
