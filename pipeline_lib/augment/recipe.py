"""From settings to a list of transforms, and its application."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from pipeline_lib.augment.geometry import random_flips, random_quarter_turns
from pipeline_lib.augment.intensity import random_blur, random_brightness, random_contrast, random_gamma, random_noise
from pipeline_lib.augment.sample import Sample, Transform
from pipeline_lib.augment.sections import random_section_defects
from pipeline_lib.settings.learning import AugmentSettings

BLUR_PROBABILITY = 0.25


def transforms_of(settings: AugmentSettings) -> list[Transform]:
    """The transforms that are switched on, in the order in which they are applied."""
    candidates: list[tuple[bool | float, Transform]] = [
        (settings.flips, random_flips),
        (settings.rotations, random_quarter_turns),
        (settings.sections, partial(random_section_defects, probability=settings.sections)),
        (settings.contrast, partial(random_contrast, largest=settings.contrast)),
        (settings.brightness, partial(random_brightness, largest=settings.brightness)),
        (settings.gamma, partial(random_gamma, largest=settings.gamma)),
        (settings.blur_vox, partial(random_blur, largest_vox=settings.blur_vox, probability=BLUR_PROBABILITY)),
        (settings.noise, partial(random_noise, largest=settings.noise)),
    ]
    return [transform for switched_on, transform in candidates if switched_on]


def augment(sample: Sample, settings: AugmentSettings, rng: np.random.Generator) -> Sample:
    """A random variant of `sample`, C-contiguous; the arrays of `sample` stay. Equal states of `rng` give equal variants."""
    for transform in transforms_of(settings):
        sample = transform(sample, rng)
    image, labels, labelled = map(np.ascontiguousarray, (sample.image, sample.labels, sample.labelled))
    return replace(sample, image=image, labels=labels, labelled=labelled)
