"""Training from one step to another: a segment of a run that may have several."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
import yaml
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn

from pipeline_lib.artefacts import Budget, Lock, write_text
from pipeline_lib.errors import UserError
from pipeline_lib.network import build_network, within_gpu_memory
from pipeline_lib.settings.learning import TrainingSettings
from pipeline_lib.settings.stages import TrainStage, science
from pipeline_lib.training.callback import BetweenSteps, Reports, device_of
from pipeline_lib.training.checkpoint import load_checkpoint, publish, random_state
from pipeline_lib.training.data import BatchStream
from pipeline_lib.training.group import Group, joined, own_device
from pipeline_lib.training.identity import settings_digest
from pipeline_lib.training.interruption import StoppedError, StopRequest
from pipeline_lib.training.log import Progress, TrainingLog
from pipeline_lib.training.memory import check_memory
from pipeline_lib.training.module import AffinityTraining
from pipeline_lib.training.plan import resolve_plan
from pipeline_lib.training.sampling import PatchSampler
from pipeline_lib.training.validation import Validation
from pipeline_lib.volumes import Volume

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
LOCK_PATIENCE_S = 20.0


def train_segment(
    settings: TrainStage,
    train_volumes: Sequence[Volume],
    val_volumes: Sequence[Volume],
    model_folder: Path,
    *,
    end_step: int,
    previous: Path | None = None,
    budget: Budget | None = None,
    device: str = "auto",
    processes: int = 1,
    stop: StopRequest | None = None,
    patience_s: float = LOCK_PATIENCE_S,
) -> None:
    """Train up to `end_step` and write `model_folder/segments/<end_step>/checkpoint.ckpt`, complete or not at all.

    `previous` is the checkpoint of the segment before; without it training starts at step 0. A run that was killed goes on from
    `resume.ckpt` in the segment's folder and ends with the same weights. Without val volumes there is no validation loss.
    The threads of the budget are those of torch, on a GPU those of the workers; without a budget there is a thread, and
    memory as it may be. `device` is auto, cpu or cuda. `processes`: how many call this at once, see `joined`. Another training
    of the model is waited for `patience_s`.
    Raises UserError for data that cannot be learned from, for patches larger than the memory (of the GPU, too), for a loss that
    is NaN or infinite, and StoppedError, which is one too, when `stop` was asked to.
    """
    if not 0 < end_step <= settings.training.steps:
        raise ValueError(f"end_step must lie within 1 to {settings.training.steps}, got {end_step}")
    budget = budget or Budget(math.inf)
    on = own_device(device_of(device))
    torch.set_num_threads(1 if on.type == "cuda" else budget.threads)
    with ExitStack() as stack:
        group = stack.enter_context(joined(processes, on))
        _check_shares(settings.training, group)
        share = settings.training.batch_size // group.size
        patches = share // settings.training.accumulate
        stack.enter_context(_within_gpu_memory(settings.training, patches, on))
        train_sampler = _sampler(settings, train_volumes, stream=TRAINING_STREAM)
        val_sampler = _sampler(settings, val_volumes, stream=VALIDATION_STREAM) if val_volumes and group.is_first else None
        digest = settings_digest(settings, train_volumes, val_volumes)
        folder = model_folder / "segments" / str(end_step)
        if group.is_first:
            stack.enter_context(Lock(model_folder, what="train", patience_s=patience_s))
        group.meet(on)  # all look at what is there after another training of this model has ended
        stop = stack.enter_context(stop or StopRequest())
        stack.enter_context(_quiet_lightning())
        if group.most(_is_done(folder / "checkpoint.ckpt", digest), on):
            _say(f"{folder / 'checkpoint.ckpt'} is complete; nothing to do")
            return
        resumed = _state_to_resume(folder / "resume.ckpt", previous, digest, end_step)
        _check_agreement(group, resumed, on)
        if resumed is None or resumed["step"] < end_step:
            torch.manual_seed(settings.seed)
            network = _network(settings, resumed, group=group, device=on)
            workers = check_memory(
                network,
                settings.training,
                share=share,
                n_channels=len(settings.targets.offsets_vox),
                divisor_vox=settings.network.divisor_vox,
                budget=budget,
                on_gpu=on.type == "cuda",
            )
            if group.is_first:
                write_text(model_folder / "settings.yaml", yaml.safe_dump(science(settings), sort_keys=False))
            plan = partial(
                resolve_plan,
                model_folder / "plan.json",
                settings,
                network,
                patches=patches,
                digest=digest,
                device=on,
                resumed=resumed,
            )
            precision = _of_the_first(group, plan, on)
            module = AffinityTraining(
                _shared(network, group), settings.training, precision=precision, resumed=resumed, group=group
            )
            between = BetweenSteps(
                settings=settings,
                folder=folder,
                end_step=end_step,
                digest=digest,
                random=resumed["random"] if resumed else random_state(),
                reports=_reports(stack, module, model_folder, val_sampler, end_step) if group.is_first else None,
                stop=stop,
                group=group,
            )
            _fit(module, train_sampler, between, workers=workers, device=on)
            if between.stopped_at is not None:
                raise StoppedError(str(stop.received), step=between.stopped_at, end_step=end_step)
            settings_digest(settings, train_volumes, val_volumes)  # raises if a volume was changed meanwhile
        if group.is_first:
            publish(folder)


def _within_gpu_memory(settings: TrainingSettings, patches: int, device: torch.device) -> AbstractContextManager[None]:
    what = f"training with {patches} patches at a time of training.patch_vox {list(settings.patch_vox)}"
    return within_gpu_memory(
        what, device=device, otherwise="make them smaller, or let training.accumulate take a batch in parts"
    )


def _check_shares(settings: TrainingSettings, group: Group) -> None:
    if settings.batch_size % group.size:
        raise UserError(
            f"training.batch_size is {settings.batch_size}, which {group.size} processes cannot share evenly: "
            f"make it a multiple of {group.size}, or ask for other numbers of nodes and GPUs"
        )
    if settings.batch_size // group.size % settings.accumulate:
        raise UserError(
            f"training.accumulate is {settings.accumulate}, but a process has {settings.batch_size // group.size} patches of "
            "each batch: give a divisor of that"
        )


def _check_agreement(group: Group, resumed: dict[str, Any] | None, device: torch.device) -> None:
    """A disk that shows one process an older state would let each go on from another step."""
    step = 0 if resumed is None else int(resumed["step"])
    latest, earliest = group.most(step, device), -group.most(-step, device)
    if latest != earliest:
        raise UserError(f"the processes see different states, of steps {earliest:.0f} and {latest:.0f}; run again")


def _of_the_first(group: Group, plan: Callable[[], str], device: torch.device) -> str:
    """The precision that the first process resolves."""
    is_bfloat16 = group.most(group.is_first and plan() == "bfloat16", device)
    return "bfloat16" if is_bfloat16 else "float32"


def _reports(
    stack: ExitStack, module: AffinityTraining, model_folder: Path, val_sampler: PatchSampler | None, end_step: int
) -> Reports:
    log = TrainingLog(model_folder, module.resumed["log"] if module.resumed else None)
    stack.callback(log.close)
    progress = Progress(start_step=module.start_step, end_step=end_step)
    stack.callback(progress.close)
    return Reports(log, progress, Validation(val_sampler, module.settings.validation_patches) if val_sampler else None)


def _sampler(settings: TrainStage, volumes: Sequence[Volume], *, stream: int) -> PatchSampler:
    return PatchSampler(
        volumes,
        patch_vox=settings.training.patch_vox,
        targets=settings.targets,
        augmentation=settings.augment if stream == TRAINING_STREAM else None,
        seed=settings.seed,
        stream=stream,
    )


def _network(settings: TrainStage, resumed: dict[str, Any] | None, *, group: Group, device: torch.device) -> nn.Module:
    options = science(settings.network)
    network = build_network(options.pop("name"), in_channels=1, out_channels=len(settings.targets.offsets_vox), **options)
    if resumed is not None:
        network.load_state_dict(resumed["state_dict"])
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        return network
    if settings.training.accumulate > 1:
        raise UserError(
            "training.accumulate cannot be used with batch normalisation, whose statistics are those of a whole batch: set it "
            "to 1, or network.normalisation to group or instance"
        )
    if group.size > 1 and device.type != "cuda":
        raise UserError("several processes without GPUs cannot share batch normalisation: set network.normalisation to group")
    return network


def _shared(network: nn.Module, group: Group) -> nn.Module:
    """With batch statistics of all processes: from now on each forward pass in training is one that all of them make."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if group.size > 1 else network


