"""Digests of what arrays hold, cell by cell, so that jobs can share the work and any division gives the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import zarr

from pipeline_lib.artefacts.records import checksum
from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.scoring import SHARD_VOX

Cells = dict[str, str]  # the digest of each shard by its place in the grid of shards, such as "0,3,1"


def cells_of(box: Box, values: np.ndarray) -> Cells:
    """values: (z, y, x) of `box`, which starts at a shard."""
    first = [a // n for a, n in zip(box.start_vox, SHARD_VOX, strict=True)]
    grid = BlockGrid(box.shape_vox, SHARD_VOX)
    cells = {}
    for block in grid:
        place = [a // n + f for a, n, f in zip(block.write_box.start_vox, SHARD_VOX, first, strict=True)]
        voxels = np.ascontiguousarray(values[block.write_box.slices])
        cells[",".join(map(str, place))] = hashlib.sha256(voxels.data).hexdigest()[:16]
    return cells


def cells_of_array(array: zarr.Array) -> Cells:
    """Reads the whole (z, y, x) array, one shard after the other."""
    cells: Cells = {}
    for block in BlockGrid(as_triple(array.shape), SHARD_VOX):
        cells |= cells_of(block.write_box, np.asarray(array[block.write_box.slices]))
    return cells


def content_of(arrays: Mapping[str, tuple[zarr.Array, Cells]], skeletons: Path | None) -> str:
    """A digest of all arrays, by name with the digests of their cells, and of a file of skeletons."""
    total = hashlib.sha256()
    for name, (array, cells) in sorted(arrays.items()):
        total.update(f"{name} {array.shape} {array.dtype} {sorted(cells.items())}\n".encode())
    total.update(checksum(skeletons).encode() if skeletons is not None else b"")
    return total.hexdigest()[:16]


def fingerprint(path: Path) -> str:
    """Of a file or folder, without reading it: changes when any file in it is written, added or removed."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        found = file.stat()
        total.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]
