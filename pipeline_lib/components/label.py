"""Connected components of a volume whose edges are affinities above a threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

MAX_VOXELS = 2**32 - 1  # ids and voxel indices are uint32


def level_of(threshold: float) -> int:
    """The uint8 level of a threshold: an affinity v of 0..255 is above it if v > floor(255 threshold + 1e-9).

    The 1e-9 lets every n / 255 come back as n. Raises ValueError unless 0 <= threshold <= 1.
    """
    check_threshold(threshold)
    return math.floor(255 * threshold + 1e-9)


def label_components(affinities: np.ndarray, threshold: float, *, foreground: np.ndarray | None = None) -> np.ndarray:
    """Connected components of the edges with an affinity above `threshold`.

    affinities: (3, z, y, x) uint8 (v stands for v / 255), float16 or float32; channel c is the edge from a voxel to the next
    along axis c, stored at the first of the two. Edges in the last plane of their axis lead out of the volume and are ignored;
    NaN is no edge. foreground: (z, y, x) bool; an edge needs both its ends in it.

    Returns (z, y, x) uint32: segments 1..n in the order of their first voxels; 0 = a voxel without any edge above it.
    Raises ValueError for another dtype, number of channels or shape, or a threshold outside 0..1.
    """
    check_affinities(affinities)
    shape_vox = affinities.shape[1:]
    if foreground is not None:
        if foreground.shape != shape_vox or foreground.dtype != bool:
            raise ValueError(f"foreground must be bool {shape_vox}, got {foreground.dtype} {foreground.shape}")
        foreground = np.ascontiguousarray(foreground)
    values, low, high = _comparable(affinities, threshold)
    labels = np.zeros(math.prod(shape_vox), np.uint32)
    _join_edges(values, (low, high), foreground, labels)
    _number_segments(labels)
    return labels.reshape(shape_vox)


def check_threshold(threshold: float) -> None:
    """Raises ValueError unless 0 <= threshold <= 1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold lies between 0 and 1, got {threshold}")


def check_affinities(affinities: np.ndarray) -> None:
    """Raises ValueError unless these are (3, z, y, x) uint8, float16 or float32 of less than 2**32 voxels."""
    if affinities.ndim != 4 or len(affinities) != 3:
        raise ValueError(f"expected affinities (3, z, y, x) to the next voxel along each axis, got shape {affinities.shape}")
    if affinities.dtype not in (np.uint8, np.float16, np.float32):
        raise ValueError(f"expected affinities of type uint8, float16 or float32, got {affinities.dtype}")
    if affinities[0].size > MAX_VOXELS:
        raise ValueError(f"at most {MAX_VOXELS} voxels can be labelled at once, got {affinities[0].size}")


def to_levels(affinities: np.ndarray) -> np.ndarray:
    """A uint8 copy, C-contiguous, in which a value is above level n if the affinity is above n / 255; NaN becomes 0."""
    if affinities.dtype == np.uint8:
        return affinities.copy(order="C")
    steps = np.arange(255) / 255
    levels = np.empty(affinities.shape, np.uint8)
    for plane in np.ndindex(affinities.shape[:2]):  # plane by plane: searchsorted makes float64 copies
        levels[plane] = np.searchsorted(steps, np.nan_to_num(affinities[plane], nan=-1.0), side="left")
    return levels


def _comparable(affinities: np.ndarray, threshold: float) -> tuple[np.ndarray, Any, Any]:
    """The affinities as a type that numba can compare, and bounds such that an edge is present if low < value <= high."""
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


@njit(cache=True)
def find_root(parents: np.ndarray, voxel: int) -> int:
    """The root of a voxel, halving the way to it. `parents` holds index + 1."""
    while True:
        above = int(parents[voxel]) - 1
        if above == voxel:
            return voxel
        parents[voxel] = parents[above]
        voxel = int(parents[voxel]) - 1


@njit(cache=True)
def _join_edges(values: np.ndarray, bounds: tuple[Any, Any], foreground: np.ndarray | None, parents: np.ndarray) -> None:
    """Joins the ends of every edge with low < value <= high in a forest of parent + 1, where 0 means no edge so far.

    The root of a tree is its first voxel in scan order, so every parent comes before its children.
    """
    low, high = bounds
    _, n_z, n_y, n_x = values.shape
    for z in range(n_z):
        for y in range(n_y):
            for x in range(n_x):
                if not _is_inside(foreground, z, y, x):
                    continue
                voxel = (z * n_y + y) * n_x + x
                for axis in range(3):
                    to_z, to_y, to_x = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if to_z == n_z or to_y == n_y or to_x == n_x:
                        continue
                    value = values[axis, z, y, x]
                    if low < value and value <= high and _is_inside(foreground, to_z, to_y, to_x):
                        _join(parents, voxel, (to_z * n_y + to_y) * n_x + to_x)


@njit(cache=True)
def _is_inside(foreground: np.ndarray | None, z: int, y: int, x: int) -> bool:
    if foreground is None:
        return True
    return bool(foreground[z, y, x])


@njit(cache=True)
def _join(parents: np.ndarray, a: int, b: int) -> None:
    for voxel in (a, b):
        if parents[voxel] == 0:
            parents[voxel] = voxel + 1
    a, b = find_root(parents, a), find_root(parents, b)
    parents[max(a, b)] = min(a, b) + 1


@njit(cache=True)
def _number_segments(labels: np.ndarray) -> None:
    """Turns a forest into segment ids in place, in one pass: a parent has its id before its children ask for it."""
    n_segments = 0
    for voxel in range(len(labels)):
        above = int(labels[voxel]) - 1
        if above == voxel:
            n_segments += 1
            labels[voxel] = n_segments
        elif above >= 0:
            labels[voxel] = labels[above]
