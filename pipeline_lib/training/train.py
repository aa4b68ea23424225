"""Training from one step to another: a segment of a run that may have several."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
import yaml
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn

from pipeline_lib.artefacts import Lock, write_text
from pipeline_lib.errors import UserError
from pipeline_lib.network import build_network
from pipeline_lib.settings.stages import TrainStage, science
from pipeline_lib.training.callback import BetweenSteps, device_of
from pipeline_lib.training.checkpoint import load_checkpoint, publish, random_state
from pipeline_lib.training.data import BatchStream
from pipeline_lib.training.interruption import StopRequest
from pipeline_lib.training.log import Progress, TrainingLog
from pipeline_lib.training.module import AffinityTraining
from pipeline_lib.training.plan import resolve_plan, settings_digest
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
    threads: int = 1,
    device: str = "auto",
) -> None:
    """Train up to `end_step` and write `model_folder/segments/<end_step>/checkpoint.ckpt`, complete or not at all.

    `previous` is the checkpoint of the segment before; without it training starts at step 0. A run that was killed goes on from
    `resume.ckpt` in the segment's folder and ends with the same weights. Without val volumes there is no validation loss.
    `threads` are those of torch; `device` is auto, cpu or cuda. Raises UserError for data that cannot be learned from, for a
    loss that is NaN or infinite, and when a signal asked to stop.
    """
    if not 0 < end_step <= settings.training.steps:
        raise ValueError(f"end_step must lie within 1 to {settings.training.steps}, got {end_step}")
    torch.set_num_threads(threads)
    train_sampler = _sampler(settings, train_volumes, stream=TRAINING_STREAM)
    val_sampler = _sampler(settings, val_volumes, stream=VALIDATION_STREAM) if val_volumes else None
    digest = settings_digest(settings, train_volumes, val_volumes)
    folder = model_folder / "segments" / str(end_step)
    with ExitStack() as stack:
        stack.enter_context(Lock(model_folder, what="train", patience_s=LOCK_PATIENCE_S))
        stop = stack.enter_context(StopRequest())
        stack.enter_context(_quiet_lightning())
        if _is_done(folder / "checkpoint.ckpt", digest):
            _say(f"{folder / 'checkpoint.ckpt'} is complete; nothing to do")
            return
        resumed = _state_to_resume(folder / "resume.ckpt", previous, digest, end_step)
        if resumed is not None and resumed["step"] == end_step:
            publish(folder)
            return
        torch.manual_seed(settings.seed)
        network = _network(settings, resumed)
        on = device_of(device)
        write_text(model_folder / "settings.yaml", yaml.safe_dump(science(settings), sort_keys=False))
        precision = resolve_plan(model_folder / "plan.json", settings, network, digest=digest, device=on, resumed=resumed)
        module = AffinityTraining(network, settings.training, precision=precision, resumed=resumed)
        log = TrainingLog(model_folder, resumed["log"] if resumed else None)
        stack.callback(log.close)
        progress = Progress(start_step=module.start_step, end_step=end_step)
        stack.callback(progress.close)
        between = BetweenSteps(
            settings=settings,
            folder=folder,
            end_step=end_step,
            digest=digest,
            random=resumed["random"] if resumed else random_state(),
            training_log=log,
            progress=progress,
            validation=Validation(val_sampler, settings.training.validation_patches) if val_sampler else None,
            stop=stop,
        )
        _fit(module, train_sampler, between, device=on)
        if between.stopped_at is not None:
            raise UserError(
                f"training was interrupted by {stop.received} at step {between.stopped_at} of {end_step} and is saved; "
                "run the same command again to continue"
            )
        settings_digest(settings, train_volumes, val_volumes)  # raises if a volume was changed meanwhile
        publish(folder)


def _sampler(settings: TrainStage, volumes: Sequence[Volume], *, stream: int) -> PatchSampler:
    return PatchSampler(
        volumes,
        patch_vox=settings.training.patch_vox,
        targets=settings.targets,
        augmentation=settings.augment if stream == TRAINING_STREAM else None,
        seed=settings.seed,
        stream=stream,
    )


def _network(settings: TrainStage, resumed: dict[str, Any] | None) -> nn.Module:
    options = science(settings.network)
    network = build_network(options.pop("name"), in_channels=1, out_channels=len(settings.targets.offsets_vox), **options)
    if resumed is not None:
        network.load_state_dict(resumed["state_dict"])
    return network


def _fit(module: AffinityTraining, sampler: PatchSampler, between: BetweenSteps, *, device: torch.device) -> None:
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        plugins=[LightningEnvironment()],  # else variables of a Slurm job would decide how many processes there are
        max_steps=between.end_step - module.start_step,
        max_epochs=1,
        gradient_clip_val=module.settings.gradient_clip,
        callbacks=[between],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if trainer.world_size != 1:
        raise UserError(f"training runs in one process, but Lightning was told of {trainer.world_size}; unset WORLD_SIZE")
    batches = BatchStream(
        sampler,
        batch_size=module.settings.batch_size,
        start_step=module.start_step,
        end_step=between.end_step,
        workers=module.settings.workers,
        pin_memory=device.type == "cuda",
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