def _fit(module: AffinityTraining, sampler: PatchSampler, between: BetweenSteps, *, workers: int, device: torch.device) -> None:
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        plugins=[LightningEnvironment()],  # else variables of a Slurm job would decide how many processes there are
        max_steps=between.end_step - module.start_step,
        max_epochs=1,
        callbacks=[between],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    batches = BatchStream(
        sampler,
        batch_size=module.settings.batch_size,
        start_step=module.start_step,
        end_step=between.end_step,
        workers=workers,
        pin_memory=device.type == "cuda",
        group=module.group,
    )
    with closing(batches):
        trainer.fit(module, batches)
    if between.stopped_at is None and module.step != between.end_step:
        raise RuntimeError(f"Lightning ended at step {module.step}, expected {between.end_step}")


def _is_done(checkpoint: Path, digest: str) -> bool:
    return checkpoint.exists() and load_checkpoint(checkpoint, mmap=True)["settings_digest"] == digest


def _state_to_resume(side: Path, previous: Path | None, digest: str, end_step: int) -> dict[str, Any] | None:
    """The side checkpoint if it belongs to this training, else `previous`, else None."""
    if side.exists():
        try:
            state = load_checkpoint(side)
        except UserError as error:
            _say(f"starting this segment again: {error}")
        else:
            if state["settings_digest"] == digest:
                _say(f"continuing at step {state['step']} from {side}")
                return state
            _say(f"starting this segment again: {side} was written with other settings")
    if previous is None:
        return None
    state = load_checkpoint(previous)
    if state["settings_digest"] != digest:
        raise UserError(f"{previous} was trained with other settings; train the segment before this one again")
    if state["step"] >= end_step:
        raise UserError(
            f"{previous} is at step {state['step']}, but this segment ends at step {end_step}; give an earlier checkpoint"
        )
    return state


def _say(message: str) -> None:
    print(f"train: {message}", file=sys.stderr, flush=True)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's banners and its advice on options that are chosen on purpose."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
