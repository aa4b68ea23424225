"""The sweep of segmentations that are more than components: each threshold is segmented in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Finished, Run, compute_blocks
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.artefacts.complete import content_of_complete
from pipeline_lib.artefacts.npz import read_arrays, write_arrays
from pipeline_lib.components import finish_components, sweep_thresholds
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation.curve import CURVE_FILE, TriedThreshold, write_tried
from pipeline_lib.evaluation.scoring import GroundTruth
from pipeline_lib.metrics import LabelScores, LabelTally, score_skeletons
from pipeline_lib.metrics.contingency import Contingency, tabulate
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.stages import SweepStage, science
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities

_VOXEL_BYTES = 48


class WholeSweep:
    """Blocks are thresholds: each gives the table of true labels and segments, and the segments at skeleton nodes."""

    layout: Mapping[str, Any] = {}

    def __init__(self, settings: SweepStage, prediction: Path, volume: Volume, folder: Path) -> None:
        self.name = f"sweep {volume.name}"
        self.folder = folder
        self.created: tuple[Path, ...] = ()
        self.last_file = folder / CURVE_FILE
        self.truth = GroundTruth(volume, settings.evaluation)
        self._settings = settings
        self._prediction = prediction
        self._volume = volume

    @property
    def thresholds(self) -> tuple[float, ...]:
        tried = self._settings.choice.thresholds
        if tried == "all":
            raise ValueError("all thresholds can be tried of components only")
        return tried

    @property
    def n_blocks(self) -> int:
        return len(self.thresholds)

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["sweep"]),
            "the settings": digest(science(self._settings)),
            "the prediction": content_of_complete(self._prediction),
            f"volume {self._volume.name}": self._volume.state(),
        }

    def prepare(self, run: Run) -> Crew:
        """UserError for a volume that does not fit."""
        need_mb = PROCESS_MB + _VOXEL_BYTES * float(np.prod(self._volume.shape_vox)) / 1e6
        if need_mb > run.budget.memory_mb:
            raise UserError(
                f"{self.name}: trying thresholds for segments that grow, flood or take in dust holds the volume in memory, "
                f"{need_mb:.0f} MB, but the memory budget is {run.budget.memory_mb:.0f} MB; give segmentation.threshold, or a "
                "smaller val volume"
            )
        return Crew(workers=1, threads=run.budget.threads)

    def create(self) -> None:
        """Nothing is written into."""

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        affinities = np.asarray(open_affinities(self._prediction / "affinities.zarr" / "0").array[:3])
        lowest = min(self.thresholds[index] for index in blocks)
        sweep = sweep_thresholds(affinities, lowest=lowest, threads=crew.threads)
        nodes = tuple(self.truth.node_voxels().T)
        truth = self.truth.voxels_of(self.truth.grid(self._volume.shape_vox)[0])

        def try_threshold(index: int) -> list[Path]:
            labels = sweep.labels_at(self.thresholds[index])
            labels = finish_components(labels, affinities, **self._settings.segmentation.after_labelling)
            arrays = {
                "n_segments": np.array(labels.max(initial=0)),
                "node_segments": labels[nodes],
            }
            if truth is not None:
                arrays |= tabulate(truth.labels, labels, where=truth.scored).cells()
            write_arrays(self._file(index), arrays)
            return [self._file(index)]

        yield from compute_blocks(try_threshold, blocks, crew, name=self.name)

    def _file(self, index: int) -> Path:
        return self.folder / "blocks" / f"{index}.npz"

    def finish(self, budget: Budget) -> Finished:
        tried = (self._scores(index) for index in tqdm(range(self.n_blocks), desc="scores", unit="threshold"))
        write_tried(self.folder, self._volume.name, tried, levels=None)
        return Finished([self.last_file])

    def _scores(self, index: int) -> TriedThreshold:
        arrays = read_arrays(self._file(index))
        n_segments, nodes = int(arrays.pop("n_segments")), arrays.pop("node_segments")
        skeletons = voxels = None
        if self.truth.skeletons is not None:
            tolerance = self._settings.evaluation.merge_tolerance
            skeletons = score_skeletons(self.truth.skeletons, nodes, merge_tolerance=tolerance)
        if self.truth.has_voxels:
            voxels = LabelScores.from_tally(LabelTally.of(Contingency.of_cells(**arrays)), self.truth.rule)
        return TriedThreshold(self.thresholds[index], n_segments, skeletons, voxels)
