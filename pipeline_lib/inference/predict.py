"""Affinities of a volume on disk, block by block; a run that was killed goes on where it stood."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import zarr
from torch import Tensor
from tqdm import tqdm

from pipeline_lib.artefacts import ShardStore, read_json, write_json
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.inference.blending import Forward, blend_planes
from pipeline_lib.inference.checkpoint import TrainedNetwork, load_trained_network
from pipeline_lib.inference.columns import Column, columns_of, count_calls, memory_need_mb
from pipeline_lib.inference.flips import average_flips
from pipeline_lib.inference.patches import count_patches
from pipeline_lib.inference.quantise import clear_outgoing, quantised_layers
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.stages import PredictStage, science
from pipeline_lib.volumes import Volume, write_box
from pipeline_lib.volumes.affinities import create_affinities

ARRAY = "affinities.zarr/0"


@dataclass(frozen=True)
class Prediction:
    """What is to be written where, and which of its blocks are done."""

    name: str
    image: zarr.Array
    array_path: Path
    store: ShardStore
    grid: BlockGrid
    patch_vox: Triple
    offsets_vox: tuple[Triple, ...]

    @property
    def columns(self) -> list[Column]:
        return columns_of(self.grid, self.patch_vox)

    @property
    def forward_calls(self) -> int:
        """Patches to compute, those at the borders of columns counted for each; mirror images not counted."""
        return sum(count_calls(column.box, self.grid.shape_vox, self.patch_vox) for column in self.columns)

    @property
    def is_complete(self) -> bool:
        return self._has_array and _holds(self.store.complete_path, {"digest": self.store.digest})

    def is_planned(self, plan: dict[str, Any]) -> bool:
        return self._has_array and _holds(self.store.folder / "plan.json", plan)

    @property
    def _has_array(self) -> bool:
        return (self.array_path / "zarr.json").is_file()


def predict_volume(
    settings: PredictStage,
    checkpoint: Path,
    volume: Volume,
    folder: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
) -> None:
    """Write `folder/affinities.zarr/0`, uint8 (C, z, y, x), rounded to nearest, and last `folder/complete.json`.

    An edge that leads out of the volume is 0. Blocks that an earlier run finished with the same settings, checkpoint and volume
    are kept, and the result is the same to the bit. Another block size starts an unfinished prediction anew, and leaves a
    finished one alone. The caller owns `folder` (`Lock`).
    threads: of torch, by default its own choice. device: as torch names it, by default a GPU if there is one.
    Raises UserError for a checkpoint, patch or image that does not fit, and for a network that gives NaN.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = load_trained_network(checkpoint)
    try:
        network.settings.check_patch(settings.patch_vox)
    except ValueError as error:
        raise UserError(f"inference: {error}") from error
    forward = network.forward(logit_scale=settings.inference.logit_scale, device=device)
    if settings.inference.test_time_flips:
        forward = average_flips(forward, network.offsets_vox)
    run_prediction(plan_prediction(settings, checkpoint, network, volume, folder), forward, device=device)


def plan_prediction(
    settings: PredictStage, checkpoint: Path, network: TrainedNetwork, volume: Volume, folder: Path
) -> Prediction:
    """Create the array and then `plan.json`, unless an equal plan is there; input that does not fit leaves nothing behind."""
    store = ShardStore(folder, _digest(settings, checkpoint, volume))
    grid = BlockGrid(volume.shape_vox, settings.inference.block_vox)
    offsets = network.offsets_vox
    job = Prediction(volume.name, _checked_image(volume), folder / ARRAY, store, grid, settings.patch_vox, offsets)
    _check_memory(job)
    plan = {
        "digest": store.digest,
        "shape_vox": list(grid.shape_vox),
        "block_vox": list(grid.block_vox),
        "patch_vox": list(job.patch_vox),
        "offsets_vox": [list(offset) for offset in offsets],
        "forward_calls": job.forward_calls,
        "forward_calls_whole_volume": count_patches(grid.shape_vox, job.patch_vox),
    }
    if not job.is_complete and not job.is_planned(plan):
        _forget(folder)
        scale, size_nm = settings.inference.logit_scale, volume.voxel_size_nm
        create_affinities(job.array_path, grid.shape_vox, offsets_vox=offsets, voxel_size_nm=size_nm, logit_scale=scale)
        write_json(folder / "plan.json", plan)
    return job


