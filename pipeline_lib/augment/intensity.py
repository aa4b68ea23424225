"""Changes of grey values; labels stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipeline_lib.augment.sample import Sample


def random_contrast(sample: Sample, rng: np.random.Generator, *, largest: float) -> Sample:
    """Image times one factor within 1 -+ `largest`."""
    return _with_image(sample, sample.image * np.float32(1 + rng.uniform(-largest, largest)))


def random_brightness(sample: Sample, rng: np.random.Generator, *, largest: float) -> Sample:
    """Image plus one value within -+ `largest`."""
    return _with_image(sample, sample.image + np.float32(rng.uniform(-largest, largest)))


def random_gamma(sample: Sample, rng: np.random.Generator, *, largest: float) -> Sample:
    """Image, clipped to 0 to 1, to the power 2^u with one u within -+ `largest`."""
    return _with_image(sample, np.clip(sample.image, 0, 1) ** np.float32(2 ** rng.uniform(-largest, largest)))


def random_noise(sample: Sample, rng: np.random.Generator, *, largest: float) -> Sample:
    """Image plus Gaussian noise of a standard deviation within 0 to `largest`."""
    deviation = np.float32(rng.uniform(0, largest))
    noise = rng.standard_normal(sample.image.shape, np.float32)
    return _with_image(sample, sample.image + deviation * noise)


def random_blur(sample: Sample, rng: np.random.Generator, *, largest_vox: float, probability: float) -> Sample:
    """With `probability`, a Gaussian blur of a standard deviation within 0 to `largest_vox` along every axis."""
    chosen, deviation_vox = rng.random() < probability, rng.uniform(0, largest_vox)
    return _with_image(sample, ndimage.gaussian_filter(sample.image, deviation_vox)) if chosen else sample


def _with_image(sample: Sample, image: np.ndarray) -> Sample:
    return replace(sample, image=image)
