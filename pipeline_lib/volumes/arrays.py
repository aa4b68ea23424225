"""zarr arrays as this project writes them: format 3, sharded, zstd, whole shards written at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarrs  # noqa: F401  registers the codec pipeline
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.geometry.grid import Block
from pipeline_lib.settings.scoring import CHUNK_VOX, SHARD_VOX

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
# A shard that several threads encode holds its chunks in the order in which they were ready: other bytes each time.
_ONE_THREAD_A_SHARD = {"threading.max_workers": 1}


def create_array(path: Path, shape: Sequence[int], dtype: str, *, attributes: Mapping[str, Any]) -> zarr.Array:
    """A new array (z, y, x) or (c, z, y, x), zero everywhere; what stood at `path` is replaced.

    Shards of 128^3 voxels hold all channels; chunks of 64^3 hold one. Blocks must cover whole shards or end with the volume:
    two writers in one shard lose data without a word.
    """
    channels = tuple(shape[:-3])
    try:
        with zarr.config.set(_ONE_THREAD_A_SHARD):
            return zarr.create_array(
                store=path,  # as text, a path that holds "::" would be taken for an address
                shape=tuple(shape),
                dtype=dtype,
                chunks=(*(1 for _ in channels), *CHUNK_VOX),
                shards=(*channels, *SHARD_VOX),
                compressors=[ZstdCodec(level=1)],
                fill_value=0,
                attributes=dict(attributes),
                dimension_names=list("czyx"[-len(shape) :]),
                overwrite=True,
            )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def open_array(path: Path, *, writable: bool = False) -> zarr.Array:
    """An existing array, read-only unless `writable`, of zarr format 2 or 3."""
    try:
        with zarr.config.set(_ONE_THREAD_A_SHARD if writable else {}):
            found = zarr.open(store=path, mode="r+" if writable else "r")
    except Exception as error:  # zarr raises many kinds for broken metadata
        raise UserError(f"cannot open the zarr array {path}: {type(error).__name__}: {error}") from error
    if not isinstance(found, zarr.Array):
        names = ", ".join(sorted(found.array_keys())) or "none"
        raise UserError(f"{path} is a zarr group, not an array; arrays in it: {names}")
    return found


def write_box(array: zarr.Array, box: Box, values: np.ndarray) -> list[Path]:
    """Write `values` (z, y, x) or (c, z, y, x) into `box`, and return its shards; a shard that is 0 everywhere has no file.

    Equal values give equal bytes on disk: each shard is encoded by one thread, several at once.

    The old shards go first: where the volume ends inside one, it would be read back, and fail if a kill had torn it.
    A full disk is a UserError. Raises ValueError for a box that does not cover whole shards or end with the volume.
    """
    ends = zip(box.start_vox, box.stop_vox, array.shape[-3:], SHARD_VOX, strict=True)
    if any(a % shard or (b % shard and b != n) for a, b, n, shard in ends):
        raise ValueError(f"a box must cover whole shards of {SHARD_VOX}, got {box.start_vox} to {box.stop_vox}")
    shards = _shard_files(array, box)

    def write_shard(cell: Block) -> None:
        place = cell.write_box.shifted(box.start_vox)
        array[(..., *place.slices)] = values[(..., *cell.write_box.slices)]

    threads = int(os.environ.get("RAYON_NUM_THREADS") or os.cpu_count() or 1)
    try:
        for path in shards:
            path.unlink(missing_ok=True)
        with ThreadPoolExecutor(min(threads, len(shards))) as pool:
            list(pool.map(write_shard, BlockGrid(box.shape_vox, SHARD_VOX)))
    except (OSError, RuntimeError) as error:  # the codec pipeline turns what the system reports into a RuntimeError
        raise UserError(f"cannot write {_folder(array)}: {error}") from error
    return shards


def _shard_files(array: zarr.Array, box: Box) -> list[Path]:
    folder = _folder(array)
    channels = (0,) * (array.ndim - 3)
    places = (range(a // n, -(-b // n)) for a, b, n in zip(box.start_vox, box.stop_vox, SHARD_VOX, strict=True))
    return [folder / array.metadata.encode_chunk_key((*channels, *place)) for place in product(*places)]


def _folder(array: zarr.Array) -> Path:
    if not isinstance(array.store, LocalStore):
        raise ValueError(f"expected an array in a local folder, got {array.store}")
    return array.store.root / array.path


def read_points(array: zarr.Array, points_vox: np.ndarray) -> np.ndarray:
    """The values (N,) of a (z, y, x) array at the voxels (N, 3); reads each chunk that holds points once."""
    z, y, x = np.asarray(points_vox, np.int64).reshape(-1, 3).T
    if not len(z):
        return np.zeros(0, array.dtype)
    try:
        return np.asarray(array.vindex[z, y, x])
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot read {_folder(array)}: {error}") from error
