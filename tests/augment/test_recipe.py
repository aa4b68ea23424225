"""Settings switch transforms on and off; the whole chain keeps image, labels and mask together."""

import numpy as np
import pytest

from pipeline_lib.augment import Sample, augment, transforms_of
from pipeline_lib.settings.learning import AugmentSettings

OFF = {
    "flips": False,
    "rotations": False,
    "contrast": 0,
    "brightness": 0,
    "gamma": 0,
    "noise": 0,
    "blur_vox": 0,
    "sections": 0,
}


def make_sample() -> Sample:
    labels = np.random.default_rng(0).integers(0, 30, (10, 10, 10)).astype(np.uint32)
    return Sample((labels / 30).astype(np.float32), labels, labels % 3 > 0, (8.0, 8.0, 8.0))


def test_everything_off_is_the_identity():
    sample = make_sample()
    assert transforms_of(AugmentSettings(**OFF)) == []
    result = augment(sample, AugmentSettings(**OFF), np.random.default_rng(0))
    np.testing.assert_array_equal(result.image, sample.image)
    np.testing.assert_array_equal(result.labels, sample.labels)


@pytest.mark.parametrize(("name", "value"), [("flips", True), ("rotations", True), *((k, 0.5) for k in list(OFF)[2:])])
def test_each_setting_switches_on_one_transform_that_has_an_effect(name, value):
    settings = AugmentSettings(**{**OFF, name: value})
    assert len(transforms_of(settings)) == 1
    sample = make_sample()
    results = [augment(sample, settings, np.random.default_rng(i)) for i in range(12)]
    assert any(not np.array_equal(result.image, sample.image) for result in results)
    moves_labels = any(not np.array_equal(result.labels, sample.labels) for result in results)
    assert moves_labels == (name in ("flips", "rotations"))


def test_labels_and_mask_move_with_the_image_through_the_whole_chain():
    settings = AugmentSettings(contrast=0.05, brightness=0.02, gamma=0.1, noise=0.002, sections=0.0)
    sample = make_sample()
    for seed in range(20):
        result = augment(sample, settings, np.random.default_rng(seed))
        np.testing.assert_array_equal(result.labelled, result.labels % 3 > 0)
        # Intensities change smoothly, so the image still follows from the labels at the same place.
        assert np.corrcoef(result.image.ravel(), result.labels.ravel())[0, 1] > 0.99
        assert set(np.unique(result.labels)) == set(np.unique(sample.labels))
        assert all(array.flags.c_contiguous for array in (result.image, result.labels, result.labelled))


def test_the_same_generator_state_gives_the_same_variant_and_another_a_different_one():
    settings, sample = AugmentSettings(blur_vox=1.0, sections=0.3), make_sample()
    first, again, other = (augment(sample, settings, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.image, other.image)
