"""A synthetic EM volume with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.skeletons import Skeletons
from pipeline_lib.synthetic.neurites import grow_neurites
from pipeline_lib.synthetic.rendering import Look, render
from pipeline_lib.synthetic.voxels import voxelise


@dataclass(frozen=True)
class SyntheticVolume:
    """image: (z, y, x) uint8. labels: (z, y, x) uint32, 0 = extracellular space, each other label one 6-connected neurite.

    skeletons: one tree for each label, with the label as its id; every edge runs inside its label.
    """

    image: np.ndarray
    labels: np.ndarray
    skeletons: Skeletons


def generate(
    shape_vox: Sequence[int],
    *,
    voxel_size_nm: Sequence[float] = (20.0, 20.0, 20.0),
    seed: int = 0,
    neurite_radius_nm: tuple[float, float] = (100.0, 230.0),
    branch_interval_nm: float = 3000.0,
    min_length_nm: float = 1500.0,
    look: Look | None = None,
) -> SyntheticVolume:
    """Grow neurites that fill the volume and render their image; equal arguments give equal volumes.

    neurite_radius_nm: thinnest and thickest calibre. branch_interval_nm: mean length between branches.
    min_length_nm: shorter neurites are not made (less in a volume that is itself small).
    """
    shape, size = _checked(shape_vox, voxel_size_nm, neurite_radius_nm)
    extent = np.asarray(shape) * np.asarray(size)
    rng = np.random.default_rng((seed, 0))
    neurites = grow_neurites(
        extent,
        radius_nm=neurite_radius_nm,
        branch_interval_nm=branch_interval_nm,
        min_length_nm=min(min_length_nm, 0.6 * float(extent.max())),
        rng=rng,
    )
    if not len(neurites.ids):
        raise UserError(
            f"no neurite fits into {' x '.join(map(str, shape))} voxels of {size} nm; make the synthetic volume larger"
        )
    voxels = voxelise(
        neurites, shape, size, reach_nm=1.2 * neurite_radius_nm[0], waviness_nm=0.35 * neurite_radius_nm[0], rng=rng
    )
    image = render(neurites, voxels, size, look=look or Look(), seed=seed)
    return SyntheticVolume(image, voxels.labels, Skeletons(neurites.balls_nm[:, :3], neurites.ids, neurites.edges))


def _checked(
    shape_vox: Sequence[int], voxel_size_nm: Sequence[float], neurite_radius_nm: tuple[float, float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    if len(shape_vox) != 3 or min(shape_vox) < 1:
        raise UserError(f"a synthetic volume needs three voxel counts (z, y, x) above 0, got {tuple(shape_vox)}")
    if len(voxel_size_nm) != 3 or min(voxel_size_nm) <= 0:
        raise UserError(
            f"a synthetic volume needs three lengths above 0 (z, y, x) as voxel_size_nm, got {tuple(voxel_size_nm)}"
        )
    thinnest, thickest = neurite_radius_nm
    if not 0 < thinnest <= thickest:
        raise UserError(f"neurite_radius_nm must rise from the thinnest to the thickest, got {neurite_radius_nm}")
    if 2 * max(voxel_size_nm) > thinnest:
        raise UserError(
            f"voxels of {max(voxel_size_nm):g} nm are too coarse for neurites of {thinnest:g} nm radius in a synthetic volume; "
            f"choose a voxel_size_nm of at most {thinnest / 2:g} nm along each axis"
        )
    return tuple(int(n) for n in shape_vox), tuple(float(n) for n in voxel_size_nm)
