"""What augmentation works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """Arrays of one shape (z, y, x) that belong together voxel by voxel.

    image: float32, 0 to 1 as read; augmentation may leave that range. labels: unsigned, 0 = background.
    labelled: bool, False where labels say nothing. voxel_size_nm: z, y, x.
    """

    image: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    voxel_size_nm: tuple[float, float, float]

    def __post_init__(self) -> None:
        shapes = {self.image.shape, self.labels.shape, self.labelled.shape}
        if len(shapes) > 1 or self.image.ndim != 3:
            raise ValueError(f"image, labels and labelled must have one shape (z, y, x), got {sorted(shapes)}")


Transform = Callable[[Sample, np.random.Generator], Sample]
