"""The components of each block, and how those of neighbouring blocks join to segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import zarr

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Demand, Finished, Run, compute_blocks, crew_for, read_json, run_task
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.artefacts.npz import map_array, read_arrays, write_array, write_arrays
from pipeline_lib.components import BlockLabels, BlockSummary, JoinedBlocks, join_blocks, label_block
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS
from pipeline_lib.settings.scoring import SHARD_VOX, SegmentationSettings
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities, read_neighbour_affinities

AFFINITIES = "affinities.zarr/0"
# For each voxel of a block: affinities, labels, and what labelling holds beside them; and 4 for a table of ids when segments
# are written. Labelling counts these, too: the blocks are cut when it is planned, and have to fit into memory once more.
_VOXEL_BYTES = 20
_JOIN_BYTES = 24  # for each component with an edge out of its block


def chosen_threshold(settings: SegmentationSettings, choice: Path | None) -> dict[str, Any]:
    """The content of a choice.json, or the threshold of the settings in its form."""
    chosen: dict[str, Any] = read_json(choice) if choice is not None else {"threshold": settings.threshold, "by": "settings"}
    if chosen["threshold"] is None:
        raise UserError("there is no threshold: give the choice of a sweep, or segmentation.threshold")
    return chosen


def label_volume(
    settings: SegmentationSettings, prediction: Path, volume: Volume, folder: Path, *, choice: Path | None, run: Run
) -> None:
    """Label the blocks, write how they join to segments, and last `folder/complete.json`; no voxels are written.

    Labelling is repeated when the segmentation is written, which is quicker than to write labels and read them again.
    """
    run_task(BlockLabelling(settings, prediction, volume, folder, chosen=chosen_threshold(settings, choice)), run)


class BlockLabelling:
    """A block gives its summary: which of its components lie at which edges to other blocks."""

    def __init__(
        self,
        settings: SegmentationSettings,
        prediction: Path,
        volume: Volume,
        folder: Path,
        *,
        chosen: Mapping[str, Any],
    ) -> None:
        self.name = f"label {volume.name}"
        self.folder = folder
        self.created: tuple[Path, ...] = ()
        self.last_file = folder / "complete.json"
        self.blocks = LabelledBlocks(settings, prediction, chosen["threshold"])
        self._chosen = chosen
        self._prediction = prediction

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["segment"]),
            "the smallest size": str(self.blocks.settings.min_size_vox),
            "the choice of the threshold": str(sorted(self._chosen.items())),
            "the prediction": content_of_complete(self._prediction),
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self.blocks.settings.block_vox}

    @property
    def n_blocks(self) -> int:
        return len(self.blocks.grid)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit."""
        demand = Demand(
            self.blocks.settings.block_vox, self.blocks.need_mb, setting="segmentation.block_vox", step_vox=SHARD_VOX
        )
        return crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)

    def create(self) -> None:
        """Nothing is written into."""

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(partial(self.summarise, threads=crew.threads), blocks, crew, name=self.name)

    def summarise(self, index: int, *, threads: int) -> list[Path]:
        path = _summary_file(self.folder, index)
        write_arrays(path, self.blocks.label(index, threads=threads).summary.arrays())
        return [path]

    def finish(self, budget: Budget) -> Finished:
        n_open = sum(len(summary.open_ids) for summary in self._summaries())
        need_mb = _JOIN_BYTES * n_open / 1e6
        if need_mb > budget.memory_mb:
            raise UserError(
                f"{self.name}: joining {n_open} components at the faces of blocks takes {need_mb:.0f} MB, but the memory "
                f"budget is {budget.memory_mb:.0f} MB; larger blocks (segmentation.block_vox) have fewer"
            )
        smallest = self.blocks.settings.min_size_vox
        joined = join_blocks(self.blocks.grid.counts, self._summaries(), min_size_vox=smallest)
        for name, array in asdict(joined).items():
            write_array(_joined_file(self.folder, name), array)
        files = [_joined_file(self.folder, name) for name in asdict(joined)]
        return Finished(files, {"choice": self._chosen, "n_segments": joined.n_segments})

    def _summaries(self) -> Iterator[BlockSummary]:
        return (read_summary(self.folder, index) for index in range(self.n_blocks))


class LabelledBlocks:
    """Any block of a volume, labelled. Equal whenever and wherever it is done."""

    def __init__(self, settings: SegmentationSettings, prediction: Path, threshold: float) -> None:
        self.settings = settings
        self.threshold = threshold
        self._path = prediction / AFFINITIES

    @property
    def affinities(self) -> zarr.Array:
        return open_affinities(self._path).array

    @cached_property
    def grid(self) -> BlockGrid:
        return BlockGrid(as_triple(self.affinities.shape[1:]), self.settings.block_vox)

    def need_mb(self, block_vox: Triple) -> float:
        """Memory to label one block, and to write its segments, in MB."""
        held = [min(b, n) for b, n in zip(block_vox, self.grid.shape_vox, strict=True)]
        return _VOXEL_BYTES * held[0] * held[1] * held[2] / 1e6

    def label(self, index: int, *, threads: int) -> BlockLabels:
        affinities, before, after = read_neighbour_affinities(self.affinities, self.grid[index].write_box)
        return label_block(
            affinities,
            self.threshold,
            goes_on_before=before,
            goes_on_after=after,
            min_size_vox=self.settings.min_size_vox,
            threads=threads,
        )


def read_summary(folder: Path, index: int) -> BlockSummary:
    """What BlockLabelling wrote of a block."""
    return BlockSummary.from_arrays(read_arrays(_summary_file(folder, index)))


def read_joined(folder: Path) -> JoinedBlocks:
    """How the blocks join, in arrays on disk."""
    names = ("ids_before", "open_before", "open_segments")
    return JoinedBlocks(**{name: map_array(_joined_file(folder, name)) for name in names})


def _summary_file(folder: Path, index: int) -> Path:
    return folder / "blocks" / f"{index}.npz"


def _joined_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"
