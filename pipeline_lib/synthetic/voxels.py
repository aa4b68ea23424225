"""Labels of grown neurites: every voxel goes to the neurite whose balls are nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline_lib.synthetic.fields import SmoothField
from pipeline_lib.synthetic.neurites import Neurites
from pipeline_lib.synthetic.windows import distance, window

SLAB_VOX = 16  # sections held as floats at a time; no influence on the result
FARTHEST_NM = 100.0  # distances to a membrane are stored up to here
DISTANCE_STEP_NM = FARTHEST_NM / 255


@dataclass(frozen=True)
class Voxels:
    """labels: (z, y, x) uint32, 0 = extracellular space; every label is one 6-connected component.

    membrane_distance: (z, y, x) uint8, about the distance to the nearest face between two labels in steps of
    `DISTANCE_STEP_NM`; 255 = at least `FARTHEST_NM`.
    """

    labels: np.ndarray
    membrane_distance: np.ndarray


class Slab(NamedTuple):
    """Sections from `z_start` on, and how far each voxel is from the balls of its label and from the nearest others.

    warp_nm: (3, z, y, x) shifts the place where a voxel is looked up. margin_nm: how far from its surface a ball matters.
    """

    z_start: int
    voxel_nm: np.ndarray
    warp_nm: np.ndarray
    margin_nm: float
    labels: np.ndarray
    nearest_nm: np.ndarray
    second_nm: np.ndarray


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

    Space is warped by a smooth field of up to `waviness_nm` along each axis, so that the faces between neurites undulate.
    Extracellular space competes like a ball at the constant distance `reach_nm`.
    """
    labels = np.zeros(tuple(shape_vox), np.uint32)
    membrane_distance = np.zeros(labels.shape, np.uint8)
    voxel_nm = np.asarray(voxel_size_nm, float)
    warps = [SmoothField(np.asarray(shape_vox) * voxel_nm, 8 * waviness_nm, rng) for _ in range(3)]
    for z0 in range(0, labels.shape[0], SLAB_VOX):
        z1 = min(z0 + SLAB_VOX, labels.shape[0])
        shifts = [np.clip(0.5 * warp.at(z0, z1, shape_vox, voxel_nm), -1, 1) for warp in warps]
        nearest_nm = np.full(shifts[0].shape, reach_nm, np.float32)
        margin_nm = reach_nm + 2 * FARTHEST_NM + 2 * waviness_nm  # a warp may shift by sqrt(3) times the waviness
        second_nm = np.full_like(nearest_nm, reach_nm + 2 * FARTHEST_NM)
        warp_nm = np.stack(shifts) * np.float32(waviness_nm)
        _assign(neurites.balls_nm, neurites.ids, Slab(z0, voxel_nm, warp_nm, margin_nm, labels[z0:z1], nearest_nm, second_nm))
        # away from a face, both distances change at the same rate
        membrane_distance[z0:z1] = np.minimum(0.5 * (second_nm - nearest_nm) / DISTANCE_STEP_NM, 255)
    _keep_connected(labels, (neurites.balls_nm[:, :3] / voxel_nm).astype(np.int64))
    return Voxels(labels, membrane_distance)


@njit(cache=True)
def _assign(balls: np.ndarray, ids: np.ndarray, slab: Slab) -> None:
    """Give every voxel of the slab to its nearest ball, and note the nearest one of another label."""
    labels, nearest, second, size, warp = slab.labels, slab.nearest_nm, slab.second_nm, slab.voxel_nm, slab.warp_nm
    for n in range(len(balls)):
        (z0, z1), (y0, y1), (x0, x1) = window(balls[n], slab.margin_nm, size, slab.z_start, labels.shape)
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    place_z = (z + slab.z_start + 0.5) * size[0] + warp[0, z, y, x]
                    place_y = (y + 0.5) * size[1] + warp[1, z, y, x]
                    place_x = (x + 0.5) * size[2] + warp[2, z, y, x]
                    d = np.float32(distance(balls[n], place_z, place_y, place_x))
                    if labels[z, y, x] == ids[n]:
                        nearest[z, y, x] = min(nearest[z, y, x], d)
                    elif d < nearest[z, y, x]:
                        second[z, y, x] = nearest[z, y, x]
                        nearest[z, y, x] = d
                        labels[z, y, x] = ids[n]
                    elif d < second[z, y, x]:
                        second[z, y, x] = d


@njit(cache=True)
def _keep_connected(labels: np.ndarray, nodes_vox: np.ndarray) -> None:
    """Give voxels that are cut off from their label's nodes to a neighbour that is not; what has none becomes 0.

    Sweeps forth and back over the volume until nothing changes: they need one byte a voxel, a flood's stack far more.
    """
    nz, ny, nx = labels.shape
    reached = labels == 0
    for n in range(len(nodes_vox)):
        reached[nodes_vox[n, 0], nodes_vox[n, 1], nodes_vox[n, 2]] = True
    for adopt in (False, True):  # first along equal labels, then over the rest
        changed = True
        while changed:
            changed = False
            for backwards in (False, True):
                for i in range(nz):
                    z = nz - 1 - i if backwards else i
                    for j in range(ny):
                        y = ny - 1 - j if backwards else j
                        for k in range(nx):
                            x = nx - 1 - k if backwards else k
                            if not reached[z, y, x] and _join(labels, reached, (z, y, x), adopt):
                                changed = True
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not reached[z, y, x]:
                    labels[z, y, x] = 0


@njit(cache=True)
def _join(labels: np.ndarray, reached: np.ndarray, voxel: tuple[int, int, int], adopt: bool) -> bool:
    """Reach a voxel from a neighbour of its label, or with `adopt` take over the label of any reached neighbour."""
    z, y, x = voxel
    nz, ny, nx = labels.shape
    for axis in range(3):
        for side in (-1, 1):
            a, b, c = z + side * (axis == 0), y + side * (axis == 1), x + side * (axis == 2)
            if a < 0 or b < 0 or c < 0 or a >= nz or b >= ny or c >= nx or not reached[a, b, c]:
                continue
            if labels[a, b, c] == labels[z, y, x] or (adopt and labels[a, b, c] != 0):
                labels[z, y, x] = labels[a, b, c]
                reached[z, y, x] = True
                return True
    return False
