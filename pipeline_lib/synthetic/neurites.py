"""Branching neurites grown into free space until none fits any more, thick ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline_lib.synthetic.windows import distance, window

MAX_NODES = 20_000  # of one neurite; a tip stops there
DIRECTIONS = 12  # tried at each step
CALIBRES = 6  # passes over the free space, from the thickest neurites to the thinnest


@dataclass(frozen=True)
class Neurites:
    """Trees of balls. Nodes of one neurite are consecutive, a parent comes before its children.

    balls_nm: (N, 4) float64, centre zyx from the volume's corner (inside the volume) and radius.
    ids: (N,) int64, 1..n. parents: (N,) int64 node indices, -1 at a root.
    """

    balls_nm: np.ndarray
    ids: np.ndarray
    parents: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """(M, 2) int64: parent and child of every edge."""
        children = np.flatnonzero(self.parents >= 0)
        return np.stack([self.parents[children], children], axis=1)


class Space(NamedTuple):
    """clearance: nm from the centre of each cubic cell to the nearest ball of a finished neurite."""

    clearance: np.ndarray
    cell_nm: float
    size_nm: np.ndarray


class Habit(NamedTuple):
    """How one neurite grows."""

    radius_nm: float
    thinnest_nm: float
    step_nm: float
    branch_interval_nm: float


class Tip(NamedTuple):
    """A growing end: what it wants, nodes so far, the node it goes on from, and the number and root of its branch."""

    radius_nm: float
    step_nm: float
    n_nodes: int
    last: int
    branch: int
    root: int


def grow_neurites(
    size_nm: Sequence[float] | np.ndarray,
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
    cell_nm, reach_nm = thinnest / 2, 1.5 * thickest
    size = np.asarray(size_nm, float)
    space = Space(np.full(np.ceil(size / cell_nm).astype(int), reach_nm, np.float32), cell_nm, size)
    clearance = space.clearance.ravel()
    balls: list[np.ndarray] = []
    parents: list[np.ndarray] = []
    n_nodes = 0
    for calibre in np.geomspace(thickest, thinnest, CALIBRES):
        habit = Habit(float(calibre), thinnest, cell_nm, branch_interval_nm)
        starts = np.flatnonzero(clearance >= calibre)
        rng.shuffle(starts)
        for start in starts:
            if clearance[start] < calibre:
                continue
            centre = (np.asarray(np.unravel_index(start, space.clearance.shape)) + 0.5) * cell_nm
            if np.any(centre >= size):
                continue
            grown, grown_parents = _grow(space, centre, habit, rng)
            if (len(grown) - 1) * habit.step_nm < min_length_nm:
                continue
            _reduce_clearance(space.clearance, cell_nm, grown, reach_nm)
            balls.append(grown)
            parents.append(np.where(grown_parents >= 0, grown_parents + n_nodes, -1))
            n_nodes += len(grown)
    ids = np.repeat(np.arange(1, len(balls) + 1), [len(b) for b in balls])
    return Neurites(np.concatenate([np.zeros((0, 4)), *balls]), ids, np.concatenate([np.zeros(0, np.int64), *parents]))


@njit(cache=True)
def _reduce_clearance(clearance: np.ndarray, cell_nm: float, balls: np.ndarray, reach_nm: float) -> None:
    size = np.full(3, cell_nm)
    for ball in balls:
        (z0, z1), (y0, y1), (x0, x1) = window(ball, reach_nm, size, 0, clearance.shape)
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    gap = distance(ball, (z + 0.5) * cell_nm, (y + 0.5) * cell_nm, (x + 0.5) * cell_nm)
                    clearance[z, y, x] = min(clearance[z, y, x], gap)


@njit(cache=True)
def _grow(space: Space, start: np.ndarray, habit: Habit, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Balls and parents of one neurite: persistent random walks in both directions that prefer open space, with branches."""
    balls = np.empty((MAX_NODES, 4))
    parents, branches = np.full(MAX_NODES, -1), np.zeros(MAX_NODES, np.int64)
    roots, headings = np.zeros(MAX_NODES, np.int64), np.empty((MAX_NODES, 3))  # of the tips that wait
    balls[0, :3], balls[0, 3] = start, habit.radius_nm
    headings[0] = _turned(np.zeros(3), 1.0, rng)
    headings[1] = -headings[0]
    n, branch, n_tips = 1, 0, 2
    while n_tips > 0 and n < MAX_NODES:
        n_tips -= 1
        root, heading = roots[n_tips], headings[n_tips].copy()
        last, swelling = root, 0.0
        branch += 1
        while n < MAX_NODES:
            swelling = 0.93 * swelling + 0.12 * rng.normal()
            radius = min(max(0.8 * habit.radius_nm * np.exp(swelling), habit.thinnest_nm), 1.4 * habit.radius_nm)
            steps = np.empty((DIRECTIONS, 3))
            for i in range(DIRECTIONS):
                steps[i] = _turned(heading, 0.5 if i else 0.0, rng)
            chosen, room = _best_step(space, balls, branches, Tip(radius, habit.step_nm, n, last, branch, root), steps)
            position = balls[last, :3] + habit.step_nm * steps[chosen]
            if room < 0.85 * habit.thinnest_nm or position.min() <= 0 or (space.size_nm - position).min() <= 0:
                break
            heading = _turned(0.6 * heading + 0.4 * steps[chosen], 0.0, rng)
            balls[n, :3], balls[n, 3] = position, min(radius, room)
            parents[n], branches[n] = last, branch
            last = n
            n += 1
            if rng.random() < habit.step_nm / habit.branch_interval_nm:
                roots[n_tips], headings[n_tips] = last, _turned(heading, 1.5, rng)
                n_tips += 1
    return balls[:n].copy(), parents[:n].copy()


