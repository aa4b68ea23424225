"""The order in which blocks are predicted: columns of them, each swept once along z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.geometry.grid import Block
from pipeline_lib.inference.patches import starts_meeting, starts_per_axis


@dataclass(frozen=True)
class Column:
    """The blocks over one rectangle in y and x, in scan order; `layers[k]` are those at the k-th place in z.

    Along z no patch is computed twice. One that straddles the border of two columns is computed for both.
    """

    layers: tuple[tuple[Block, ...], ...]

    @property
    def box(self) -> Box:
        return self.box_of(0, len(self.layers) - 1)

    def box_of(self, first: int, last: int) -> Box:
        """What the layers `first` to `last`, both included, fill."""
        return Box(self.layers[first][0].write_box.start_vox, self.layers[last][-1].write_box.stop_vox)


def columns_of(grid: BlockGrid, patch_vox: Sequence[int]) -> list[Column]:
    """All blocks of the grid as columns, in scan order.

    A rest thinner than a patch at the end of y or x joins the column before it: alone it would repeat the last passes of that.
    """
    _, ny, nx = grid.counts
    rows, places = (_groups(grid, axis, patch_vox[axis]) for axis in (1, 2))
    columns = []
    for row in rows:
        for place in places:
            layers = [[grid[(k * ny + j) * nx + i] for j in row for i in place] for k in range(grid.counts[0])]
            columns.append(Column(tuple(tuple(layer) for layer in layers)))
    return columns


def _groups(grid: BlockGrid, axis: int, patch: int) -> list[range]:
    n = grid.counts[axis]
    rest = grid.shape_vox[axis] - (n - 1) * grid.block_vox[axis]
    n_alone = n - 2 if n > 1 and rest < patch else n
    alone = [range(i, i + 1) for i in range(n_alone)]
    return [*alone, range(n_alone, n)] if n_alone < n else alone


def count_calls(target: Box, shape_vox: Sequence[int], patch_vox: Sequence[int]) -> int:
    """Forward passes that predicting `target` takes: the patches of the volume that meet it."""
    axes = zip(starts_per_axis(shape_vox, patch_vox), patch_vox, target.start_vox, target.stop_vox, strict=True)
    return prod(len(starts_meeting(starts, patch, low, high)) for starts, patch, low, high in axes)


def memory_need_mb(columns: Sequence[Column], patch_vox: Sequence[int], n_channels: int) -> float:
    """Memory for sums and finished blocks of the largest column, in MB; what the network itself needs comes on top."""
    needs = []
    for column in columns:
        z, y, x = column.box_of(0, 0).shape_vox
        sums = 4 * (n_channels + 1) * patch_vox[0]
        finished = 2 * n_channels * z  # twice: it is copied when a block is cut out of it and compressed
        needs.append((sums + finished) * y * x / 1e6)
    return max(needs)
