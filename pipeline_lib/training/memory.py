"""What training holds in main memory, counted before the first step and without computing one."""

from __future__ import annotations

import copy
import math
import sys
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from pipeline_lib.artefacts.budget import PROCESS_MB, TORCH_MB, Budget, Demand, check_block, installed_memory_mb
from pipeline_lib.geometry import Triple
from pipeline_lib.settings.learning import TrainingSettings
from pipeline_lib.training.group import processes_here

MOST_WORKERS = 16  # unless more are asked for; 14 fed an H100 with batches of 8 patches of 128^3
LIGHTNING_MB = 150.0  # of Lightning and what it loads
_WEIGHT_BYTES = 5 * 4  # of a parameter: itself, its gradient, two moments of the optimizer, and the copy of a probe
_IN_USE = 2  # gradients of the largest kept tensor that a backward pass holds at once
_CHANNEL_BYTES = 14  # of each voxel and channel in a worker, its batch in work and two that wait: measured 10 to 11
_GPU_MB = 2000.0  # of CUDA and its libraries in main memory, taken from no measurement


def check_memory(
    network: nn.Module,
    settings: TrainingSettings,
    *,
    share: int,
    n_channels: int,
    divisor_vox: Triple,
    budget: Budget,
    on_gpu: bool,
) -> int:
    """How many workers to start beside the training process: as many as are wanted and fit; what was chosen is printed.

    share: how many patches of a batch are those of this process. n_channels: of the affinities. divisor_vox: what a patch is a
    multiple of. budget: of all processes on this machine; where its memory is infinite nothing is refused, and workers take
    what the machine or job has. on_gpu: the step is held there.
    Raises UserError for a step that does not fit, and names the largest patch that does.
    """
    patches = share // settings.accumulate
    is_known = not math.isinf(budget.memory_mb)
    memory_mb = (budget.memory_mb if is_known else installed_memory_mb()) / processes_here()
    wanted = _wanted_workers(settings, budget.threads, on_gpu=on_gpu)
    kept_mb, largest_mb = (_GPU_MB, 0.0) if on_gpu else kept_for_backward_mb(network, settings, patches)
    weights_mb = _WEIGHT_BYTES * sum(parameter.numel() for parameter in network.parameters()) / 1e6

    def need_mb(patch_vox: Triple) -> float:
        smaller = 1 if on_gpu else prod(patch_vox) / prod(settings.patch_vox)
        return TORCH_MB + LIGHTNING_MB + weights_mb + (kept_mb + _IN_USE * largest_mb) * smaller

    demand = Demand(
        settings.patch_vox,
        need_mb,
        setting=f"training with {patches} patches at a time of training.patch_vox",
        step_vox=divisor_vox,
        otherwise="no patch fits; give it more memory, or a smaller network",
    )
    step_mb = check_block(demand, Budget(memory_mb if is_known else math.inf))
    worker_mb = PROCESS_MB + LIGHTNING_MB + _CHANNEL_BYTES * n_channels * share * prod(settings.patch_vox) / 1e6
    workers = min(wanted, max(0, int((memory_mb - step_mb) // worker_mb)))
    shape = " x ".join(map(str, settings.patch_vox))
    print(
        f"train: steps of {patches} x {shape} voxels take {step_mb:.0f} MB, {workers} of {wanted} workers "
        f"{worker_mb:.0f} MB each, within {memory_mb:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return workers


def _wanted_workers(settings: TrainingSettings, threads: int, *, on_gpu: bool) -> int:
    """A GPU is faster than any one worker; processors that compute have nothing to spare for a second one."""
    if settings.workers is not None:
        return settings.workers
    return min(MOST_WORKERS, max(1, threads - 1)) if on_gpu else 1


def kept_for_backward_mb(network: nn.Module, settings: TrainingSettings, patches: int) -> tuple[float, float]:
    """What a forward pass leaves for the backward pass, and the largest tensor of that, in MB.

    On tensors without memory: they have shapes only. Where the precision is still to be probed, that of float32.
    """
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    trial = copy.deepcopy(network).to("meta", dtype).train()
    weights = {parameter.untyped_storage()._cdata for parameter in trial.parameters()}
    kept_bytes = {0: 0}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept_bytes[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = trial(torch.empty((patches, 1, *settings.patch_vox), device="meta", dtype=dtype))
    del output  # until here it holds what was kept, so that no storage is counted twice
    return sum(kept_bytes.values()) / 1e6, max(kept_bytes.values()) / 1e6
