"""Branching neurites grown into free space until none fits any more, thick ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

MAX_NODES = 20_000  # of one neurite; a tip stops there
DIRECTIONS = 12  # tried at each step
CALIBRE_STEPS = 6  # passes over the free space, from the thickest neurites to the thinnest


@dataclass(frozen=True)
class Neurites:
    """Trees of balls. Nodes of one neurite are consecutive, a parent comes before its children.

    positions_nm: (N, 3) float64 zyx from the volume's corner, inside the volume. radii_nm: (N,) float64.
    ids: (N,) int64, 1..n. parents: (N,) int64 node indices, -1 at a root.
    """

    positions_nm: np.ndarray
    radii_nm: np.ndarray
    ids: np.ndarray
    parents: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """(M, 2) int64: parent and child of every edge."""
        children = np.flatnonzero(self.parents >= 0)
        return np.stack([self.parents[children], children], axis=1)


def grow_neurites(
    size_nm: Sequence[float],
    *,
    radius_nm: tuple[float, float],
    branch_interval_nm: float,
    min_length_nm: float,
    rng: np.random.Generator,
) -> Neurites:
    """Fill a box of `size_nm` (z, y, x) with neurites whose balls keep clear of those of all others.

    `radius_nm`: the thinnest and the thickest calibre. Shorter neurites than `min_length_nm` are dropped, and their place is
    left to the neighbours. A neurite ends at the surface of the box and does not return.
    """
    thinnest, thickest = radius_nm
    spacing = thinnest / 2
    cells = np.maximum(np.ceil(np.asarray(size_nm) / spacing).astype(np.int64), 1)
    reach = 1.5 * thickest
    # clearance[cell]: distance in nm from the cell's centre to the nearest ball, at most `reach`
    clearance = np.full(tuple(cells), reach, np.float32)
    positions, radii, parents, ids = [], [], [], []
    n_nodes = 0
    for calibre in np.geomspace(thickest, thinnest, CALIBRE_STEPS):
        starts = np.flatnonzero(clearance.ravel() >= calibre)
        rng.shuffle(starts)
        for start in starts:
            if clearance.ravel()[start] < calibre:
                continue
            centre = (np.asarray(np.unravel_index(start, clearance.shape)) + 0.5) * spacing
            if np.any(centre >= size_nm):
                continue
            nodes, node_radii, node_parents = _grow(
                clearance, spacing, np.asarray(size_nm, float), centre, calibre, thinnest, branch_interval_nm, rng
            )
            if (len(nodes) - 1) * spacing < min_length_nm:
                continue
            _reduce_clearance(clearance, spacing, nodes, node_radii, reach)
            positions.append(nodes)
            radii.append(node_radii)
            parents.append(np.where(node_parents >= 0, node_parents + n_nodes, -1))
            ids.append(np.full(len(nodes), len(ids) + 1))
            n_nodes += len(nodes)
    if not positions:
        return Neurites(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Neurites(np.concatenate(positions), np.concatenate(radii), np.concatenate(ids), np.concatenate(parents))


@njit(cache=True)
def _reduce_clearance(clearance: np.ndarray, spacing: float, nodes: np.ndarray, radii: np.ndarray, reach: float) -> None:
    shape = clearance.shape
    for n in range(len(nodes)):
        extent = radii[n] + reach
        z0, z1 = max(0, int((nodes[n, 0] - extent) / spacing)), min(shape[0], int((nodes[n, 0] + extent) / spacing) + 1)
        y0, y1 = max(0, int((nodes[n, 1] - extent) / spacing)), min(shape[1], int((nodes[n, 1] + extent) / spacing) + 1)
        x0, x1 = max(0, int((nodes[n, 2] - extent) / spacing)), min(shape[2], int((nodes[n, 2] + extent) / spacing) + 1)
        for z in range(z0, z1):
            dz = (z + 0.5) * spacing - nodes[n, 0]
            for y in range(y0, y1):
                dy = (y + 0.5) * spacing - nodes[n, 1]
                for x in range(x0, x1):
                    dx = (x + 0.5) * spacing - nodes[n, 2]
                    gap = np.sqrt(dz * dz + dy * dy + dx * dx) - radii[n]
                    clearance[z, y, x] = min(clearance[z, y, x], gap)


@njit(cache=True)
def _direction(rng: np.random.Generator) -> np.ndarray:
    v = np.empty(3)
    for a in range(3):
        v[a] = rng.normal()
    return v / np.sqrt((v * v).sum())


@njit(cache=True)
def _grow(
    clearance: np.ndarray,
    spacing: float,
    size: np.ndarray,
    start: np.ndarray,
    calibre: float,
    thinnest: float,
    branch_interval: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One neurite from `start`: a persistent random walk in both directions that prefers open space, with branches."""
    nodes, radii = np.empty((MAX_NODES, 3)), np.empty(MAX_NODES)
    parents, branches = np.full(MAX_NODES, -1), np.zeros(MAX_NODES, np.int64)
    nodes[0], radii[0], n = start, calibre, 1
    axis = _direction(rng)
    tips = [(0, axis[0], axis[1], axis[2]), (0, -axis[0], -axis[1], -axis[2])]
    branch = 0
    while len(tips) > 0 and n < MAX_NODES:
        last, vz, vy, vx = tips.pop()
        heading = np.array([vz, vy, vx])
        root = last
        branch += 1
        swelling = 0.0
        while n < MAX_NODES:
            swelling = 0.93 * swelling + 0.12 * rng.normal()
            target = min(max(0.8 * calibre * np.exp(swelling), thinnest), 1.4 * calibre)
            step, room = _best_step(
                clearance, spacing, size, nodes, radii, branches, n, last, root, branch, heading, target, rng
            )
            if room < 0.85 * thinnest:
                break
            heading = 0.6 * heading + 0.4 * step
            heading /= np.sqrt((heading * heading).sum())
            position = nodes[last] + spacing * step
            if np.any(position <= 0) or np.any(position >= size):
                break
            nodes[n], radii[n], parents[n], branches[n] = position, min(target, room), last, branch
            last = n
            n += 1
            if rng.random() < spacing / branch_interval:
                side = _direction(rng)
                side -= (side * heading).sum() * heading
                side = 0.5 * heading + side / np.sqrt((side * side).sum())
                side /= np.sqrt((side * side).sum())
                tips.append((last, side[0], side[1], side[2]))
    return nodes[:n].copy(), radii[:n].copy(), parents[:n].copy()


