import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pipeline_lib.geometry import BlockGrid
from pipeline_lib.metrics.scored_voxels import ScoredVoxels

SHAPE_VOX, SIZE_NM = (6, 11, 13), (40.0, 9.0, 4.6)


def random_labels(seed):
    """Three seeds grown by distance, one of them 0, and a mask."""
    rng = np.random.default_rng(seed)
    voxels = np.argwhere(np.ones(SHAPE_VOX, bool)) * SIZE_NM
    seeds = rng.uniform(0, np.array(SHAPE_VOX) * SIZE_NM, (4, 3))
    labels = np.array([0, 7, 2**40, 9])[cdist(voxels, seeds).argmin(axis=1)].reshape(SHAPE_VOX)
    return labels, rng.random(SHAPE_VOX) < 0.9


def far_by_brute_force(truth, valid, tolerance_nm):
    """Face by face, then all distances."""
    voxels = np.argwhere(np.ones(truth.shape, bool))
    boundary = []
    for voxel in voxels:
        for step in np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)]):
            other = voxel + step
            if (other < 0).any() or (other >= truth.shape).any():
                continue
            a, b = tuple(voxel), tuple(other)
            if truth[a] != truth[b] and (valid is None or (valid[a] and valid[b])):
                boundary.append(voxel)
                break
    if not boundary:
        return np.ones(truth.shape, bool)
    distances_nm = cdist(voxels * SIZE_NM, np.array(boundary) * SIZE_NM).min(axis=1)
    return (distances_nm > tolerance_nm + 1e-6).reshape(truth.shape)


@pytest.mark.parametrize("tolerance_nm", [1, 4.6, 9, 13.8, 25, 40, 57])
@pytest.mark.parametrize("masked", [False, True])
def test_boundary_tolerance_matches_brute_force(tolerance_nm, masked):
    truth, valid = random_labels(int(tolerance_nm))
    valid = valid if masked else None
    far, labelled = far_by_brute_force(truth, valid, tolerance_nm), np.ones(SHAPE_VOX, bool) if valid is None else valid
    found = ScoredVoxels("all", tolerance_nm, SIZE_NM).of(truth, valid)
    np.testing.assert_array_equal(found, far & labelled)
    np.testing.assert_array_equal(ScoredVoxels("foreground", tolerance_nm, SIZE_NM).of(truth, valid), found & (truth != 0))


def test_the_distance_is_told_apart_by_axis():
    """A boundary below z = 2: at 40 nm the next section goes too; along y and x nothing changes."""
    truth = np.ones((5, 4, 4), int)
    truth[2:] = 2
    for tolerance_nm, left in ((39, [0, 3, 4]), (40, [4]), (79, [4]), (80, [])):
        scored = ScoredVoxels("all", tolerance_nm, SIZE_NM).of(truth)
        assert np.flatnonzero(scored.all(axis=(1, 2))).tolist() == left
        assert np.flatnonzero(scored.any(axis=(1, 2))).tolist() == left


def test_no_boundary_and_no_tolerance():
    one = np.ones(SHAPE_VOX, int)
    assert ScoredVoxels("all", 1000, SIZE_NM).of(one).all()
    truth, valid = random_labels(1)
    np.testing.assert_array_equal(ScoredVoxels().of(truth), truth != 0)
    np.testing.assert_array_equal(ScoredVoxels("all").of(truth, valid), valid)
    assert ScoredVoxels("all").of(truth).all()


@pytest.mark.parametrize("tolerance_nm", [0, 4, 20, 60])
@pytest.mark.parametrize("block_vox", [(2, 3, 4), (4, 5, 13)])
def test_blocks_with_their_halo_equal_the_whole(tolerance_nm, block_vox):
    truth, valid = random_labels(3)
    rule = ScoredVoxels("foreground", tolerance_nm, SIZE_NM)
    found = np.zeros(SHAPE_VOX, bool)
    for block in BlockGrid(SHAPE_VOX, block_vox, rule.halo_vox):
        scored = rule.of(truth[block.read_box.slices], valid[block.read_box.slices])
        found[block.write_box.slices] = scored[block.write_box.relative_to(block.read_box).slices]
    np.testing.assert_array_equal(found, rule.of(truth, valid))


def test_refuses():
    with pytest.raises(ValueError, match='voxels must be "foreground" or "all", got \'some\''):
        ScoredVoxels("some")
    with pytest.raises(ValueError, match="boundary_tolerance_nm must be >= 0 and finite, got -1"):
        ScoredVoxels(boundary_tolerance_nm=-1)
    with pytest.raises(ValueError, match="boundary_tolerance_nm must be >= 0 and finite, got nan"):
        ScoredVoxels(boundary_tolerance_nm=np.nan)
    with pytest.raises(ValueError, match=r"boundary_tolerance_nm 25 needs voxel_size_nm \(z, y, x\)"):
        ScoredVoxels(boundary_tolerance_nm=25)
