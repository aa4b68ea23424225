"""Organelles inside neurites: what makes a membrane hard to tell by its darkness alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pipeline_lib.synthetic.neurites import Neurites
from pipeline_lib.synthetic.windows import distance, window

WIDEST_NM = 260.0  # organelles of wider neurites stay as large as in these
VESICLES_PER_UM, CISTERNAE_PER_UM = 12.0, 0.7  # along a neurite


@dataclass(frozen=True)
class Bodies:
    """Unions of balls. balls_nm: (N, 4) centre zyx and radius; ids: (N,) the neurite that each lies in."""

    balls_nm: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Sausages:
    """Bodies that follow a neurite. Thickness and distance from its axis are in units of its radius."""

    per_um: float
    n_steps: tuple[int, int]
    thickness: tuple[float, float]
    off_axis: float


MITOCHONDRIA = Sausages(per_um=0.25, n_steps=(5, 18), thickness=(0.45, 0.7), off_axis=0.25)
TUBULES = Sausages(per_um=0.8, n_steps=(8, 30), thickness=(0.12, 0.2), off_axis=0.6)


@dataclass(frozen=True)
class Organelles:
    mitochondria: Bodies
    tubules: Bodies  # endoplasmic reticulum along a neurite
    cisternae: Bodies  # the same across it, as plates
    vesicles: Bodies


def place_organelles(neurites: Neurites, *, density: float, rng: np.random.Generator) -> Organelles:
    """Strew organelles along the neurites; `density` multiplies the usual numbers per length."""
    centres, parents = neurites.balls_nm[:, :3], neurites.parents
    steps_nm = np.where(parents >= 0, np.linalg.norm(centres - centres[np.maximum(parents, 0)], axis=1), 0)

    def nodes(per_um: float) -> np.ndarray:
        return np.repeat(np.arange(len(parents)), rng.poisson(steps_nm / 1000 * density * per_um))

    return Organelles(
        _sausages(neurites, nodes(MITOCHONDRIA.per_um), MITOCHONDRIA, rng),
        _sausages(neurites, nodes(TUBULES.per_um), TUBULES, rng),
        _plates(neurites, nodes(CISTERNAE_PER_UM), rng),
        _vesicles(neurites, nodes(VESICLES_PER_UM), rng),
    )


def _bodies(balls: list[np.ndarray], ids: list[int]) -> Bodies:
    return Bodies(np.concatenate([np.zeros((0, 4)), *balls]), np.repeat(ids, [len(b) for b in balls]).astype(np.int64))


def _sausages(neurites: Neurites, starts: np.ndarray, kind: Sausages, rng: np.random.Generator) -> Bodies:
    bodies = []
    for start in starts:
        chain = [int(start)]
        for _ in range(rng.integers(*kind.n_steps)):
            if neurites.parents[chain[-1]] >= 0:
                chain.append(int(neurites.parents[chain[-1]]))
        axis = neurites.balls_nm[chain]
        # balls between the nodes keep a thin sausage smooth
        axis = np.concatenate([axis, (axis[1:] + axis[:-1]) / 2])
        widths = np.minimum(axis[:, 3:], WIDEST_NM)
        offset = rng.standard_normal(3)
        offset *= kind.off_axis * rng.random() / np.linalg.norm(offset)
        bodies.append(np.concatenate([axis[:, :3] + widths * offset, widths * rng.uniform(*kind.thickness)], axis=1))
    return _bodies(bodies, [int(neurites.ids[s]) for s in starts])


def _plates(neurites: Neurites, nodes: np.ndarray, rng: np.random.Generator) -> Bodies:
    """Slightly bent discs of small balls through a neurite, open at the rim."""
    bodies = []
    for node in nodes:
        width = min(neurites.balls_nm[node, 3], WIDEST_NM)
        extent = width * rng.uniform(0.5, 0.9)
        ticks = np.arange(-extent, extent + 1, 15.0)
        plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        plane = plane[(plane**2).sum(axis=1) <= extent**2]
        bend = rng.normal(0, 0.3 / extent) * (plane**2).sum(axis=1, keepdims=True)
        turned = np.concatenate([plane, bend], axis=1) @ np.linalg.qr(rng.standard_normal((3, 3)))[0].T
        centres = neurites.balls_nm[node, :3] + rng.uniform(-0.2, 0.2, 3) * width + turned
        bodies.append(np.concatenate([centres, np.full((len(centres), 1), 10.0)], axis=1))
    return _bodies(bodies, [int(neurites.ids[n]) for n in nodes])


def _vesicles(neurites: Neurites, nodes: np.ndarray, rng: np.random.Generator) -> Bodies:
    hosts = neurites.balls_nm[nodes]
    centres = hosts[:, :3] + rng.standard_normal((len(nodes), 3)) * 0.4 * hosts[:, 3:]
    return Bodies(np.concatenate([centres, rng.uniform(12, 22, (len(nodes), 1))], axis=1), neurites.ids[nodes])


def depth_inside(bodies: Bodies, labels: np.ndarray, z_start: int, voxel_nm: np.ndarray, *, reach_nm: float) -> np.ndarray:
    """(z, y, x) float32 distance in nm to the surface of the bodies, positive inside, at least -reach_nm.

    `labels` (z, y, x) is the slab from section `z_start`; bodies count only where their own neurite is.
    """
    depth = np.full(labels.shape, -reach_nm, np.float32)
    _deepen(bodies.balls_nm, bodies.ids, labels, (z_start, voxel_nm), depth)
    return depth


@njit(cache=True)
def _deepen(balls: np.ndarray, ids: np.ndarray, labels: np.ndarray, slab: tuple[int, np.ndarray], depth: np.ndarray) -> None:
    z_start, size = slab
    margin = -float(depth.min()) if depth.size else 0.0
    for n in range(len(balls)):
        (z0, z1), (y0, y1), (x0, x1) = window(balls[n], margin, size, z_start, labels.shape)
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if labels[z, y, x] == ids[n]:
                        outside = distance(balls[n], (z + z_start + 0.5) * size[0], (y + 0.5) * size[1], (x + 0.5) * size[2])
                        depth[z, y, x] = max(depth[z, y, x], np.float32(-outside))
