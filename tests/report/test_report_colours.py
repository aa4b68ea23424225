import numpy as np

from pipeline_lib.report.colours import HASHED, distinct_palette, id_colours, matched_palette


def test_a_colour_follows_from_the_id_alone() -> None:
    many = id_colours(np.arange(1000))
    for i in (0, 1, 17, 999):
        np.testing.assert_array_equal(id_colours(np.array([[i]]))[0, 0], many[i])
    np.testing.assert_array_equal(id_colours(np.uint64([2**63 + 5])), HASHED.of(np.uint64([2**63 + 5])))
    assert many.min() >= 0
    assert many.max() <= 1
    assert len(np.unique(many.round(6), axis=0)) > 990


def test_segments_take_the_colour_of_the_label_they_overlap_most() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 3000) * 7
    segments = np.where(rng.random(3000) < 0.7, truth + 100, rng.integers(0, 40, 3000))
    palette = matched_palette(segments, truth)
    np.testing.assert_array_equal(palette.ids, np.unique(segments[segments != 0]))
    majority = {}
    for segment in palette.ids:
        labels, counts = np.unique(truth[(segments == segment) & (truth != 0)], return_counts=True)
        if len(labels):
            majority[int(segment)] = (int(labels[counts.argmax()]), int(counts.max()))
    for label in np.unique(truth[truth != 0]):
        pieces = {segment: n for segment, (of, n) in majority.items() if of == label}
        largest = max(pieces, key=lambda segment: pieces[segment])
        np.testing.assert_allclose(palette.of(np.array([largest]))[0], id_colours(np.array([label]))[0])
        others = palette.of(np.array([segment for segment in pieces if segment != largest]))
        assert not np.any(np.all(np.isclose(others, id_colours(np.array([label]))), axis=-1))


def test_without_a_label_beneath_a_segment_is_grey() -> None:
    palette = matched_palette(np.array([3, 3, 4, 0]), np.array([0, 0, 9, 9]))
    assert len(set(palette.of(np.array([3]))[0])) == 1
    np.testing.assert_allclose(palette.of(np.array([4])), id_colours(np.array([9])))
    assert len(set(matched_palette(np.array([3]), np.array([0])).of(np.array([3]))[0])) == 1
    assert len(matched_palette(np.zeros(4, int), np.ones(4, int)).ids) == 0


def test_other_ids_keep_the_colour_of_their_hash() -> None:
    palette = distinct_palette(np.array([5, 5, 9]), hue=0.1)
    labels = np.array([[4, 5], [9, 1000]])
    found = palette.of(labels)
    np.testing.assert_array_equal(found[0, 0], id_colours(np.array([4]))[0])
    np.testing.assert_array_equal(found[1, 1], id_colours(np.array([1000]))[0])
    np.testing.assert_array_equal(found[[0, 1], [1, 0]], palette.rgb)
    assert np.abs(palette.rgb[0] - palette.rgb[1]).max() > 0.3
