"""Segmentations whose filling has no end at a block's border: the volume is held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Finished, Run, compute_blocks, read_json, run_task, write_json
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.components import segment_affinities
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.segmentation.labelling import AFFINITIES, chosen_threshold
from pipeline_lib.segmentation.written import ARRAY, create_segmentation, finish_segmentation
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.scoring import SegmentationSettings
from pipeline_lib.settings.stages import science
from pipeline_lib.volumes import Volume, open_array, write_box
from pipeline_lib.volumes.affinities import open_affinities

_VOXEL_BYTES = 32


def segment_whole_volume(
    settings: SegmentationSettings, prediction: Path, volume: Volume, folder: Path, *, choice: Path | None, run: Run
) -> None:
    """As segment_volume, for `flood` and `dust: give`; UserError for a volume that does not fit into the memory budget."""
    run_task(WholeSegmentation(settings, prediction, volume, folder, chosen=chosen_threshold(settings, choice)), run)


class WholeSegmentation:
    """One block, which is the volume."""

    n_blocks = 1
    layout: Mapping[str, Any] = {}

    def __init__(
        self,
        settings: SegmentationSettings,
        prediction: Path,
        volume: Volume,
        folder: Path,
        *,
        chosen: Mapping[str, Any],
    ) -> None:
        self.name = f"segment {volume.name}"
        self.folder = folder
        self.created = (folder / ARRAY / "zarr.json",)
        self.last_file = folder / "complete.json"
        self._settings = settings
        self._prediction = prediction
        self._volume = volume
        self._chosen = chosen

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["segment"]),
            "the settings": digest(science(self._settings)),
            "the choice of the threshold": str(sorted(self._chosen.items())),
            "the prediction": content_of_complete(self._prediction),
        }

    def prepare(self, run: Run) -> Crew:
        """UserError for a volume that does not fit."""
        need_mb = PROCESS_MB + _VOXEL_BYTES * float(np.prod(self._volume.shape_vox)) / 1e6
        if need_mb > run.budget.memory_mb:
            why = "segmentation.flood" if self._settings.flood else "segmentation.dust: give"
            raise UserError(
                f"{why} holds the volume {self._volume.name} in memory, {need_mb:.0f} MB, but the memory budget is "
                f"{run.budget.memory_mb:.0f} MB; segmentation.grow_vox and dust: drop work block by block"
            )
        return Crew(workers=1, threads=run.budget.threads)

    def create(self) -> None:
        dtype = "uint32" if np.prod(self._volume.shape_vox) < 2**32 else "uint64"
        create_segmentation(self.folder, self._volume, dtype, threshold=self._chosen["threshold"])

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.segment, blocks, crew, name=self.name)

    def segment(self, index: int) -> list[Path]:
        affinities = np.asarray(open_affinities(self._prediction / AFFINITIES).array[:3])
        labels = segment_affinities(affinities, self._chosen["threshold"], **self._settings.after_labelling)
        path = self.folder / "n_segments.json"
        write_json(path, int(labels.max(initial=0)))
        box = Box.of_shape(self._volume.shape_vox)
        return [*write_box(open_array(self.folder / ARRAY, writable=True), box, labels), path]

    def finish(self, budget: Budget) -> Finished:
        n_segments = read_json(self.folder / "n_segments.json")
        return finish_segmentation(self.folder, self._volume, choice=self._chosen, n_segments=n_segments)
