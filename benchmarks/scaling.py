"""From affinities to metrics, and import and prediction, at several sizes: throughput and memory must not depend on the size.

The volumes are tiles of synthetic tissue, each a world of its own, whose size no block is a multiple of; so blocks cut through
neurites everywhere. Each stage is the command that the workflow runs, in a process of its own with its workers. Memory is the
sum of the most that each of these processes has held (VmHWM), of those that live at once. A small volume, which does not count,
comes first. Blocks of prediction are smaller than by default, so that the smallest volume fills them, too. Prints a table, JSON
on demand.

python benchmarks/scaling.py --shape 512 512 512 --shape 1024 1024 1024 --shape 1536 1024 1024
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pipeline_lib.affinity import encode_affinities
from pipeline_lib.artefacts import Budget, Run, run_task, write_json
from pipeline_lib.geometry import BlockGrid, Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, InferenceSettings, SegmentationSettings
from pipeline_lib.settings.stages import EvaluateStage, ImportStage, PredictStage, SegmentStage, SweepStage
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.synthetic.volume import generate
from pipeline_lib.volumes import Volume, create_array, write_box
from pipeline_lib.volumes.affinities import create_affinities

SIZE_NM = (20.0, 20.0, 20.0)
TILE_VOX: Triple = (150, 170, 190)
WRITE_VOX: Triple = (256, 256, 256)
OFFSETS: tuple[Triple, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
PATCH_VOX: Triple = (64, 64, 64)
PREDICT_BLOCK_VOX: Triple = (128, 512, 512)
_POLL_S = 0.1


class Tissue:
    """An endless volume of tiles: any box of it, without the rest."""

    def __init__(self, seed: int = 0) -> None:
        made = generate(TILE_VOX, voxel_size_nm=SIZE_NM, seed=seed)
        self.image, self.labels, self.skeletons = made.image, made.labels, made.skeletons
        self.n_labels = int(made.labels.max())
        rng = np.random.default_rng(seed)
        inside = encode_affinities(made.labels, OFFSETS).affinities
        # Smooth noise, which loses edges inside neurites and finds some between them, and a little for each edge by itself.
        noise = np.stack([gaussian_filter(rng.normal(size=TILE_VOX), 1.5, mode="wrap") for _ in range(3)])
        logits = np.where(inside, 9.0, -9.0) + 4.0 * noise / noise.std() + rng.normal(scale=0.3, size=noise.shape)
        self.affinities = np.rint(255 / (1 + np.exp(-0.2 * logits))).astype(np.uint8)
        for axis in range(3):
            np.moveaxis(self.affinities[axis], axis, 0)[-1] = 0

    def read(self, box: Box, kind: str) -> np.ndarray:
        """kind: "image", "labels" or "affinities"."""
        source = getattr(self, kind)
        result = np.empty((*source.shape[:-3], *box.shape_vox), source.dtype)
        for tile, place in self._tiles(box):
            part = place.clipped(box)
            values = source[(..., *part.relative_to(place).slices)]
            if kind == "labels":
                values = np.where(values > 0, values + np.uint32(tile * self.n_labels), 0)
            result[(..., *part.relative_to(box).slices)] = values
        return result

    def skeletons_in(self, shape_vox: Triple) -> Skeletons:
        """Of all tiles; nodes outside and their edges are left out."""
        positions, ids, edges, n_nodes = [], [], [], 0
        for tile, place in self._tiles(Box.of_shape(shape_vox)):
            at_nm = self.skeletons.node_positions_nm + np.multiply(place.start_vox, SIZE_NM)
            inside = np.all(at_nm < np.multiply(shape_vox, SIZE_NM), axis=1)
            new = np.cumsum(inside) - 1 + n_nodes
            positions.append(at_nm[inside])
            ids.append(self.skeletons.node_skeleton_ids[inside] + tile * self.n_labels)
            edges.append(new[self.skeletons.edges[inside[self.skeletons.edges].all(axis=1)]])
            n_nodes += int(inside.sum())
        return Skeletons(np.concatenate(positions), np.concatenate(ids), np.concatenate(edges))

    def _tiles(self, box: Box) -> Iterator[tuple[int, Box]]:
        """The tiles that meet a box, numbered over a volume of up to 100 tiles along each axis."""
        spans = (range(a // n, -(-b // n)) for a, b, n in zip(box.start_vox, box.stop_vox, TILE_VOX, strict=True))
        for z, y, x in product(*spans):
            yield (z * 100 + y) * 100 + x, Box.of_shape(TILE_VOX).shifted(np.multiply((z, y, x), TILE_VOX).tolist())


def write_inputs(tissue: Tissue, shape: Triple, folder: Path) -> None:
    """An imported volume and a prediction as the stages leave them, and an HDF5 file to import."""
    volume, prediction = folder / "volume", folder / "prediction"
    attributes = {"axes": "zyx", "voxel_size_nm": list(SIZE_NM)}
    image = create_array(volume / "image.zarr" / "0", shape, "uint8", attributes=attributes)
    labels = create_array(volume / "labels.zarr" / "0", shape, "uint32", attributes=attributes)
    affinities = create_affinities(
        prediction / "affinities.zarr" / "0", shape, offsets_vox=OFFSETS, voxel_size_nm=SIZE_NM, logit_scale=0.2
    )
    with h5py.File(folder / "source.h5", "w") as file:
        file.attrs["voxel_size_nm"] = SIZE_NM
        for name, dtype in (("image", "uint8"), ("labels", "uint32")):
            file.create_dataset(name, shape, dtype, chunks=(32, 128, 128))
        for block in BlockGrid(shape, WRITE_VOX):
            box = block.write_box
            for name, array in (("image", image), ("labels", labels)):
                values = tissue.read(box, name)
                write_box(array, box, values)
                file[name][box.slices] = values
            write_box(affinities, box, tissue.read(box, "affinities"))
    save_skeletons(volume / "skeletons.npz", tissue.skeletons_in(shape))
    Volume(volume, "tissue", shape, SIZE_NM, labels_path="labels.zarr/0", skeletons_path="skeletons.npz").save()
    write_json(prediction / "complete.json", {"content": "tissue"})


def agglomeration(folder: Path) -> dict[str, list[str]]:
    """The commands from affinities to metrics, in their order."""
    segmentation, evaluation = SegmentationSettings(), EvaluationSettings()
    sweep = SweepStage(segmentation=segmentation, choice=ChoiceSettings(), evaluation=evaluation)
    chosen = SegmentStage(segmentation=segmentation).model_dump_json()
    prediction, volume = folder / "prediction" / "complete.json", folder / "volume" / "volume.json"
    choice, parts = folder / "sweep" / "choice.json", folder / "segmentation" / "components" / "complete.json"
    common = ["--prediction", prediction, "--volume", volume]
    told = EvaluateStage(name="tissue", split="val", evaluation=evaluation).model_dump_json()
    segments, metrics = folder / "segmentation" / "complete.json", folder / "evaluation" / "metrics.json"
    commands = {
        "sweep": [*common, "--output", folder / "sweep" / "curve.json", "--settings", sweep.model_dump_json()],
        "choose-threshold": [
            *("--curve", folder / "sweep" / "curve.json"),
            *("--output", choice, "--settings", sweep.model_dump_json()),
        ],
        "label": [*common, "--choice", choice, "--output", parts, "--settings", chosen],
        "segment": [*common, "--components", parts, "--output", segments, "--settings", chosen],
        "evaluate": ["--segmentation", segments, "--volume", volume, "--output", metrics, "--settings", told],
    }
    return {name: ["-m", "pipeline_lib", name, *map(str, words)] for name, words in commands.items()}


def before_agglomeration(folder: Path, shape: Triple, budget: Budget) -> dict[str, list[str]]:
    """Import of the HDF5 file, and prediction of the volume with a network that does nothing."""
    arrays = {name: {"path": str(folder / "source.h5"), "array": name} for name in ("image", "labels")}
    skeletons = str(folder / "volume" / "skeletons.npz")
    stage = ImportStage(name="tissue", volume={"split": "train", "skeletons": skeletons, **arrays})
    output = str(folder / "imported" / "volume.json")
    predict = [str(Path(__file__)), "--predict", str(folder), "--memory-mb", str(budget.memory_mb)]
    return {
        "import": ["-m", "pipeline_lib", "import", "--output", output, "--settings", stage.model_dump_json()],
        "predict": [*predict, "--threads", str(budget.threads)],
    }


def predict_nothing(folder: Path, budget: Budget) -> None:
    """Prediction with all that surrounds the network: the patch itself becomes the affinities."""
    from pipeline_lib.artefacts.records import checksum
    from pipeline_lib.inference.checkpoint import TrainedNetwork
    from pipeline_lib.inference.predict import Prediction
    from pipeline_lib.settings.networks import ResidualSymmetricUNet

    class Nothing(torch.nn.Module):
        def forward(self, patch: Tensor) -> Tensor:
            return patch.expand(1, len(OFFSETS), *patch.shape[2:])

    checkpoint = folder / "nothing.ckpt"
    checkpoint.write_bytes(b"nothing")
    network = TrainedNetwork(Nothing(), ResidualSymmetricUNet(), OFFSETS, "float32", checksum(checkpoint))
    torch.set_num_threads(budget.threads)
    settings = PredictStage(inference=InferenceSettings(block_vox=PREDICT_BLOCK_VOX), patch_vox=PATCH_VOX)
    task = Prediction(settings, checkpoint, network, Volume.open(folder / "volume"), folder / "predicted")
    task.forward = network.module
    run_task(task, Run(budget))


def measured(command: list[str], budget: Budget) -> dict[str, float]:
    """Seconds and MB of one command with all its processes."""
    peak_mb, done = 0.0, threading.Event()
    held_mb: dict[int, float] = {}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True)

    def watch() -> None:
        nonlocal peak_mb
        while not done.wait(_POLL_S):
            living = tree(process.pid)
            for pid in living:
                held_mb[pid] = max(held_mb.get(pid, 0.0), most_held_mb(pid))
            peak_mb = max(peak_mb, sum(held_mb[pid] for pid in living))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, shown = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{shown}")
    return {"wall_s": time.perf_counter() - start, "peak_mb": peak_mb}


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    try:
        tasks = list(Path(f"/proc/{root}/task").iterdir())
        children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return []
    return [root, *(pid for child in children for pid in tree(child))]


def most_held_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def measure(tissue: Tissue, shape: Triple, budget: Budget, folder: Path, *, only: str | None) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    write_inputs(tissue, shape, folder)
    limits = ["--memory-mb", str(budget.memory_mb), "--threads", str(budget.threads)]
    groups = {"agglomeration": agglomeration(folder), "before": before_agglomeration(folder, shape, budget)}
    result: dict[str, Any] = {"shape": list(shape), "stages": {}}
    for group, commands in groups.items():
        if only not in (None, group):
            continue
        for name, command in commands.items():
            more = [] if name in ("choose-threshold", "predict") else limits
            result["stages"][name] = measured([*command, *more], budget)
        parts = [result["stages"][name] for name in commands]
        result[group] = {
            "mvoxel_per_s": prod(shape) / 1e6 / sum(part["wall_s"] for part in parts),
            "peak_mb": max(part["peak_mb"] for part in parts),
        }
    if only != "before":
        result["metrics"] = json.loads((folder / "evaluation" / "metrics.json").read_text())["skeletons"]["nerl"]
    return result


def compared(results: list[dict[str, Any]], group: str) -> dict[str, float]:
    """The largest volume against the smallest, and how far peaks are apart."""
    rates, peaks = ([found[group][key] for found in results] for key in ("mvoxel_per_s", "peak_mb"))
    return {
        "rate_of_largest_over_smallest": rates[-1] / rates[0],
        "highest_over_lowest_peak": max(peaks) / min(peaks),
        "peak_mb": max(peaks),
    }


def show(result: dict[str, Any]) -> None:
    shape = " x ".join(map(str, result["shape"]))
    for name, found in result["stages"].items():
        rate = prod(result["shape"]) / 1e6 / found["wall_s"]
        print(f"{shape:>18}  {name:16} {found['wall_s']:8.1f} s {rate:8.1f} Mvoxel/s {found['peak_mb']:8.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, action="append", help="z y x; repeat, smallest first")
    parser.add_argument("--memory-mb", type=float, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("agglomeration", "before"), help="before: import and prediction")
    parser.add_argument("--folder", type=Path, help="for the volumes; default: a temporary one")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--predict", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    budget = Budget(told.memory_mb, told.threads)
    if told.predict:
        predict_nothing(told.predict, budget)
        return
    tissue, results = Tissue(), []
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        measure(tissue, (128, 256, 256), budget, Path(folder) / "volume", only=told.only)  # compiles
        for shape in told.shape or [(512, 512, 512)]:
            results.append(measure(tissue, as_triple(shape), budget, Path(folder) / "volume", only=told.only))
            show(results[-1])
    groups = [told.only] if told.only else ["agglomeration", "before"]
    figures = {"memory_mb": told.memory_mb, "threads": told.threads, "sizes": results}
    figures |= {group: compared(results, group) for group in groups}
    print(json.dumps({group: figures[group] for group in groups}, indent=1))
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
