"""Defects of single sections, z being the axis of sectioning; labels stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline_lib.augment.sample import Sample


def random_section_defects(sample: Sample, rng: np.random.Generator, *, probability: float) -> Sample:
    """Each section, with `probability`, is darkened, brightened or blanked (set to 0), one as likely as the other."""
    hit = np.flatnonzero(rng.random(sample.image.shape[0]) < probability)
    kinds = rng.integers(3, size=hit.size)
    strengths = rng.uniform(0.2, 0.8, size=hit.size).astype(np.float32)
    if not hit.size:
        return sample
    image = sample.image.copy()
    for z, kind, strength in zip(hit, kinds, strengths, strict=True):
        if kind == 0:
            image[z] *= strength
        elif kind == 1:
            image[z] = 1 - (1 - image[z]) * strength
        else:
            image[z] = 0
    return replace(sample, image=image)
