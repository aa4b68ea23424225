"""Affinity arrays on disk, which say in their attributes what their numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.volumes import VoxelSize
from pipeline_lib.volumes.arrays import create_array, open_array

Flags = tuple[bool, bool, bool]
SCALE = 1 / 255  # affinity = SCALE * stored value


@dataclass(frozen=True)
class Affinities:
    """array: (C, z, y, x) uint8, affinity = value / 255. Channel c at voxel v is the edge from v to v + offsets_vox[c]."""

    array: zarr.Array
    offsets_vox: tuple[Triple, ...]
    voxel_size_nm: VoxelSize


def create_affinities(
    path: Path, shape_vox: Triple, *, offsets_vox: Sequence[Triple], voxel_size_nm: VoxelSize, logit_scale: float
) -> zarr.Array:
    """A new array (C, z, y, x) uint8, zero everywhere, with the attributes that `open_affinities` checks."""
    attributes = {
        "axes": "czyx",
        "offsets_vox": [list(offset) for offset in offsets_vox],
        "storage": "source",
        "scale": SCALE,
        "logit_scale": logit_scale,
        "voxel_size_nm": list(voxel_size_nm),
    }
    return create_array(path, (len(offsets_vox), *shape_vox), "uint8", attributes=attributes)


def open_affinities(path: Path) -> Affinities:
    """The affinity array at `path`, read-only. One that is stored in another way, or does not say how, is a UserError."""
    array = open_array(path)
    attributes: dict[str, Any] = dict(array.attrs)
    for name in ("axes", "offsets_vox", "storage", "scale", "voxel_size_nm"):
        if name not in attributes:
            raise UserError(f"{path}: the attribute {name!r} is missing, so it cannot be told what its affinities mean")
    _expect(path, "axes", attributes["axes"] == "czyx", "czyx", attributes)
    _expect(path, "storage", attributes["storage"] == "source", "'source' (an edge is stored where it starts)", attributes)
    scale = attributes["scale"]
    _expect(path, "scale", isinstance(scale, float) and isclose(scale, SCALE, rel_tol=1e-6), "1/255", attributes)
    offsets = attributes["offsets_vox"]
    if array.ndim != 4 or array.dtype != "uint8" or len(offsets) != array.shape[0]:
        facts = f"{array.dtype} of shape {list(array.shape)}"
        raise UserError(f"{path}: expected uint8 (c, z, y, x) with {len(offsets)} channels, one per offset, got {facts}")
    z, y, x = attributes["voxel_size_nm"]
    return Affinities(array, tuple(as_triple(offset) for offset in offsets), (float(z), float(y), float(x)))


def read_neighbour_affinities(array: zarr.Array, box: Box) -> tuple[np.ndarray, Flags, Flags]:
    """Affinities (3, z, y, x) to the next voxels in a box, with one more plane before it along each axis where there is one.

    Also whether the volume goes on before and after the box along z, y and x. Those are the arguments of label_block.
    """
    before = (box.start_vox[0] > 0, box.start_vox[1] > 0, box.start_vox[2] > 0)
    z, y, x = (b < n for b, n in zip(box.stop_vox, array.shape[1:], strict=True))
    start = as_triple([a - int(goes_on) for a, goes_on in zip(box.start_vox, before, strict=True)])
    return np.asarray(array[(slice(3), *Box(start, box.stop_vox).slices)]), before, (z, y, x)


def _expect(path: Path, name: str, holds: bool, expected: str, attributes: dict[str, Any]) -> None:
    if not holds:
        raise UserError(f"{path}: the attribute {name!r} must be {expected}, got {attributes[name]!r}; convert the array first")
