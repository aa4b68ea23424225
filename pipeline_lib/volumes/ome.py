"""OME-Zarr 0.5: metadata around the arrays of a group, and smaller copies of them for viewers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.scoring import CHUNK_VOX, SHARD_VOX
from pipeline_lib.volumes.arrays import create_array, open_array, write_box

LARGEST_LAST_LEVEL_VOX = 2 * max(CHUNK_VOX)


def write_ome_metadata(group: Path, name: str, voxel_size_nm: Sequence[float], *, labels: bool = False) -> None:
    """Describe the arrays `group/0`, `group/1`, ... (zyx or czyx, finest first) as the levels of one multiscale image.

    Level k > 0 carries the attribute `step_vox`: how many voxels of level 0 along z, y, x one of its voxels stands for.
    A level that is a mean of voxels is centred between them, hence its translation; labels are picked, not averaged.
    """
    levels = [open_array(path) for path in _level_paths(group)]
    if not levels:
        raise ValueError(f"{group} holds no array named 0")
    with_channels = levels[0].ndim == 4
    axes: list[dict[str, str]] = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    if with_channels:
        axes.insert(0, {"name": "c", "type": "channel"})
    datasets = []
    for index, level in enumerate(levels):
        step: list[int] = dict(level.attrs).get("step_vox", [1, 1, 1])  # type: ignore[assignment]
        scale = [float(s * n) for s, n in zip(voxel_size_nm, step, strict=True)]
        shift = [0.0 if labels else float(s * (n - 1) / 2) for s, n in zip(voxel_size_nm, step, strict=True)]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [*([1.0] * with_channels), *scale]}]
        if any(shift):
            transformations.append({"type": "translation", "translation": [*([0.0] * with_channels), *shift]})
        datasets.append({"path": str(index), "coordinateTransformations": transformations})
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
    if labels:
        ome["image-label"] = {}
    try:
        zarr.open_group(store=group, mode="a", zarr_format=3).attrs["ome"] = ome
    except OSError as error:
        raise UserError(f"cannot write {group}: {error.strerror or error}") from error


def add_levels(group: Path, voxel_size_nm: Sequence[float], *, labels: bool = False) -> None:
    """Write levels 1, 2, ... of the (z, y, x) array `group/0`, block by block, until no axis is longer than two chunks.

    Each level halves the axes that are not yet much coarser than the others. Images are averaged, rounding half up; labels
    keep the first voxel of each cell.
    """
    level, step, index = open_array(group / "0"), (1, 1, 1), 0
    while max(level.shape) > LARGEST_LAST_LEVEL_VOX:
        index += 1
        factors = _factors(level.shape, [s * n for s, n in zip(voxel_size_nm, step, strict=True)])
        step = as_triple([n * f for n, f in zip(step, factors, strict=True)])
        shape = as_triple([-(-n // f) for n, f in zip(level.shape, factors, strict=True)])
        smaller = create_array(group / str(index), shape, str(level.dtype), attributes={"step_vox": list(step)})
        for block in BlockGrid(shape, SHARD_VOX):
            box = block.write_box
            start = [a * f for a, f in zip(box.start_vox, factors, strict=True)]
            stop = [min(b * f, n) for b, f, n in zip(box.stop_vox, factors, level.shape, strict=True)]
            values = np.asarray(level[Box(as_triple(start), as_triple(stop)).slices])
            write_box(smaller, box, shrink(values, factors, labels=labels))
        level = smaller


def shrink(values: np.ndarray, factors: Sequence[int], *, labels: bool = False) -> np.ndarray:
    """Integers (z, y, x) smaller by `factors`: means of cells, or the first voxel of each for labels.

    Cells that stick out at the end are completed by repeating the last voxels.
    """
    fz, fy, fx = factors
    if labels:
        return values[::fz, ::fy, ::fx]
    excess = [(0, -n % f) for n, f in zip(values.shape, factors, strict=True)]
    padded = np.pad(values, excess, mode="edge") if any(after for _, after in excess) else values
    total = np.zeros([n // f for n, f in zip(padded.shape, factors, strict=True)], np.uint32)
    for z, y, x in product(range(fz), range(fy), range(fx)):
        total += padded[z::fz, y::fy, x::fx]
    cell = prod(factors)
    return np.asarray((total + cell // 2) // cell).astype(values.dtype)


def _factors(shape: Sequence[int], size_nm: Sequence[float]) -> Triple:
    """2 along the axes to halve: those longer than one voxel whose voxels are less than twice the smallest."""
    finest = min(s for s, n in zip(size_nm, shape, strict=True) if n > 1)
    return as_triple([2 if n > 1 and s < 2 * finest else 1 for s, n in zip(size_nm, shape, strict=True)])


def _level_paths(group: Path) -> list[Path]:
    paths: list[Path] = []
    while (group / str(len(paths)) / "zarr.json").exists():
        paths.append(group / str(len(paths)))
    return paths
