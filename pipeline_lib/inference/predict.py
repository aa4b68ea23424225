"""Affinities of a volume on disk, block by block; a run that was killed goes on where it stood."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import zarr
from torch import Tensor
from tqdm import tqdm

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Demand, Finished, Run, crew_for, run_task
from pipeline_lib.artefacts.budget import TORCH_MB
from pipeline_lib.artefacts.measure import forget_peak_memory, peak_memory_mb
from pipeline_lib.artefacts.records import checksum
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.geometry.grid import Block
from pipeline_lib.inference.blending import Forward, blend_planes
from pipeline_lib.inference.checkpoint import TrainedNetwork, load_trained_network
from pipeline_lib.inference.columns import Column, columns_of, count_calls, memory_need_mb
from pipeline_lib.inference.flips import average_flips
from pipeline_lib.inference.patches import count_patches
from pipeline_lib.inference.quantise import clear_outgoing, quantised_layers
from pipeline_lib.network import within_gpu_memory
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.scoring import SHARD_VOX
from pipeline_lib.settings.stages import PredictStage, science
from pipeline_lib.volumes import Volume, open_array, write_box
from pipeline_lib.volumes.affinities import create_affinities

ARRAY = "affinities.zarr/0"


def predict_volume(
    settings: PredictStage,
    checkpoint: Path,
    volume: Volume,
    folder: Path,
    *,
    run: Run,
    device: str | None = None,
) -> None:
    """Write `folder/affinities.zarr/0`, uint8 (C, z, y, x), rounded to nearest, and last `folder/complete.json`.

    An edge that leads out of the volume is 0. Blocks that an earlier run finished with the same settings, checkpoint and volume
    are kept, and the result is the same to the bit. Another block size starts an unfinished prediction anew, and leaves a
    finished one alone. The threads of the budget are those of torch. device: as torch names it, default a GPU if there is one.
    Raises UserError for a checkpoint, patch or image that does not fit, a block larger than the memory (of the GPU, too), and
    for a network that gives NaN.
    """
    torch.set_num_threads(run.budget.threads)
    network = load_trained_network(checkpoint)
    try:
        network.settings.check_patch(settings.patch_vox)
    except ValueError as error:
        raise UserError(f"inference: {error}") from error
    prediction = Prediction(settings, checkpoint, network, volume, folder, device=device)
    with within_gpu_memory(
        f"predicting with inference.patch_vox {list(settings.patch_vox)}",
        device=torch.device(prediction.device),
        otherwise="make it smaller, or inference.block_vox",
    ):
        run_task(prediction, run)


class Prediction:
    """The blocks of one volume, numbered column by column and along z inside a column, so that a job has whole columns."""

    def __init__(
        self,
        settings: PredictStage,
        checkpoint: Path,
        network: TrainedNetwork,
        volume: Volume,
        folder: Path,
        *,
        device: str | None = None,
    ) -> None:
        self.name = f"predict {volume.name}"
        self.folder = folder
        self.created = (folder / ARRAY / "zarr.json",)
        self.last_file = folder / "complete.json"
        self.patch_vox = settings.patch_vox
        self.offsets_vox = network.offsets_vox
        self.image = _checked_image(volume)
        self.columns = columns_of(BlockGrid(volume.shape_vox, settings.inference.block_vox), settings.patch_vox)
        self._settings = settings
        self._checkpoint = checkpoint
        self._network = network
        self._volume = volume
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def inputs(self) -> Mapping[str, str]:
        if checksum(self._checkpoint) != self._network.checksum:
            raise UserError(
                f"{self.name}: the checkpoint {self._checkpoint} was replaced while it was used; run the workflow again"
            )
        return {
            "the code": str(ALGORITHM_VERSIONS["predict"]),
            "the settings": digest(science(self._settings)),
            "the checkpoint": self._network.checksum,
            f"volume {self._volume.name}": self._volume.state(),
        }

    @property
    def layout(self) -> Mapping[str, Any]:
        return {"block_vox": self._settings.inference.block_vox}

    @cached_property
    def blocks(self) -> list[Block]:
        return [block for column in self.columns for layer in column.layers for block in layer]

    @property
    def n_blocks(self) -> int:
        return len(self.blocks)

    @cached_property
    def forward(self) -> Forward:
        forward = self._network.forward(logit_scale=self._settings.inference.logit_scale, device=self.device)
        return average_flips(forward, self.offsets_vox) if self._settings.inference.test_time_flips else forward

    @property
    def forward_calls(self) -> int:
        """Patches to compute, those at the borders of columns counted for each; mirror images not counted."""
        return sum(count_calls(column.box, self._volume.shape_vox, self.patch_vox) for column in self.columns)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit; one process predicts, with all threads.

        The network is left out of a step without blocks, as that may run on a machine without the GPU of the others.
        """
        network_mb = self.network_mb() if run.step.kind != "plan" else 0.0

        def need_mb(block_vox: Triple) -> float:
            columns = columns_of(BlockGrid(self._volume.shape_vox, block_vox), self.patch_vox)
            return TORCH_MB + network_mb + memory_need_mb(columns, self.patch_vox, len(self.offsets_vox))

        told = f"with {network_mb:.0f} MB for the network at patch_vox {list(self.patch_vox)}"
        demand = Demand(
            self._settings.inference.block_vox,
            need_mb,
            setting=f"{told}, inference.block_vox" if network_mb else "inference.block_vox",
            step_vox=SHARD_VOX,
            otherwise=f"no multiple of {list(SHARD_VOX)} fits; give it more memory, or a smaller inference.patch_vox",
        )
        crew_for(demand, Budget(run.budget.memory_mb, threads=1), name=self.name, n_blocks=self.n_blocks)
        return Crew(1, run.budget.threads)

    def network_mb(self) -> float:
        """Main memory that one patch takes inside the network, in MB: tried with zeros. On a GPU there is none."""
        if torch.device(self.device).type != "cpu":
            return 0.0
        forget_peak_memory()
        before_mb = peak_memory_mb()
        self.forward(torch.zeros((1, 1, *self.patch_vox)))
        return peak_memory_mb() - before_mb

    def create(self) -> None:
        create_affinities(
            self.folder / ARRAY,
            self._volume.shape_vox,
            offsets_vox=self.offsets_vox,
            voxel_size_nm=self._volume.voxel_size_nm,
            logit_scale=self._settings.inference.logit_scale,
        )

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        wanted = {self.blocks[number].index: number for number in blocks}
        work = [(column, _layers_with(column, wanted)) for column in self.columns]
        work = [(column, layers) for column, layers in work if layers]
        boxes = [column.box_of(layers[0], layers[-1]) for column, layers in work]
        total = sum(count_calls(box, self._volume.shape_vox, self.patch_vox) for box in boxes)
        interval_s = 0.5 if sys.stderr.isatty() else 10.0
        with tqdm(total=total, desc=self.name, unit="patch", mininterval=interval_s, file=sys.stderr) as progress:

            def shown(patch: Tensor) -> Tensor:
                values = self.forward(patch)
                progress.update()
                return values

            for column, layers in work:
                yield from self._predict_column(shown, column, layers, wanted)

    def _predict_column(
        self, forward: Forward, column: Column, layers: Sequence[int], wanted: Mapping[int, int]
    ) -> Iterator[BlockDone]:
        """Sweep a column from its first to its last layer that holds wanted blocks: block index in the grid -> number."""
        array = open_array(self.folder / ARRAY, writable=True)
        swept = range(layers[0], layers[-1] + 1)
        n_channels, target = len(self.offsets_vox), column.box_of(swept[0], swept[-1])
        planes = blend_planes(
            self.image, forward, patch_vox=self.patch_vox, target=target, n_channels=n_channels, device=self.device
        )
        layer_boxes = [column.box_of(k, k) for k in swept]
        forget_peak_memory()
        start = time.perf_counter()
        for k, box, values in zip(swept, layer_boxes, quantised_layers(planes, layer_boxes), strict=True):
            clear_outgoing(values, self.offsets_vox, box=box, shape_vox=self._volume.shape_vox)
            here = [block for block in column.layers[k] if block.index in wanted]
            for block in here:
                files = write_box(array, block.write_box, values[(slice(None), *block.write_box.relative_to(box).slices)])
                wall_s = round((time.perf_counter() - start) / len(here), 3)
                yield BlockDone(wanted[block.index], tuple(files), wall_s, round(peak_memory_mb(), 1))
            start = time.perf_counter()

    def finish(self, budget: Budget) -> Finished:
        facts = {
            "shape": [len(self.offsets_vox), *self._volume.shape_vox],
            "offsets_vox": [list(offset) for offset in self.offsets_vox],
            "forward_calls": self.forward_calls,
            "forward_calls_whole_volume": count_patches(self._volume.shape_vox, self.patch_vox),
        }
        return Finished(facts=facts)


def _layers_with(column: Column, wanted: Mapping[int, int]) -> list[int]:
    return [k for k, blocks in enumerate(column.layers) if any(block.index in wanted for block in blocks)]


def _checked_image(volume: Volume) -> zarr.Array:
    image = volume.image()
    if image.dtype != "uint8":
        where = volume.folder / volume.image_path
        raise UserError(f"{where}: expected an image of uint8, got {image.dtype}; import the volume again")
    return image