@njit(cache=True)
def _best_step(
    clearance: np.ndarray,
    spacing: float,
    size: np.ndarray,
    nodes: np.ndarray,
    radii: np.ndarray,
    branches: np.ndarray,
    n: int,
    last: int,
    root: int,
    branch: int,
    heading: np.ndarray,
    target: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """The best of some unit steps about `heading`, and the room there in nm; no room means that the tip is stuck.

    A step out of the box has all the room: a neurite may leave. Looked at is the place two radii ahead.
    """
    best, best_score, best_room = heading, -np.inf, 0.0
    for trial in range(DIRECTIONS):
        step = heading + (0.0 if trial == 0 else 0.5) * _direction(rng)
        step /= np.sqrt((step * step).sum())
        room = _room(clearance, spacing, nodes[last] + spacing * step, target)
        ahead = _room(clearance, spacing, nodes[last] + 1.5 * target * step, target)
        for i in range(n):  # a neurite keeps off its own older parts
            apart = np.sqrt(((nodes[i] - nodes[last] - spacing * step) ** 2).sum()) - radii[i]
            near_root = ((nodes[i] - nodes[root]) ** 2).sum() < (3 * radii[root] + 2 * target) ** 2
            if branches[i] != branch and not near_root:
                room = min(room, apart)
            elif branches[i] == branch and (last - i) * spacing > 4 * target:
                room = min(room, apart)
        score = (step * heading).sum() + 1.5 * min(room, target) / target + min(ahead, target) / target + 0.2 * rng.random()
        if score > best_score:
            best, best_score, best_room = step, score, room
    return best, best_room


@njit(cache=True)
def _room(clearance: np.ndarray, spacing: float, position: np.ndarray, outside: float) -> float:
    z, y, x = int(np.floor(position[0] / spacing)), int(np.floor(position[1] / spacing)), int(np.floor(position[2] / spacing))
    if z < 0 or y < 0 or x < 0 or z >= clearance.shape[0] or y >= clearance.shape[1] or x >= clearance.shape[2]:
        return outside
    return clearance[z, y, x]
