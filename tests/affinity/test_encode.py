from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.affinity import encode_affinities

REFERENCE = Path(__file__).parents[1] / "reference" / "affinities_and_components.npz"


def brute_force(labels, offsets_vox, labelled):
    affinities = np.zeros((len(offsets_vox), *labels.shape), bool)
    valid = np.zeros_like(affinities)
    for c, offset in enumerate(offsets_vox):
        for v in np.ndindex(labels.shape):
            w = tuple(np.add(v, offset))
            if all(0 <= i < n for i, n in zip(w, labels.shape, strict=True)):
                affinities[(c, *v)] = labels[v] == labels[w] != 0
                valid[(c, *v)] = labelled[v] and labelled[w]
    return affinities, valid


@pytest.mark.parametrize("case", [0, 1])
def test_matches_the_reference_values(case):
    with np.load(REFERENCE) as reference:
        segmentation, long_range, shape, affinities, valid = (
            reference[f"affinity/{case}/{name}"] for name in ("segmentation", "long_range", "shape", "affinities", "loss_mask")
        )
    affinities, valid = (np.unpackbits(bits)[: shape.prod()].reshape(shape).astype(bool) for bits in (affinities, valid))
    offsets_vox = [*np.eye(3, dtype=int), *(long_range * np.eye(3, dtype=int))]
    encoded = encode_affinities(np.maximum(segmentation, 0), offsets_vox, labelled=segmentation != -1)
    assert valid.any()
    assert not valid.all()
    np.testing.assert_array_equal(encoded.valid, valid)
    np.testing.assert_array_equal(encoded.affinities[valid], affinities[valid])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64, np.uint64])
def test_any_offset_matches_brute_force(dtype):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (4, 5, 6)).astype(dtype)
    labelled = rng.random(labels.shape) > 0.2
    offsets_vox = [(0, 0, 1), (-1, 0, 0), (2, -3, 1), (0, 5, 0), (0, 0, -7), (-3, 4, 5), (-9, 9, 9)]
    encoded = encode_affinities(labels, offsets_vox, labelled=labelled)
    affinities, valid = brute_force(labels, offsets_vox, labelled)
    assert encoded.affinities.dtype == encoded.valid.dtype == bool
    np.testing.assert_array_equal(encoded.affinities, affinities)
    np.testing.assert_array_equal(encoded.valid, valid)
    assert not valid[3].any()
    assert not valid[6].any()


def test_without_a_mask_everything_inside_is_valid():
    labels = np.array([[[3, 3, 3, 3, 0, 0]]], np.uint32)
    encoded = encode_affinities(labels, [(0, 0, 2)])
    assert encoded.affinities[0, 0, 0].tolist() == [True, True, False, False, False, False]
    assert encoded.valid[0, 0, 0].tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("labels", "offset", "labelled", "message"),
    [
        (np.full((1, 1, 2), -1), (0, 0, 1), None, "labels must be >= 0, got -1: set unlabelled voxels to 0"),
        (np.ones((1, 1, 2)), (0, 0, 1), None, r"labels must be integers \(z, y, x\), got float64"),
        (np.ones((1, 2), int), (0, 0, 1), None, r"labels must be integers \(z, y, x\), got int64 of shape \(1, 2\)"),
        (np.ones((1, 1, 2), int), (0, 0, 0), None, "an offset is three voxel counts"),
        (np.ones((1, 1, 2), int), (0, 1), None, "an offset is three voxel counts"),
        (np.ones((1, 1, 2), int), (0, 0, 1), np.ones((1, 1, 3), bool), r"labelled must be bool of shape \(1, 1, 2\)"),
        (np.ones((1, 1, 2), int), (0, 0, 1), np.ones((1, 1, 2)), "labelled must be bool .* got float64"),
    ],
)
def test_refuses(labels, offset, labelled, message):
    with pytest.raises(ValueError, match=message):
        encode_affinities(labels, [offset], labelled=labelled)
