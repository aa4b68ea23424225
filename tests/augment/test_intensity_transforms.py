"""Each change of grey values changes what it says, and nothing but the image."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from pipeline_lib.augment import Sample
from pipeline_lib.augment.intensity import random_blur, random_brightness, random_contrast, random_gamma, random_noise
from pipeline_lib.augment.sections import random_section_defects


@pytest.fixture
def sample() -> Sample:
    rng = np.random.default_rng(5)
    shape = (12, 14, 16)
    labels = rng.integers(0, 9, shape).astype(np.uint32)
    return Sample(rng.random(shape, np.float32), labels, rng.random(shape) < 0.8, (10.0, 10.0, 10.0))


TRANSFORMS = {
    "contrast": partial(random_contrast, largest=0.3),
    "brightness": partial(random_brightness, largest=0.3),
    "gamma": partial(random_gamma, largest=1.0),
    "noise": partial(random_noise, largest=0.2),
    "blur": partial(random_blur, largest_vox=2.0, probability=1.0),
    "sections": partial(random_section_defects, probability=0.5),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_only_the_image_changes_and_the_input_stays(name, sample):
    before = sample.image.copy()
    changed = TRANSFORMS[name](sample, np.random.default_rng(0))
    assert changed.image.dtype == np.float32
    assert changed.image.shape == before.shape
    assert np.mean(changed.image != before) > 0.2
    assert changed.labels is sample.labels
    assert changed.labelled is sample.labelled
    np.testing.assert_array_equal(sample.image, before)


def test_contrast_is_one_factor_within_its_range(sample):
    factors = [
        np.unique(np.round(random_contrast(sample, np.random.default_rng(i), largest=0.3).image / sample.image, 4))
        for i in range(50)
    ]
    spread = [f.max() - f.min() for f in factors]
    assert max(spread) < 1e-3
    means = np.array([f.mean() for f in factors])
    assert means.min() >= 0.699
    assert means.max() <= 1.301
    assert np.ptp(means) > 0.4


def test_brightness_is_one_value_within_its_range(sample):
    shifts = np.array(
        [random_brightness(sample, np.random.default_rng(i), largest=0.2).image - sample.image for i in range(50)]
    )
    assert np.ptp(shifts, axis=(1, 2, 3)).max() < 1e-6
    assert np.abs(shifts).max() <= 0.2001
    assert np.ptp(shifts) > 0.3


def test_gamma_is_a_power_within_its_range(sample):
    wide = Sample(sample.image * 1.4 - 0.2, sample.labels, sample.labelled, sample.voxel_size_nm)
    inside = (wide.image > 0.01) & (wide.image < 0.99)
    for i in range(20):
        result = random_gamma(wide, np.random.default_rng(i), largest=0.5).image
        powers = np.log(result[inside]) / np.log(wide.image[inside])
        np.testing.assert_allclose(powers, np.median(powers), rtol=1e-3)
        assert 2**-0.501 <= np.median(powers) <= 2**0.501
        np.testing.assert_array_equal(result[wide.image <= 0], 0)
        np.testing.assert_array_equal(result[wide.image >= 1], 1)


def test_noise_is_gaussian_with_a_deviation_within_its_range(sample):
    deviations = []
    for i in range(50):
        noise = random_noise(sample, np.random.default_rng(i), largest=0.1).image - sample.image
        assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size) + 1e-7
        deviations.append(noise.std())
    assert max(deviations) < 0.105
    assert np.ptp(deviations) > 0.06


def test_blur_equals_scipys_gaussian_with_the_drawn_deviation(sample):
    blurred = random_blur(sample, np.random.default_rng(3), largest_vox=2.0, probability=1.0)
    rng = np.random.default_rng(3)
    rng.random()
    np.testing.assert_allclose(blurred.image, ndimage.gaussian_filter(sample.image, rng.uniform(0, 2.0)), atol=1e-6)


def test_blur_happens_as_often_as_it_says(sample):
    rng = np.random.default_rng(4)
    results = [random_blur(sample, rng, largest_vox=1.0, probability=0.25) for _ in range(200)]
    assert 0.17 < np.mean([result is not sample for result in results]) < 0.33


def test_section_defects_hit_whole_sections_in_three_ways(sample):
    rng = np.random.default_rng(6)
    hit, kinds = 0, set()
    for _ in range(100):
        result = random_section_defects(sample, rng, probability=0.1).image
        for old, new in zip(sample.image, result, strict=True):
            if np.array_equal(old, new):
                continue
            hit += 1
            if not new.any():
                kinds.add("blank")
                continue
            darker, brighter = new / old, (1 - new) / (1 - old)
            even = darker if np.ptp(darker) < 1e-2 else brighter
            np.testing.assert_allclose(even, np.median(even), rtol=1e-2)
            assert 0.19 < np.median(even) < 0.81
            kinds.add("darker" if even is darker else "brighter")
    assert kinds == {"blank", "darker", "brighter"}
    assert 80 < hit < 160  # of 1200 sections a tenth