@njit(cache=True)
def _turned(direction: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """The unit vector along `direction` plus a random vector of length `amount`."""
    noise = np.empty(3)
    for axis in range(3):
        noise[axis] = rng.normal()
    turned = direction + amount / np.sqrt((noise * noise).sum()) * noise
    return turned / np.sqrt((turned * turned).sum())


@njit(cache=True)
def _best_step(space: Space, balls: np.ndarray, branches: np.ndarray, tip: Tip, steps: np.ndarray) -> tuple[int, float]:
    """Which of the directions `steps` (n, 3), the straight one first, keeps its course with the most room, and that room in nm.

    Outside the box there is room enough: a neurite may leave. A neurite keeps off its own other parts.
    """
    best, best_score, best_room = 0, -np.inf, 0.0
    radius = tip.radius_nm
    for i in range(len(steps)):
        position = balls[tip.last, :3] + tip.step_nm * steps[i]
        room = _clearance(space, position, radius)
        ahead = _clearance(space, balls[tip.last, :3] + 1.5 * radius * steps[i], radius)
        for n in range(tip.n_nodes):
            if branches[n] == tip.branch:
                other = (tip.last - n) * tip.step_nm > 4 * radius
            else:  # the root's own branch is near where this one begins
                other = distance(balls[tip.root], balls[n, 0], balls[n, 1], balls[n, 2]) > 2 * (balls[tip.root, 3] + radius)
            if other:
                room = min(room, distance(balls[n], position[0], position[1], position[2]))
        score = (steps[i] * steps[0]).sum() + 1.5 * min(room, radius) / radius + min(ahead, radius) / radius
        if score > best_score:
            best, best_score, best_room = i, score, room
    return best, best_room


@njit(cache=True)
def _clearance(space: Space, position: np.ndarray, outside: float) -> float:
    z, y, x = int(position[0] // space.cell_nm), int(position[1] // space.cell_nm), int(position[2] // space.cell_nm)
    nz, ny, nx = space.clearance.shape
    if z < 0 or y < 0 or x < 0 or z >= nz or y >= ny or x >= nx:
        return outside
    return space.clearance[z, y, x]
