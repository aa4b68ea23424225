"""The blocks in which a volume is processed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from pipeline_lib.geometry.box import Box, Triple, as_triple


@dataclass(frozen=True)
class Block:
    """What one step of a stage reads and writes: `read_box` contains `write_box`."""

    index: int
    write_box: Box
    read_box: Box

    def __post_init__(self) -> None:
        if self.write_box.clipped(self.read_box) != self.write_box:
            raise ValueError(f"block {self.index}: {self.read_box} does not contain {self.write_box}")


@dataclass(frozen=True)
class BlockGrid:
    """Blocks of `block_vox` that tile a volume without overlap, numbered in scan order; the last of an axis is cut off.

    |<- halo ->|<---- write_box ---->|<- halo ->|        the halo ends at the surface of the volume
    |<--------------- read_box ---------------->|
    """

    shape_vox: Triple
    block_vox: Triple
    halo_vox: Triple = (0, 0, 0)

    def __post_init__(self) -> None:
        for name in ("shape_vox", "block_vox", "halo_vox"):
            object.__setattr__(self, name, as_triple(getattr(self, name)))
        if min(self.shape_vox) < 1 or min(self.block_vox) < 1 or min(self.halo_vox) < 0:
            raise ValueError(f"impossible grid: {self}")

    @property
    def counts(self) -> Triple:
        """Blocks along z, y, x."""
        return as_triple([-(-n // b) for n, b in zip(self.shape_vox, self.block_vox, strict=True)])

    @property
    def largest_read_vox(self) -> Triple:
        """What any read_box fits into: a block with its halo on both sides, or the volume where that is smaller."""
        sizes = zip(self.block_vox, self.halo_vox, self.shape_vox, strict=True)
        return as_triple([min(block + 2 * halo, n) for block, halo, n in sizes])

    def __len__(self) -> int:
        return prod(self.counts)

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        _, ny, nx = self.counts
        position = (index // (ny * nx), index // nx % ny, index % nx)
        start = [p * b for p, b in zip(position, self.block_vox, strict=True)]
        stop = [min(a + b, n) for a, b, n in zip(start, self.block_vox, self.shape_vox, strict=True)]
        write_box = Box(as_triple(start), as_triple(stop))
        return Block(index, write_box, write_box.grown(self.halo_vox).clipped(Box.of_shape(self.shape_vox)))

    def blocks_at(self, voxels: np.ndarray) -> np.ndarray:
        """(N,) in which block's write_box each of the voxels (N, 3) of the volume lies."""
        return np.ravel_multi_index(tuple((voxels // np.array(self.block_vox)).T), self.counts)

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))
