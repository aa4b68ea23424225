"""Mirror images and quarter turns: image, labels and the labelled mask move together, no voxel changes its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipeline_lib.augment.sample import Sample

PLANES = ((0, 1), (0, 2), (1, 2))


def flip(sample: Sample, axes: Sequence[int]) -> Sample:
    """The mirror image along each of `axes`."""
    return _moved(sample, lambda array: np.flip(array, tuple(axes)))


def quarter_turns(sample: Sample, plane: tuple[int, int], turns: int) -> Sample:
    """Turned `turns` times by 90 degrees, from the first axis of `plane` towards the second.

    Raises ValueError where the two axes differ in length or voxel size.
    """
    if not can_turn(sample, plane):
        raise ValueError(f"axes {plane} differ in length or voxel size: {sample.image.shape}, {sample.voxel_size_nm} nm")
    return _moved(sample, lambda array: np.rot90(array, turns, plane))


def can_turn(sample: Sample, plane: tuple[int, int]) -> bool:
    """Whether both axes of a plane have the same length and voxel size."""
    first, second = plane
    same_length = sample.image.shape[first] == sample.image.shape[second]
    return same_length and sample.voxel_size_nm[first] == sample.voxel_size_nm[second]


def random_flips(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirrored along each axis with probability one half."""
    return flip(sample, np.flatnonzero(rng.random(3) < 0.5).tolist())


def random_quarter_turns(sample: Sample, rng: np.random.Generator) -> Sample:
    """0 to 3 quarter turns in each plane that allows them, one plane after the other, as in BANIS."""
    for plane in PLANES:
        turns = int(rng.integers(4))
        if can_turn(sample, plane):
            sample = quarter_turns(sample, plane, turns)
    return sample


def _moved(sample: Sample, move: Callable[[np.ndarray], np.ndarray]) -> Sample:
    return replace(sample, image=move(sample.image), labels=move(sample.labels), labelled=move(sample.labelled))
