"""Organelles inside neurites: what makes a membrane hard to tell by its darkness alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.synthetic.neurites import Neurites

MITOCHONDRIA_PER_UM = 0.25  # along a neurite
TUBULES_PER_UM = 0.8
CISTERNAE_PER_UM = 0.7
VESICLES_PER_UM = 12.0


@dataclass(frozen=True)
class Balls:
    """Bodies as unions of balls. centres_nm: (N, 3) zyx; radii_nm: (N,); ids: (N,) the neurite that they lie in."""

    centres_nm: np.ndarray
    radii_nm: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Organelles:
    mitochondria: Balls
    tubules: Balls  # endoplasmic reticulum along a neurite
    cisternae: Balls  # the same across it, as plates
    vesicles: Balls


def place_organelles(neurites: Neurites, *, density: float, rng: np.random.Generator) -> Organelles:
    """Strew organelles along the neurites; `density` multiplies the usual numbers per length."""
    parents = neurites.parents
    steps = np.linalg.norm(neurites.positions_nm - neurites.positions_nm[np.maximum(parents, 0)], axis=1)
    length_um = np.where(parents >= 0, steps, 0) / 1000 * density

    def somewhere(per_um: float) -> np.ndarray:
        return np.repeat(np.arange(len(parents)), rng.poisson(length_um * per_um))

    return Organelles(
        _runs(neurites, somewhere(MITOCHONDRIA_PER_UM), (5, 18), (0.45, 0.7), 0.25, rng),
        _runs(neurites, somewhere(TUBULES_PER_UM), (8, 30), (0.12, 0.2), 0.6, rng),
        _plates(neurites, somewhere(CISTERNAE_PER_UM), rng),
        _vesicles(neurites, somewhere(VESICLES_PER_UM), rng),
    )


def _runs(
    neurites: Neurites,
    starts: np.ndarray,
    n_steps: tuple[int, int],
    thickness: tuple[float, float],
    off_axis: float,
    rng: np.random.Generator,
) -> Balls:
    """Sausages that follow a neurite towards its root; thickness and offset from the axis in units of its radius."""
    centres, radii, ids = [], [], []
    for start in starts:
        offset = rng.standard_normal(3)
        offset *= off_axis * rng.random() / np.linalg.norm(offset)
        share, node = rng.uniform(*thickness), int(start)
        for _ in range(rng.integers(*n_steps)):
            if node < 0:
                break
            radius = min(neurites.radii_nm[node], 260.0)
            for half in (0.0, 0.5):  # balls between the nodes keep a thin sausage smooth
                parent = neurites.parents[node]
                other = neurites.positions_nm[parent] if parent >= 0 else neurites.positions_nm[node]
                centres.append((1 - half) * neurites.positions_nm[node] + half * other + radius * offset)
                radii.append(radius * share)
                ids.append(neurites.ids[node])
            node = int(neurites.parents[node])
    return Balls(np.asarray(centres).reshape(-1, 3), np.asarray(radii), np.asarray(ids, np.int64))


def _plates(neurites: Neurites, nodes: np.ndarray, rng: np.random.Generator) -> Balls:
    """Discs of small balls through a neurite, open at the rim."""
    centres, radii, ids = [], [], []
    for node in nodes:
        radius = min(neurites.radii_nm[node], 260.0)
        extent = radius * rng.uniform(0.5, 0.9)
        u, v = np.linalg.qr(rng.standard_normal((3, 2)))[0].T
        ticks = np.arange(-extent, extent + 1, 15.0)
        a, b = (g.ravel() for g in np.meshgrid(ticks, ticks))
        inside = a**2 + b**2 <= extent**2
        bend = rng.normal(0, 0.3 / extent)
        normal = np.cross(u, v)
        plane = a[inside, None] * u + b[inside, None] * v + bend * (a**2 + b**2)[inside, None] * normal
        centre = neurites.positions_nm[node] + rng.uniform(-0.2, 0.2, 3) * radius
        centres.append(centre + plane)
        radii.append(np.full(len(plane), 10.0))
        ids.append(np.full(len(plane), neurites.ids[node]))
    if not centres:
        return Balls(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64))
    return Balls(np.concatenate(centres), np.concatenate(radii), np.concatenate(ids))


def _vesicles(neurites: Neurites, nodes: np.ndarray, rng: np.random.Generator) -> Balls:
    around = rng.standard_normal((len(nodes), 3)) * 0.4 * neurites.radii_nm[nodes, None]
    return Balls(neurites.positions_nm[nodes] + around, rng.uniform(12, 22, len(nodes)), neurites.ids[nodes])


def depth_inside(balls: Balls, labels: np.ndarray, z_start: int, voxel_size_nm: np.ndarray, *, reach_nm: float) -> np.ndarray:
    """(z, y, x) float32 distance in nm to the surface of the bodies, positive inside, at least -reach_nm.

    `labels` (z, y, x) is the slab from section `z_start`; bodies count only where their own neurite is.
    """
    return _depth(balls.centres_nm, balls.radii_nm, balls.ids, labels, z_start, voxel_size_nm, reach_nm)


@njit(cache=True)
def _depth(
    centres: np.ndarray, radii: np.ndarray, ids: np.ndarray, labels: np.ndarray, z_start: int, size: np.ndarray, reach: float
) -> np.ndarray:
    nz, ny, nx = labels.shape
    depth = np.full(labels.shape, np.float32(-reach))
    for n in range(len(radii)):
        extent = radii[n] + reach
        z0 = max(0, int((centres[n, 0] - extent) / size[0]) - z_start)
        z1 = min(nz, int((centres[n, 0] + extent) / size[0]) + 1 - z_start)
        y0, y1 = max(0, int((centres[n, 1] - extent) / size[1])), min(ny, int((centres[n, 1] + extent) / size[1]) + 1)
        x0, x1 = max(0, int((centres[n, 2] - extent) / size[2])), min(nx, int((centres[n, 2] + extent) / size[2]) + 1)
        for z in range(z0, z1):
            dz = (z + z_start + 0.5) * size[0] - centres[n, 0]
            for y in range(y0, y1):
                dy = (y + 0.5) * size[1] - centres[n, 1]
                for x in range(x0, x1):
                    if labels[z, y, x] == ids[n]:
                        dx = (x + 0.5) * size[2] - centres[n, 2]
                        inside = np.float32(radii[n] - np.sqrt(dz * dz + dy * dy + dx * dx))
                        depth[z, y, x] = max(depth[z, y, x], inside)
    return depth
