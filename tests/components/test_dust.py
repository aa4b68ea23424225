import numpy as np
import pytest

from pipeline_lib.components import give_small_segments, label_components, remove_small_segments

SHAPE_VOX = (5, 6, 7)


def scan_order(labels):
    """Ids 1..n in the order of their first voxels."""
    order = {i: n for n, i in enumerate((i for i in dict.fromkeys(labels.ravel().tolist()) if i), start=1)}
    return np.array([order.get(i, 0) for i in labels.ravel().tolist()]).reshape(labels.shape)


def given_by_brute_force(labels, affinities, min_size_vox):
    labels = labels.astype(int)
    ids, counts = np.unique(labels[labels != 0], return_counts=True)
    waiting = set(ids[counts < min_size_vox].tolist())
    taken = {i: i for i in ids.tolist() if i not in waiting}
    while True:
        contact = {}
        for axis, *v in np.ndindex(3, *labels.shape):
            w = list(v)
            w[axis] += 1
            if w[axis] < labels.shape[axis]:
                a, b = labels[tuple(v)].item(), labels[tuple(w)].item()
                for here, there in ((a, b), (b, a)):
                    if a != b and here in waiting and there in taken:
                        key = here, taken[there]
                        contact[key] = contact.get(key, 0) + int(affinities[(axis, *v)])
        if not contact:
            return scan_order(np.vectorize(lambda i: taken.get(i, 0))(labels))
        for i in {here for here, _ in contact}:
            taken[i] = min((-strength, there) for (here, there), strength in contact.items() if here == i)[1]
            waiting.remove(i)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("min_size_vox", [0, 2, 4, 12])
def test_small_segments_go_to_their_strongest_contact(dtype, min_size_vox):
    rng = np.random.default_rng(41)
    affinities = rng.integers(0, 256, (3, *SHAPE_VOX), np.uint8) // 64 * 64
    labels = scan_order(label_components(affinities, 0.7)).astype(dtype)
    labels[labels > 20] += 500
    before = labels.copy()
    given = give_small_segments(labels, affinities, min_size_vox)
    np.testing.assert_array_equal(given, given_by_brute_force(before, affinities, min_size_vox))
    np.testing.assert_array_equal(labels, before)
    assert given.dtype == dtype
    if min_size_vox == 4:
        assert 1 < given.max() < len(np.unique(before)) - 1
        assert np.count_nonzero(given) > np.count_nonzero(remove_small_segments(labels, 4))


def test_dust_behind_dust_comes_in_rounds_and_what_nothing_reaches_goes():
    labels = np.array([[[1, 1, 1, 1, 2, 3, 0, 4, 5]]], np.uint32)
    affinities = np.full((3, 1, 1, 9), 10, np.uint8)
    assert give_small_segments(labels, affinities, 3)[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_of_equal_contacts_the_first_in_scan_order_is_taken():
    labels = np.array([[[7, 7, 3, 5, 5]]], np.uint32)
    affinities = np.full((3, 1, 1, 5), 10, np.uint8)
    assert give_small_segments(labels, affinities, 2)[0, 0].tolist() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("turn", [np.asfortranarray, lambda array: array[::-1], lambda array: array.transpose(0, 2, 1)])
def test_the_order_in_memory_makes_no_difference(turn):
    affinities = np.full((3, 6, 6, 6), 128, np.uint8)
    labels = turn(label_components(np.random.default_rng(43).integers(0, 256, (3, 6, 6, 6), np.uint8), 0.75))
    same = np.ascontiguousarray(labels)
    np.testing.assert_array_equal(give_small_segments(labels, affinities, 4), give_small_segments(same, affinities, 4))
    np.testing.assert_array_equal(remove_small_segments(labels, 4), remove_small_segments(same, 4))


def test_floats_count_as_their_levels():
    rng = np.random.default_rng(42)
    affinities = rng.integers(0, 256, (3, *SHAPE_VOX), np.uint8)
    labels = label_components(affinities, 0.7)
    as_floats = affinities / np.float32(255) - np.float32(1e-6)
    np.testing.assert_array_equal(give_small_segments(labels, as_floats, 5), give_small_segments(labels, affinities, 5))


def test_giving_refuses():
    labels, affinities = np.zeros(SHAPE_VOX, np.uint32), np.zeros((3, *SHAPE_VOX), np.uint8)
    with pytest.raises(ValueError, match=r"labels must have the shape \(5, 6, 7\) of the affinities, got \(5, 6, 6\)"):
        give_small_segments(labels[..., :6], affinities, 3)
    with pytest.raises(ValueError, match=r"expected affinities \(3, z, y, x\)"):
        give_small_segments(labels, affinities[:2], 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_small_segments_go_and_the_rest_is_numbered_in_scan_order(dtype):
    labels = np.random.default_rng(23).integers(0, 12, (4, 5, 6)).astype(dtype) * dtype(1000)
    before = labels.copy()
    ids, counts = np.unique(labels[labels != 0], return_counts=True)
    limit = int(np.median(counts))
    kept = {i for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if n >= limit}
    expected = scan_order(np.where(np.isin(labels, list(kept)), labels, 0))
    found = remove_small_segments(labels, limit)
    assert found.dtype == dtype
    assert 0 < len(kept) < len(ids)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(labels, before)


def test_large_ids_and_empty_results():
    labels = np.array([[[2**40, 2**40, 5]]], np.uint64)
    assert remove_small_segments(labels, 2)[0, 0].tolist() == [1, 1, 0]
    assert remove_small_segments(labels, 0)[0, 0].tolist() == [1, 1, 2]
    assert not remove_small_segments(labels, 3).any()
    assert not remove_small_segments(np.zeros((1, 2, 3), np.uint32), 1).any()
