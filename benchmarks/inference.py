"""Blockwise inference against its own forward passes and against whole-volume inference, on random voxels; prints JSON.

forward_calls_ratio: passes of blockwise over those of whole-volume inference. wall_ratio: wall time from checkpoint and
volume on disk to complete affinities on disk, over the sum of the forward passes within it.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.artefacts import Budget, Run, run_task
from pipeline_lib.geometry import BlockGrid, Triple
from pipeline_lib.inference.checkpoint import load_trained_network
from pipeline_lib.inference.columns import columns_of, count_calls
from pipeline_lib.inference.patches import count_patches
from pipeline_lib.inference.predict import Prediction
from pipeline_lib.network import network_from_settings
from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.settings.networks import ResidualSymmetricUNet
from pipeline_lib.settings.scoring import InferenceSettings
from pipeline_lib.settings.stages import PredictStage
from pipeline_lib.volumes import Volume, create_array

COUNTED_SHAPE = (512, 1024, 1024)  # too long to run on a CPU; its passes are counted


def calls_ratio(shape: Triple, block: Triple, patch: Triple) -> float:
    columns = columns_of(BlockGrid(shape, block), patch)
    return sum(count_calls(column.box, shape, patch) for column in columns) / count_patches(shape, patch)


def untrained_checkpoint(path: Path, precision: str) -> Path:
    settings, targets = ResidualSymmetricUNet(), TargetSettings()
    module = network_from_settings(settings, out_channels=len(targets.offsets_vox))
    content = {"network": settings.model_dump(mode="json"), "targets": targets.model_dump(mode="json"), "in_channels": 1}
    torch.save({**content, "state_dict": module.state_dict(), "precision": precision, "step": 0}, path)
    return path


def random_volume(folder: Path, shape: Triple) -> Volume:
    volume = Volume(folder, "random", shape, (20.0, 20.0, 20.0))
    image = create_array(folder / volume.image_path, shape, "uint8", attributes={})
    image[:] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    volume.save()
    return volume


def measure(settings: PredictStage, shape: Triple, precision: str, folder: Path, *, device: str) -> dict[str, float]:
    checkpoint = untrained_checkpoint(folder / "checkpoint.ckpt", precision)
    volume = random_volume(folder / "volume", shape)
    passes_s: list[float] = []
    start = time.perf_counter()
    network = load_trained_network(checkpoint)
    forward = network.forward(logit_scale=settings.inference.logit_scale, device=device)

    def timed(patch: Tensor) -> Tensor:
        begin = time.perf_counter()
        values = forward(patch)
        if device == "cuda":
            torch.cuda.synchronize()
        passes_s.append(time.perf_counter() - begin)
        return values

    task = Prediction(settings, checkpoint, network, volume, folder / "prediction", device=device)
    task.forward = timed
    task.network_mb = lambda: 0.0  # which would try a patch, too
    run_task(task, Run(Budget(memory_mb=math.inf)))
    wall_s = time.perf_counter() - start
    return {
        "forward_calls": len(passes_s),
        "forward_calls_whole_volume": count_patches(shape, settings.patch_vox),
        "forward_calls_ratio": len(passes_s) / count_patches(shape, settings.patch_vox),
        "wall_s": wall_s,
        "forward_s": sum(passes_s),
        "wall_ratio": wall_s / sum(passes_s),
    }


def main() -> None:
    default_block = InferenceSettings().block_vox
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 256, 256), help="volume z y x (default: %(default)s)")
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), help="patch z y x (default: %(default)s)")
    parser.add_argument("--block", type=int, nargs=3, default=default_block, help="block z y x (default: %(default)s)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    told = parser.parse_args()
    shape, patch, block = tuple(told.shape), tuple(told.patch), tuple(told.block)
    torch.set_num_threads(told.threads)
    torch.manual_seed(0)
    settings = PredictStage(inference=InferenceSettings(block_vox=block), patch_vox=patch)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(settings, shape, told.precision, Path(folder), device=told.device)
    counted = {
        "shape": COUNTED_SHAPE,
        "block": default_block,
        "forward_calls_ratio": calls_ratio(COUNTED_SHAPE, default_block, patch),
    }
    facts = {
        "shape": shape,
        "patch": patch,
        "block": block,
        "precision": told.precision,
        "threads": told.threads,
        "device": told.device,
    }
    print(json.dumps({**facts, **measured, "counted": counted}, indent=1))


if __name__ == "__main__":
    main()
