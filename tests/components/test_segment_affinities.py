import numpy as np

from pipeline_lib.components import (
    flood_segments,
    give_small_segments,
    grow_segments,
    label_components,
    remove_small_segments,
    segment_affinities,
)


def test_the_steps_follow_each_other_in_order():
    affinities = np.random.default_rng(0).integers(0, 256, (3, 12, 13, 14)).astype(np.uint8)
    labels = label_components(affinities, 0.7)
    assert np.array_equal(segment_affinities(affinities, 0.7), labels)
    large = remove_small_segments(labels, 4)
    assert 0 < large.max() < labels.max()
    assert np.array_equal(segment_affinities(affinities, 0.7, min_size_vox=4), large)
    assert np.array_equal(segment_affinities(affinities, 0.7, min_size_vox=4, grow_vox=1), grow_segments(large, 1))
    given = give_small_segments(labels, affinities, 4)
    assert not np.array_equal(given, large)
    assert np.array_equal(segment_affinities(affinities, 0.7, min_size_vox=4, dust="give"), given)
    assert np.array_equal(segment_affinities(affinities, 0.7, min_size_vox=4, flood=True), flood_segments(large, affinities))
