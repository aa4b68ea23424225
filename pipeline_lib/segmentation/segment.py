"""The segments of a volume, written block by block."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Demand, Finished, Run, compute_blocks, crew_for, read_json, run_task
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.components import JoinedBlocks, relabel
from pipeline_lib.segmentation.growth import BlockGrowth, check_growth
from pipeline_lib.segmentation.labelling import LabelledBlocks, read_joined
from pipeline_lib.segmentation.written import ARRAY, create_segmentation, finish_segmentation
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.scoring import SegmentationSettings
from pipeline_lib.volumes import Volume, open_array, write_box


def segment_volume(
    settings: SegmentationSettings, prediction: Path, volume: Volume, folder: Path, *, components: Path, run: Run
) -> None:
    """Write `segmentation.zarr/0` (z, y, x) uint32 or uint64, 0 = background, and then `complete.json` into `folder`.

    components: the folder that `label_volume` wrote. Segments have the ids 1..n, in the order of blocks and inside a block of
    their first voxels. Where they grow, they are written to `folder/ungrown` first; its last job lets them grow, in memory
    that is checked before the first block. With `max_blocks` they do not grow.
    """
    written = folder / "ungrown" if settings.grow_vox else folder
    run_task(BlockSegmentation(settings, prediction, volume, written, components=components), run)
    if not settings.grow_vox or run.step.kind not in ("finish", "all") or not (written / "complete.json").exists():
        return
    if run.max_blocks is not None:
        print(f"grow {volume.name}: left for a run without --max-blocks", file=sys.stderr, flush=True)
    else:
        run_task(BlockGrowth(settings, written, volume, folder), Run(run.budget))


class BlockSegmentation:
    """A block is labelled as it was before, and its ids become those of the segments."""

    def __init__(
        self, settings: SegmentationSettings, prediction: Path, volume: Volume, folder: Path, *, components: Path
    ) -> None:
        self.name = f"segment {volume.name}"
        self.folder = folder
        self.created = (folder / ARRAY / "zarr.json",)
        self.last_file = folder / "complete.json"
        self._labelled = read_json(components / "complete.json")
        self.blocks = LabelledBlocks(
            settings.model_copy(update={"block_vox": tuple(self._labelled["layout"]["block_vox"])}),
            prediction,
            self._labelled["choice"]["threshold"],
        )
        self._components = components
        self._prediction = prediction
        self._volume = volume
        self._settings = settings

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables on disk, which each process maps for itself: pickling would copy them."""
        return {name: value for name, value in vars(self).items() if name != "joined"}

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["segment"]),
            "the components": digest(content_of_complete(self._components), self._labelled["inputs"]),
            "the prediction": content_of_complete(self._prediction),
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self.blocks.settings.block_vox}

    @property
    def n_blocks(self) -> int:
        return len(self.blocks.grid)

    @cached_property
    def joined(self) -> JoinedBlocks:
        return read_joined(self._components)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit, or that could not grow."""
        if self._settings.grow_vox and run.step.kind in ("plan", "all"):
            check_growth(self._settings, self._volume, run.budget)
        block_vox = self.blocks.settings.block_vox
        demand = Demand(
            block_vox,
            self.blocks.need_mb,
            setting=f"{self.name}: a block of the components",
            step_vox=block_vox,
            otherwise=f"give it more memory, or delete {self._components} and label again with a smaller segmentation."
            "block_vox",
        )
        return crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)

    def create(self) -> None:
        dtype = str(self.joined.open_segments.dtype)
        create_segmentation(self.folder, self._volume, dtype, threshold=self.blocks.threshold)

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(partial(self.segment, threads=crew.threads), blocks, crew, name=self.name)

    def segment(self, index: int, *, threads: int) -> list[Path]:
        found = self.blocks.label(index, threads=threads)
        labels = relabel(found.labels, self.joined.table(index, found.summary), threads=threads)
        return write_box(open_array(self.folder / ARRAY, writable=True), self.blocks.grid[index].write_box, labels)

    def finish(self, budget: Budget) -> Finished:
        choice, n_segments = self._labelled["choice"], self._labelled["n_segments"]
        return finish_segmentation(self.folder, self._volume, choice=choice, n_segments=n_segments)
