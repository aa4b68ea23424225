"""Which affinities are edges: types, shapes, and what lies above a threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def level_of(threshold: float) -> int:
    """The uint8 level of a threshold: an affinity v of 0..255 is above it if v > floor(255 threshold + 1e-9).

    The 1e-9 lets every n / 255 come back as n. Raises ValueError unless 0 <= threshold <= 1.
    """
    check_threshold(threshold)
    return math.floor(255 * threshold + 1e-9)


def check_threshold(threshold: float) -> None:
    """Raises ValueError unless 0 <= threshold <= 1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold lies between 0 and 1, got {threshold}")


def check_affinities(affinities: np.ndarray) -> None:
    """Raises ValueError unless these are (3, z, y, x) uint8, float16 or float32."""
    if affinities.ndim != 4 or len(affinities) != 3:
        raise ValueError(f"expected affinities (3, z, y, x) to the next voxel along each axis, got shape {affinities.shape}")
    if affinities.dtype not in (np.uint8, np.float16, np.float32):
        raise ValueError(f"expected affinities of type uint8, float16 or float32, got {affinities.dtype}")


def to_levels(affinities: np.ndarray) -> np.ndarray:
    """C-contiguous uint8 in which a value is above level n if the affinity is above n / 255; NaN becomes 0.

    uint8 affinities are not copied if they are C-contiguous.
    """
    if affinities.dtype == np.uint8:
        return np.ascontiguousarray(affinities)
    steps = np.arange(255) / 255
    levels = np.empty(affinities.shape, np.uint8)
    for plane in np.ndindex(affinities.shape[:2]):  # plane by plane: searchsorted makes float64 copies
        levels[plane] = np.searchsorted(steps, np.nan_to_num(affinities[plane], nan=-1.0), side="left")
    return levels


def comparable(affinities: np.ndarray, threshold: float) -> tuple[np.ndarray, Any, Any]:
    """The affinities as a type that numba can compare, and bounds such that an edge is present if low < value <= high.

    C-contiguous affinities are not copied.
    """
    level = level_of(threshold)
    affinities = np.ascontiguousarray(affinities)
    if affinities.dtype == np.uint8:
        return affinities, np.uint8(level), np.uint8(255)
    low = affinities.dtype.type(threshold)
    if float(low) > threshold:  # rounded up: no value of this type lies between the next lower one and the threshold
        low = np.nextafter(low, affinities.dtype.type(-1))
    high = affinities.dtype.type(np.inf)
    if affinities.dtype == np.float32:
        return affinities, low, high
    # numba has no float16. As int16, values >= 0 keep their order, negative ones stay below them, and NaN lies above infinity.
    return affinities.view(np.int16), low.view(np.int16), high.view(np.int16)
