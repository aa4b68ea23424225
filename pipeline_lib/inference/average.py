"""The mean of what several networks predict of a volume, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Demand, Finished, Run, compute_blocks, crew_for, run_task
from pipeline_lib.artefacts.budget import TORCH_MB
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid
from pipeline_lib.inference.predict import ARRAY
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, open_array, write_box
from pipeline_lib.volumes.affinities import create_affinities, open_affinities

_EDGE_BYTES = 5  # sum, one prediction, mean


def average_predictions(settings: PredictStage, predictions: Sequence[Path], volume: Volume, folder: Path, *, run: Run) -> None:
    """Write `folder/affinities.zarr/0`, the mean of those in the folders `predictions`, and last `folder/complete.json`.

    The affinities are averaged, not the logits, each as it is stored, and rounded to nearest. Predictions of another shape or
    with other offsets are a UserError.
    """
    run_task(Average(settings, predictions, volume, folder), run)


class Average:
    """A block is the mean of the same block of all predictions."""

    def __init__(self, settings: PredictStage, predictions: Sequence[Path], volume: Volume, folder: Path) -> None:
        self.name = f"average {volume.name}"
        self.folder = folder
        self.created = (folder / ARRAY / "zarr.json",)
        self.last_file = folder / "complete.json"
        self._settings = settings
        self._predictions = list(predictions)
        self._volume = volume
        self._offsets_vox = self._checked_offsets()

    def _checked_offsets(self) -> tuple[tuple[int, int, int], ...]:
        if not self._predictions:
            raise UserError(f"{self.name}: no prediction is given; give at least one")
        found = {path: open_affinities(path / ARRAY) for path in self._predictions}
        first = found[self._predictions[0]]
        for path, told in found.items():
            if told.offsets_vox != first.offsets_vox or told.array.shape[1:] != self._volume.shape_vox:
                raise UserError(
                    f"{path} has shape {told.array.shape[1:]} and offsets {told.offsets_vox}, expected "
                    f"{self._volume.shape_vox} and {first.offsets_vox}; average predictions of one volume with the same targets"
                )
        return first.offsets_vox

    @property
    def inputs(self) -> Mapping[str, str]:
        predictions = {f"the prediction {path}": content_of_complete(path) for path in self._predictions}
        return {"the code": str(ALGORITHM_VERSIONS["average"]), **predictions}

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self._settings.inference.block_vox}

    @cached_property
    def grid(self) -> BlockGrid:
        return BlockGrid(self._volume.shape_vox, self._settings.inference.block_vox)

    @property
    def n_blocks(self) -> int:
        return len(self.grid)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit."""
        demand = Demand(
            self._settings.inference.block_vox,
            lambda block_vox: TORCH_MB + _EDGE_BYTES * len(self._offsets_vox) * prod(block_vox) / 1e6,
            setting="inference.block_vox",
            step_vox=SHARD_VOX,
        )
        return crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)

    def create(self) -> None:
        create_affinities(
            self.folder / ARRAY,
            self._volume.shape_vox,
            offsets_vox=self._offsets_vox,
            voxel_size_nm=self._volume.voxel_size_nm,
            logit_scale=self._settings.inference.logit_scale,
        )

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.average, blocks, crew, name=self.name)

    def average(self, index: int) -> list[Path]:
        box, n = self.grid[index].write_box, len(self._predictions)
        total = np.full((len(self._offsets_vox), *box.shape_vox), n // 2, np.uint16)  # so that division rounds to nearest
        for path in self._predictions:
            total += np.asarray(open_array(path / ARRAY)[(slice(None), *box.slices)])
        total //= n
        return write_box(open_array(self.folder / ARRAY, writable=True), box, total.astype(np.uint8))

    def finish(self, budget: Budget) -> Finished:
        facts = {
            "shape": [len(self._offsets_vox), *self._volume.shape_vox],
            "offsets_vox": [list(offset) for offset in self._offsets_vox],
            "mean_of": [str(path) for path in self._predictions],
        }
        return Finished(facts=facts)
