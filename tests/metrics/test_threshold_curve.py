import math

import numpy as np
import pytest

from pipeline_lib.components import label_components, remove_small_segments, sweep_thresholds
from pipeline_lib.errors import UserError
from pipeline_lib.metrics import score_skeletons, score_thresholds
from pipeline_lib.skeletons import Skeletons

SHAPE_VOX = (9, 10, 11)
LOWEST_LEVEL = 64


def random_volume(seed, *, n_values=None):
    """Affinities under which segments form and merge over all levels; few values make many ties."""
    rng = np.random.default_rng(seed)
    affinities = np.rint(255 * rng.random((3, *SHAPE_VOX)) ** 0.7).astype(np.uint8)
    return affinities if n_values is None else affinities // (256 // n_values) * (256 // n_values)


def random_skeletons(seed, *, n_skeletons=7, n_nodes=150):
    """Nodes of skeletons 0 to n in random voxels and order, several to a voxel, with edges within and across skeletons."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, n_skeletons + 1, n_nodes) * 10
    edges = rng.integers(0, n_nodes, (2 * n_nodes, 2))
    within = (ids[edges[:, 0]] == ids[edges[:, 1]]) | (rng.random(len(edges)) < 0.1)
    edges = edges[within & (edges[:, 0] != edges[:, 1])]
    voxels = rng.integers(0, SHAPE_VOX, (n_nodes, 3))
    return Skeletons((voxels + 0.5) * (20.0, 10.0, 10.0), ids, edges), voxels


def scored_one_by_one(affinities, skeletons, voxels, *, min_size_vox, merge_tolerance):
    for level in range(254, LOWEST_LEVEL - 1, -1):
        labels = label_components(affinities, level / 255)
        if min_size_vox > 2:
            labels = remove_small_segments(labels, min_size_vox)
        yield score_skeletons(skeletons, labels[tuple(voxels.T)], merge_tolerance=merge_tolerance)


@pytest.mark.parametrize("n_values", [None, 16])
@pytest.mark.parametrize(("min_size_vox", "merge_tolerance"), [(0, 0), (5, 2), (12, math.inf)])
def test_equals_scoring_each_level_by_itself(n_values, min_size_vox, merge_tolerance):
    for seed in (1, 2):
        affinities = random_volume(seed, n_values=n_values)
        skeletons, voxels = random_skeletons(seed + 10)
        sweep = sweep_thresholds(affinities, lowest=LOWEST_LEVEL / 255, points_vox=voxels)
        history = sweep.point_history(sizes=sweep.sizes(min_size_vox=min_size_vox) if min_size_vox else None)
        curve = score_thresholds(skeletons, history, lowest_level=LOWEST_LEVEL, merge_tolerance=merge_tolerance)
        one_by_one = scored_one_by_one(
            affinities, skeletons, voxels, min_size_vox=min_size_vox, merge_tolerance=merge_tolerance
        )
        seen = set()
        for i, scores in enumerate(one_by_one):
            assert curve.thresholds[i] == pytest.approx(sweep.thresholds[i])
            for name in ("n_splits", "n_mergers", "n_non0_mergers"):
                assert getattr(curve, name)[i] == getattr(scores, name), (name, i)
            for name in ("nerl", "voi_split", "voi_merge", "background_fraction"):
                assert getattr(curve, name)[i] == pytest.approx(getattr(scores, name), rel=1e-9, abs=1e-9), (name, i)
            for key, nerl in scores.nerl_by_tolerance.items():
                assert curve.nerl_by_tolerance[key][i] == pytest.approx(nerl, rel=1e-9, abs=1e-9), (key, i)
            np.testing.assert_allclose(curve.skeleton_erl_nm[i], scores.skeleton_erl_nm, rtol=1e-9, atol=1e-6)
            np.testing.assert_array_equal(curve.skeleton_ids, scores.skeleton_ids)
            seen.add((scores.n_splits, scores.n_non0_mergers))
        assert len(curve.thresholds) == 254 - LOWEST_LEVEL + 1
        assert len(seen) > 2


def test_nothing_ever_joined():
    skeletons, voxels = random_skeletons(3)
    sweep = sweep_thresholds(np.zeros((3, *SHAPE_VOX), np.uint8), points_vox=voxels)
    curve = score_thresholds(skeletons, sweep.point_history(), lowest_level=63)
    assert not curve.nerl.any()
    assert (curve.background_fraction == 1).all()
    assert set(curve.to_json()) == {
        *("threshold", "merge_tolerance", "nerl_by_tolerance", "nerl", "voi_split", "voi_merge", "voi_sum"),
        *("n_splits", "n_mergers", "n_non0_mergers", "background_fraction"),
    }


def test_skeletons_without_length_are_refused():
    skeletons, voxels = random_skeletons(4)
    bare = Skeletons(skeletons.node_positions_nm, skeletons.node_skeleton_ids, np.empty((0, 2), np.int64))
    sweep = sweep_thresholds(random_volume(4), points_vox=voxels)
    with pytest.raises(UserError, match=r"no run length to score: the 7 skeletons have 0 edges"):
        score_thresholds(bare, sweep.point_history(), lowest_level=64)
