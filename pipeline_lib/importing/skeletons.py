"""Given skeletons of a volume: read, and checked against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.skeletons import Skeletons, load_skeletons
from pipeline_lib.skeletons.nisb import read_nisb_skeletons
from pipeline_lib.skeletons.parts import check_file, nodes_outside, positions_in_parts
from pipeline_lib.volumes import read_points

SURE_AGREEMENT = 0.95
LEAST_AGREEMENT = 0.5
CLEAR_GAIN = 0.05


def read_skeletons(path: Path, voxel_size_nm: Sequence[float]) -> Skeletons:
    """Skeletons from `.npz` as this project writes them, or from the `.pkl` of NISB."""
    if path.suffix == ".npz":
        return load_skeletons(path)
    if path.suffix == ".pkl":
        return read_nisb_skeletons(path, voxel_size_nm)
    raise UserError(f"skeletons: {path} is of an unknown kind; expected .npz as written by import, or .pkl of NISB")


def check_given(path: Path, shape_vox: Sequence[int], voxel_size_nm: Sequence[float]) -> None:
    """UserError for a file that cannot be read, or a node outside the volume; of an `.npz` little is held at once."""
    if path.suffix == ".npz":
        check_file(path)
        check_positions(positions_in_parts(path), shape_vox, voxel_size_nm, str(path))
    else:
        check_positions([read_skeletons(path, voxel_size_nm).node_positions_nm], shape_vox, voxel_size_nm, str(path))


def check_positions(parts: Iterable[np.ndarray], shape_vox: Sequence[int], voxel_size_nm: Sequence[float], where: str) -> None:
    """UserError if a node lies outside the volume. parts: positions (n, 3) zyx in nm."""
    found = nodes_outside(parts, shape_vox, voxel_size_nm)
    if found is not None:
        extent = [float(n * s) for n, s in zip(shape_vox, voxel_size_nm, strict=True)]
        raise UserError(
            f"skeletons: {found.n_outside} of the {found.n_nodes} nodes of {where} lie outside the volume, the first at "
            f"{tuple(found.first_nm.tolist())} nm of {tuple(extent)} nm (z, y, x); check their unit, axes and voxel_size_nm"
        )


def check_on_labels(
    skeletons: Skeletons, labels: zarr.Array, mask: zarr.Array | None, voxel_size_nm: Sequence[float], where: str
) -> None:
    """UserError if the nodes of a skeleton do not mostly share a label, or would do so clearly better with other axes.

    labels, mask: (z, y, x). Agreement is the fraction of nodes on their skeleton's commonest label; nodes of skeleton 0 and
    nodes where the mask is 0 do not count. A wrong order of axes still reaches 0.5 to 0.8 of it where neurons are large, so
    the orders are compared unless the agreement is beyond doubt.
    """
    voxels = nm_to_vox_floor(skeletons.node_positions_nm, voxel_size_nm)
    counts = skeletons.node_skeleton_ids != 0
    if mask is not None:
        counts &= read_points(mask, voxels) != 0
    voxels, ids = voxels[counts], skeletons.node_skeleton_ids[counts]
    if not len(ids):
        return
    at_nodes = read_points(labels, voxels)
    agreement = _agreement(ids, at_nodes)
    if agreement < SURE_AGREEMENT:
        others = {
            order: _reordered_agreement(order, voxels, ids, labels) for order in permutations(range(3)) if order != (0, 1, 2)
        }
        best = max(others, key=lambda order: others[order])
        if others[best] > agreement + CLEAR_GAIN:
            name = "".join("zyx"[axis] for axis in best)
            raise UserError(
                f"skeletons: {agreement:.0%} of the nodes of {where} lie on their skeleton's commonest label with positions "
                f"read as zyx, but {others[best]:.0%} with axes swapped to {name}; correct the positions"
            )
    if agreement < LEAST_AGREEMENT:
        raise UserError(
            f"skeletons: {(at_nodes != 0).mean():.0%} of the nodes of {where} lie on a label and {agreement:.0%} on their "
            f"skeleton's commonest one, expected at least {LEAST_AGREEMENT:.0%}; are these the skeletons of these labels?"
        )


def _agreement(ids: np.ndarray, at_nodes: np.ndarray) -> float:
    on_label = at_nodes != 0
    pairs, counts = np.unique(np.stack([ids[on_label], at_nodes[on_label].astype(np.int64)]), axis=1, return_counts=True)
    best = np.zeros(len(ids), np.int64)
    np.maximum.at(best, np.unique(pairs[0], return_inverse=True)[1], counts)
    return float(best.sum() / len(ids))


def _reordered_agreement(order: Sequence[int], voxels: np.ndarray, ids: np.ndarray, labels: zarr.Array) -> float:
    reordered = voxels[:, list(order)]
    inside = np.all(reordered < np.asarray(labels.shape), axis=1)
    at_nodes = np.zeros(len(ids), np.int64)
    at_nodes[inside] = read_points(labels, reordered[inside]).astype(np.int64)
    return _agreement(ids, at_nodes)
