"""The skeletons of a volume as three arrays, and their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pipeline_lib.artefacts.npz import read_arrays, write_arrays
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box, nm_to_vox_floor


@dataclass(frozen=True)
class Skeletons:
    """All skeletons of a volume.

    node_positions_nm: (N, 3) float64 zyx, from the volume's first voxel corner.
    node_skeleton_ids: (N,) int64; 0 means "no neuron": such nodes count nowhere.
    edges: (M, 2) int64 indices of nodes. Both ends belong to one skeleton in sound data; this is not required here.
    """

    node_positions_nm: np.ndarray
    node_skeleton_ids: np.ndarray
    edges: np.ndarray

    def __post_init__(self) -> None:
        positions = as_positions(self.node_positions_nm)
        ids = as_ids(self.node_skeleton_ids)
        edges = as_edges(self.edges)
        check_counts(len(positions), len(ids))
        check_positions(positions)
        check_edges(edges, n_nodes=len(ids))
        for name, array in (("node_positions_nm", positions), ("node_skeleton_ids", ids), ("edges", edges)):
            object.__setattr__(self, name, array)

    @property
    def edge_lengths_nm(self) -> np.ndarray:
        """(M,) Euclidean lengths."""
        a, b = self.edges.T
        return np.asarray(np.linalg.norm(self.node_positions_nm[a] - self.node_positions_nm[b], axis=1))

    def within(self, box: Box, voxel_size_nm: Sequence[float]) -> Skeletons:
        """What lies in the voxels of a box, by `nm_to_vox_floor`: positions from its corner, edges that do not leave it."""
        voxels = nm_to_vox_floor(self.node_positions_nm, voxel_size_nm)
        inside = np.all((voxels >= box.start_vox) & (voxels < box.stop_vox), axis=1)
        new = np.cumsum(inside) - 1
        edges = self.edges[inside[self.edges].all(axis=1)]
        positions_nm = self.node_positions_nm[inside] - np.multiply(box.start_vox, voxel_size_nm)
        return Skeletons(positions_nm, self.node_skeleton_ids[inside], new[edges])


def as_positions(values: ArrayLike) -> np.ndarray:
    """Positions, all of them or some, as (n, 3) float64; ValueError for another shape, unless it is empty."""
    return _in_rows("node_positions_nm", np.asarray(values, np.float64), 3)


def as_ids(values: ArrayLike) -> np.ndarray:
    """Skeleton ids, all of them or some, as (n,) int64."""
    return np.asarray(values, np.int64).reshape(-1)


def as_edges(values: ArrayLike) -> np.ndarray:
    """Edges, all of them or some, as (m, 2) int64; ValueError for another shape, unless it is empty."""
    return _in_rows("edges", np.asarray(values, np.int64), 2)


def _in_rows(name: str, array: np.ndarray, n: int) -> np.ndarray:
    if array.size and array.shape[1:] != (n,):
        raise ValueError(f"{name} has rows of shape {array.shape[1:]}, expected ({n},)")
    return array.reshape(-1, n)


def check_counts(n_positions: int, n_ids: int) -> None:
    """ValueError for numbers that differ."""
    if n_positions != n_ids:
        raise ValueError(f"{n_positions} node positions but {n_ids} skeleton ids")


def check_positions(positions_nm: np.ndarray) -> None:
    """ValueError for positions (n, 3), all of them or some, that are not finite."""
    if not np.all(np.isfinite(positions_nm)):
        raise ValueError("a node position is not finite")


def check_edges(edges: np.ndarray, *, n_nodes: int) -> None:
    """ValueError for edges (m, 2), all of them or some, that name a node which is not there."""
    strange = edges[(edges < 0) | (edges >= n_nodes)]
    if strange.size:
        raise ValueError(f"an edge names node {strange[0]}, but there are nodes 0 to {n_nodes - 1}")


def save_skeletons(path: Path, skeletons: Skeletons) -> None:
    arrays = ("node_positions_nm", "node_skeleton_ids", "edges")
    write_arrays(path, {name: getattr(skeletons, name) for name in arrays}, compressed=True)


def load_skeletons(path: Path) -> Skeletons:
    arrays = read_arrays(path)
    try:
        return Skeletons(arrays["node_positions_nm"], arrays["node_skeleton_ids"], arrays["edges"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"cannot read the skeletons {path}: {error}") from error