def run_prediction(job: Prediction, forward: Forward, *, device: str = "cpu") -> None:
    """Predict the blocks that are missing, column by column, and declare the array complete."""
    if job.is_complete:
        return
    work = [(column, _missing_layers(column, job.store)) for column in job.columns]
    work = [(column, layers) for column, layers in work if layers]
    boxes = [column.box_of(layers[0], layers[-1]) for column, layers in work]
    total = sum(count_calls(box, job.grid.shape_vox, job.patch_vox) for box in boxes)
    interval_s = 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(total=total, desc=f"predict {job.name}", unit="patch", mininterval=interval_s, file=sys.stderr) as progress:

        def shown(patch: Tensor) -> Tensor:
            values = forward(patch)
            progress.update()
            return values

        for column, layers in work:
            _predict_column(job, shown, column, layers, device=device)
    shape = [len(job.offsets_vox), *job.grid.shape_vox]
    offsets = [list(offset) for offset in job.offsets_vox]
    job.store.finish(len(job.grid), shape=shape, offsets_vox=offsets, forward_calls=job.forward_calls)


def _missing_layers(column: Column, store: ShardStore) -> list[int]:
    return [k for k, blocks in enumerate(column.layers) if store.missing(block.index for block in blocks)]


def _predict_column(job: Prediction, forward: Forward, column: Column, missing: Sequence[int], *, device: str) -> None:
    """Sweep a column from its first to its last missing layer."""
    array = zarr.open_array(store=job.array_path, mode="r+")
    layers = range(missing[0], missing[-1] + 1)
    n_channels, target = len(job.offsets_vox), column.box_of(layers[0], layers[-1])
    planes = blend_planes(job.image, forward, patch_vox=job.patch_vox, target=target, n_channels=n_channels, device=device)
    boxes = [column.box_of(k, k) for k in layers]
    for k, box, values in zip(layers, boxes, quantised_layers(planes, boxes), strict=True):
        if k not in missing:
            continue
        clear_outgoing(values, job.offsets_vox, box=box, shape_vox=job.grid.shape_vox)
        for block in column.layers[k]:
            write_box(array, block.write_box, values[(slice(None), *block.write_box.relative_to(box).slices)])
            job.store.record(block.index)


def _checked_image(volume: Volume) -> zarr.Array:
    image = volume.image()
    if image.dtype != "uint8":
        where = volume.folder / volume.image_path
        raise UserError(f"{where}: expected an image of uint8, got {image.dtype}; import the volume again")
    return image


def _check_memory(job: Prediction) -> None:
    need_mb = memory_need_mb(job.columns, job.patch_vox, len(job.offsets_vox))
    installed_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    if need_mb > installed_mb:
        need = f"inference.block_vox {list(job.grid.block_vox)} takes {need_mb:.0f} MB"
        raise UserError(f"{need}, this machine has {installed_mb:.0f} MB; make the block smaller in y or x")


def _digest(settings: PredictStage, checkpoint: Path, volume: Volume) -> str:
    with checkpoint.open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    facts = [volume.folder.name, list(volume.shape_vox), list(volume.voxel_size_nm), volume.content]
    return digest(ALGORITHM_VERSIONS["predict"], science(settings), weights, facts)


def _holds(path: Path, facts: dict[str, Any]) -> bool:
    """Whether the JSON file is there and says all of `facts`."""
    try:
        content = read_json(path)
    except UserError:
        return False
    return isinstance(content, dict) and all(content.get(key) == value for key, value in facts.items())


def _forget(folder: Path) -> None:
    """Remove what an earlier plan left; the plan goes first, so that a kill on the way leaves no plan without its records."""
    try:
        for name in ("complete.json", "plan.json"):
            (folder / name).unlink(missing_ok=True)
        if (folder / "shards").exists():
            shutil.rmtree(folder / "shards")
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error
