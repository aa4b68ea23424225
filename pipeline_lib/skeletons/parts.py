"""The skeletons in a file, so many nodes at a time: of a large volume they take more memory than a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_lib.artefacts.npz import read_in_parts
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.skeletons.skeletons import as_edges, as_ids, as_positions, check_counts, check_edges, check_positions


@dataclass(frozen=True)
class NodesOutside:
    """How many of a volume's nodes lie outside of it, and the first of these, (3,) zyx."""

    n_nodes: int
    n_outside: int
    first_nm: np.ndarray


def positions_in_parts(path: Path) -> Iterator[np.ndarray]:
    """(n, 3) float64 zyx in nm of the nodes, in their order; ValueError for an array of another shape."""
    for part in read_in_parts(path, "node_positions_nm"):
        yield as_positions(part)


def check_file(path: Path) -> None:
    """UserError for what `load_skeletons` refuses."""
    try:
        n_positions = 0
        for positions_nm in positions_in_parts(path):
            check_positions(positions_nm)
            n_positions += len(positions_nm)
        n_ids = sum(len(as_ids(ids)) for ids in read_in_parts(path, "node_skeleton_ids"))
        check_counts(n_positions, n_ids)
        for edges in read_in_parts(path, "edges"):
            check_edges(as_edges(edges), n_nodes=n_ids)
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot read the skeletons {path}: {error}") from error


def nodes_outside(parts: Iterable[np.ndarray], shape_vox: Sequence[int], voxel_size_nm: Sequence[float]) -> NodesOutside | None:
    """parts: positions (n, 3) zyx in nm. None where all lie in the volume."""
    n_nodes, n_outside, first_nm = 0, 0, np.zeros(3)
    for positions_nm in parts:
        voxels = nm_to_vox_floor(positions_nm, voxel_size_nm)
        outside = np.any((voxels < 0) | (voxels >= np.asarray(shape_vox)), axis=1)
        if outside.any() and not n_outside:
            first_nm = positions_nm[outside][0]
        n_nodes += len(outside)
        n_outside += int(outside.sum())
    return NodesOutside(n_nodes, n_outside, first_nm) if n_outside else None
