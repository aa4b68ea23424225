"""Segments grown into background, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import (
    BlockDone,
    Budget,
    Crew,
    Demand,
    Finished,
    Run,
    check_block,
    compute_blocks,
    crew_for,
    read_json,
)
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.components import grow_segments
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.segmentation.written import ARRAY, create_segmentation, finish_segmentation
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS
from pipeline_lib.settings.scoring import SHARD_VOX, SegmentationSettings
from pipeline_lib.volumes import Volume, open_array, write_box

_VOXEL_BYTES = 32


def check_growth(settings: SegmentationSettings, volume: Volume, budget: Budget) -> None:
    """UserError for blocks that do not fit, as `BlockGrowth` gives it, but before there are segments."""
    check_block(_demand(settings, volume), budget)


def _demand(settings: SegmentationSettings, volume: Volume) -> Demand:
    need_mb = partial(growth_need_mb, settings, volume)
    return Demand(settings.block_vox, need_mb, setting="segmentation.block_vox", step_vox=SHARD_VOX)


def growth_need_mb(settings: SegmentationSettings, volume: Volume, block_vox: Triple) -> float:
    """Memory to grow the segments of one block, in MB."""
    return _VOXEL_BYTES * prod(_grid(settings, volume, block_vox).largest_read_vox) / 1e6


def _grid(settings: SegmentationSettings, volume: Volume, block_vox: Triple) -> BlockGrid:
    return BlockGrid(volume.shape_vox, block_vox, (settings.grow_vox,) * 3)


class BlockGrowth:
    """Writes the segmentation in the folder `ungrown`, its segments grown by `grow_vox`, in the same form into `folder`.

    A block is read with as many voxels around it as segments grow: nothing from further away can reach it.
    """

    def __init__(self, settings: SegmentationSettings, ungrown: Path, volume: Volume, folder: Path) -> None:
        self.name = f"grow {volume.name}"
        self.folder = folder
        self.created = (folder / ARRAY / "zarr.json",)
        self.last_file = folder / "complete.json"
        self._settings = settings
        self._ungrown = ungrown
        self._volume = volume

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["segment"]),
            "the growth": str(self._settings.grow_vox),
            "the segmentation": content_of_complete(self._ungrown),
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self._settings.block_vox}

    @cached_property
    def grid(self) -> BlockGrid:
        return _grid(self._settings, self._volume, self._settings.block_vox)

    @property
    def n_blocks(self) -> int:
        return len(self.grid)

    @cached_property
    def _before(self) -> dict[str, Any]:
        complete: dict[str, Any] = read_json(self._ungrown / "complete.json")
        return complete

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit."""
        return crew_for(_demand(self._settings, self._volume), run.budget, name=self.name, n_blocks=self.n_blocks)

    def create(self) -> None:
        dtype = str(open_array(self._ungrown / ARRAY).dtype)
        create_segmentation(self.folder, self._volume, dtype, threshold=self._before["choice"]["threshold"])

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.grow, blocks, crew, name=self.name)

    def grow(self, index: int) -> list[Path]:
        block = self.grid[index]
        labels = np.asarray(open_array(self._ungrown / ARRAY)[block.read_box.slices])
        grown = grow_segments(labels, self._settings.grow_vox)[block.write_box.relative_to(block.read_box).slices]
        return write_box(open_array(self.folder / ARRAY, writable=True), block.write_box, grown)

    def finish(self, budget: Budget) -> Finished:
        choice, n_segments = self._before["choice"], self._before["n_segments"]
        return finish_segmentation(self.folder, self._volume, choice=choice, n_segments=n_segments)
