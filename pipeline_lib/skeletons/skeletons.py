"""The skeletons of a volume as three arrays, and their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
        positions = np.asarray(self.node_positions_nm, np.float64).reshape(-1, 3)
        ids = np.asarray(self.node_skeleton_ids, np.int64).reshape(-1)
        edges = np.asarray(self.edges, np.int64).reshape(-1, 2)
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
    if edges.size and (edges.min() < 0 or edges.max() >= n_nodes):
        raise ValueError(f"an edge names node {edges.min()} or {edges.max()}, but there are nodes 0 to {n_nodes - 1}")


def save_skeletons(path: Path, skeletons: Skeletons) -> None:
    arrays = ("node_positions_nm", "node_skeleton_ids", "edges")
    write_arrays(path, {name: getattr(skeletons, name) for name in arrays}, compressed=True)


def load_skeletons(path: Path) -> Skeletons:
    arrays = read_arrays(path)
    try:
        return Skeletons(arrays["node_positions_nm"], arrays["node_skeleton_ids"], arrays["edges"])
    except (KeyError, ValueError) as error:
        raise UserError(f"cannot read the skeletons {path}: {error}") from error
