"""An array of any file, seen in zyx. Foreign orders of axes end here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.volumes import Slab, VoxelSize
from pipeline_lib.volumes.readers.stored import StoredArray

READ_BYTES = 128 << 20  # of the source in memory at once, at most
CHUNKS_ACROSS = 4  # beyond so many, a larger block saves little


class Source:
    """Reads boxes of a stored array as (z, y, x).

    axes: the order in the file, a permutation of zyx; a c among it is a channel axis, which must have size 1, and may be absent
    from an array with one axis less (labels beside an image with channels). What does not fit is a UserError. slab: the part of
    the array that is seen, in which boxes count from its first voxel.
    """

    def __init__(self, stored: StoredArray, *, axes: str, slab: Slab | None = None) -> None:
        self._stored = stored
        self._axes = _axes_of(stored, axes)
        shape = dict(zip(self._axes, stored.array.shape, strict=True))
        if shape.get("c", 1) != 1:
            raise UserError(f"{self.where} has {shape['c']} channels (c of axes {self._axes!r}), expected 1; extract one first")
        if 0 in shape.values():
            raise UserError(f"{self.where} has shape {stored.array.shape}: it holds no voxels")
        declared = stored.attributes.get("axes")
        if isinstance(declared, str) and _spatial(declared) not in ("", _spatial(self._axes)):
            raise UserError(f"{self.where} says that its axes are {declared!r}, but the settings say {axes!r}; correct `axes`")
        self.stored_shape_vox: Triple = (shape["z"], shape["y"], shape["x"])
        whole = Box.of_shape(self.stored_shape_vox)
        self.place = _box_of(slab, self) if slab is not None else whole
        self.is_whole = self.place == whole
        chunks = dict(zip(self._axes, stored.chunks, strict=True))
        self.chunk_vox: Triple = (chunks["z"], chunks["y"], chunks["x"])

    @property
    def shape_vox(self) -> Triple:
        return self.place.shape_vox

    @property
    def where(self) -> str:
        """File and array, for messages."""
        return self._stored.where

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._stored.array.dtype)

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self._stored.attributes

    @property
    def stored(self) -> StoredArray:
        return self._stored

    @property
    def is_zyx(self) -> bool:
        """Whether the file itself is (z, y, x)."""
        return self._axes == "zyx"

    @property
    def voxel_size_nm(self) -> VoxelSize | None:
        """The attribute `voxel_size_nm` (z, y, x) of the array or of a group above it."""
        value = self.attributes.get("voxel_size_nm")
        if value is None:
            return None
        try:
            z, y, x = (float(v) for v in value)
        except (TypeError, ValueError):
            z = y = x = float("nan")
        if not all(0 < v < float("inf") for v in (z, y, x)):
            raise UserError(f"{self.where}: the attribute voxel_size_nm must be three lengths (z, y, x) above 0, got {value!r}")
        return z, y, x

    def read(self, box: Box) -> np.ndarray:
        """The voxels of `box`: (z, y, x), C-contiguous, native byte order."""
        spans = dict(zip("zyx", box.shifted(self.place.start_vox).slices, strict=True))
        index = tuple(spans.get(axis, 0) for axis in self._axes)
        try:
            values = np.asarray(self._stored.array[index])
        except Exception as error:  # each format has its own kinds for a file that is cut off or broken
            raise UserError(f"cannot read voxels {box.start_vox} to {box.stop_vox} of {self.where}: {error}") from error
        order = [_spatial(self._axes).index(axis) for axis in "zyx"]
        return np.ascontiguousarray(values.transpose(order), dtype=self.dtype.newbyteorder("="))

    @cached_property
    def blocks(self) -> BlockGrid:
        """Blocks of whole shards to convert one after the other, of at most `READ_BYTES`.

        They span several of the file's chunks as far as memory allows, because a chunk is read anew for every block it meets.
        """
        wanted = [min(CHUNKS_ACROSS * c, n) for c, n in zip(self.chunk_vox, self.shape_vox, strict=True)]
        block = list(SHARD_VOX)
        while 2 * prod(block) * self.dtype.itemsize <= READ_BYTES:
            growable = [axis for axis in (2, 1, 0) if block[axis] < wanted[axis]]
            if not growable:
                break
            block[min(growable, key=lambda axis: block[axis] / wanted[axis])] *= 2
        return BlockGrid(self.shape_vox, as_triple(block))


def _box_of(slab: Slab, source: Source) -> Box:
    start, stop = slab.within(source.stored_shape_vox)
    if start["zyx".index(slab.axis)] == stop["zyx".index(slab.axis)]:
        raise UserError(
            f"{source.where} has shape {source.stored_shape_vox} (z, y, x), too small for {slab.of} slabs along {slab.axis}"
        )
    return Box(start, stop)


def _spatial(axes: str) -> str:
    return "".join(axis for axis in axes if axis in "zyx")


def _axes_of(stored: StoredArray, axes: str) -> str:
    n_axes = len(stored.array.shape)
    for order in (axes, _spatial(axes)):
        if len(order) == n_axes:
            return order
    raise UserError(
        f"{stored.where} has {n_axes} axes, shape {tuple(stored.array.shape)}, but `axes` is {axes!r}; correct `axes`"
    )
