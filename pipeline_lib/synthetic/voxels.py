"""Labels of grown neurites: every voxel goes to the neurite whose balls are nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.synthetic.fields import SmoothField
from pipeline_lib.synthetic.neurites import Neurites

SLAB_VOX = 16  # sections held as floats at a time; no influence on the result
FARTHEST_NM = 100.0  # distances to a membrane are exact up to here
DISTANCE_STEP_NM = FARTHEST_NM / 255


@dataclass(frozen=True)
class Voxels:
    """labels: (z, y, x) uint32, 0 = extracellular space; every label is one 6-connected component.

    membrane_distance: (z, y, x) uint8, about the distance from the nearest face between two labels in steps of
    `DISTANCE_STEP_NM`; 255 = at least `FARTHEST_NM`.
    """

    labels: np.ndarray
    membrane_distance: np.ndarray


def voxelise(
    neurites: Neurites,
    shape_vox: Sequence[int],
    voxel_size_nm: Sequence[float],
    *,
    reach_nm: float,
    waviness_nm: float,
    rng: np.random.Generator,
) -> Voxels:
    """The additively weighted Voronoi diagram of the balls (distance to the centre minus radius), 0 beyond `reach_nm` of all.

    Space is warped by a smooth field of up to `waviness_nm`, so that the faces between neurites undulate.
    """
    labels = np.zeros(tuple(shape_vox), np.uint32)
    distance = np.zeros(labels.shape, np.uint8)
    size = np.asarray(voxel_size_nm, float)
    warp = [SmoothField(np.asarray(shape_vox) * size, 8 * waviness_nm, rng) for _ in range(3)]
    for z0 in range(0, labels.shape[0], SLAB_VOX):
        z1 = min(z0 + SLAB_VOX, labels.shape[0])
        shift = np.stack([np.clip(0.5 * field.at(z0, z1, shape_vox, size), -1, 1) for field in warp]) * np.float32(waviness_nm)
        _nearest(
            neurites.positions_nm,
            neurites.radii_nm,
            neurites.ids,
            z0,
            size,
            reach_nm,
            waviness_nm,
            shift,
            labels[z0:z1],
            distance[z0:z1],
        )
    nodes_vox = (neurites.positions_nm / size).astype(np.int64)
    _keep_connected(labels, nodes_vox)
    return Voxels(labels, distance)


@njit(cache=True)
def _nearest(
    positions: np.ndarray,
    radii: np.ndarray,
    ids: np.ndarray,
    z_start: int,
    size: np.ndarray,
    reach: float,
    waviness: float,
    shift: np.ndarray,
    labels: np.ndarray,
    distance: np.ndarray,
) -> None:
    """Fill one slab; extracellular space competes as a site at the constant distance `reach`."""
    nz, ny, nx = labels.shape
    nearest = np.full(labels.shape, np.float32(reach))
    second = np.full(labels.shape, np.float32(reach + 2 * FARTHEST_NM))  # the nearest of another label
    for n in range(len(radii)):
        extent = radii[n] + reach + 2 * FARTHEST_NM + waviness
        z0 = max(0, int((positions[n, 0] - extent) / size[0]) - z_start)
        z1 = min(nz, int((positions[n, 0] + extent) / size[0]) + 1 - z_start)
        y0, y1 = max(0, int((positions[n, 1] - extent) / size[1])), min(ny, int((positions[n, 1] + extent) / size[1]) + 1)
        x0, x1 = max(0, int((positions[n, 2] - extent) / size[2])), min(nx, int((positions[n, 2] + extent) / size[2]) + 1)
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    dz = (z + z_start + 0.5) * size[0] + shift[0, z, y, x] - positions[n, 0]
                    dy = (y + 0.5) * size[1] + shift[1, z, y, x] - positions[n, 1]
                    dx = (x + 0.5) * size[2] + shift[2, z, y, x] - positions[n, 2]
                    d = np.float32(np.sqrt(dz * dz + dy * dy + dx * dx) - radii[n])
                    if ids[n] == labels[z, y, x]:
                        nearest[z, y, x] = min(nearest[z, y, x], d)
                    elif d < nearest[z, y, x]:
                        second[z, y, x] = nearest[z, y, x]
                        nearest[z, y, x] = d
                        labels[z, y, x] = ids[n]
                    elif d < second[z, y, x]:
                        second[z, y, x] = d
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                distance[z, y, x] = min(255.0, 0.5 * (second[z, y, x] - nearest[z, y, x]) / DISTANCE_STEP_NM)


@njit(cache=True)
def _keep_connected(labels: np.ndarray, nodes_vox: np.ndarray) -> None:
    """Give voxels that are cut off from their label's nodes to a neighbour that is not; what has none becomes 0.

    Sweeps forth and back over the volume until nothing changes; they need one byte a voxel, unlike a flood's stack.
    """
    nz, ny, nx = labels.shape
    reached = labels == 0
    for n in range(len(nodes_vox)):
        reached[nodes_vox[n, 0], nodes_vox[n, 1], nodes_vox[n, 2]] = True
    for stage in range(2):  # first along equal labels, then over the rest
        changed = True
        while changed:
            changed = False
            for direction in (1, -1):
                for i in range(nz):
                    z = i if direction == 1 else nz - 1 - i
                    for j in range(ny):
                        y = j if direction == 1 else ny - 1 - j
                        for k in range(nx):
                            x = k if direction == 1 else nx - 1 - k
                            if not reached[z, y, x] and _join(labels, reached, z, y, x, stage == 1):
                                changed = True
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not reached[z, y, x]:
                    labels[z, y, x] = 0


@njit(cache=True)
def _join(labels: np.ndarray, reached: np.ndarray, z: int, y: int, x: int, adopt: bool) -> bool:
    for axis in range(3):
        for side in (-1, 1):
            a, b, c = z + side * (axis == 0), y + side * (axis == 1), x + side * (axis == 2)
            if a < 0 or b < 0 or c < 0 or a >= labels.shape[0] or b >= labels.shape[1] or c >= labels.shape[2]:
                continue
            if not reached[a, b, c] or labels[a, b, c] == 0:
                continue
            if labels[a, b, c] == labels[z, y, x] or adopt:
                labels[z, y, x] = labels[a, b, c]
                reached[z, y, x] = True
                return True
    return False
