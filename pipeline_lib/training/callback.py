"""What happens between two steps: reports, validation, saving, stopping."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from pipeline_lib.errors import UserError
from pipeline_lib.settings.stages import TrainStage, science
from pipeline_lib.training.checkpoint import is_finite, random_state, restore_random_state, save_checkpoint
from pipeline_lib.training.group import Group
from pipeline_lib.training.interruption import TIME_LIMIT, StopRequest
from pipeline_lib.training.log import Progress, TrainingLog
from pipeline_lib.training.module import AffinityTraining
from pipeline_lib.training.validation import Validation


@dataclass(frozen=True)
class Reports:
    """What the first process of a group tells of training."""

    log: TrainingLog
    progress: Progress
    validation: Validation | None


@dataclass(eq=False, kw_only=True)
class BetweenSteps(lightning.Callback):
    """Saves to `folder/resume.ckpt` while training and at its end.

    Stops early when a stop was requested of any process of the group; `stopped_at` is then the step that was saved.
    Only the first process has `reports`, and saves.
    """

    settings: TrainStage
    folder: Path
    end_step: int
    digest: str
    random: dict[str, Any]  # torch's state before the first step
    reports: Reports | None
    stop: StopRequest
    group: Group
    stopped_at: int | None = None
    _last_save_s: float = field(default_factory=time.monotonic)
    _last_step_s: float | None = None
    _longest_step_s: float = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.stop.install()
        restore_random_state(self.random)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if not isinstance(module, AffinityTraining):
            raise ValueError(f"expected AffinityTraining, got {type(module).__name__}")
        step, loss = module.step, float(outputs["loss"])
        is_end = step == self.end_step
        is_stopping = self._is_stopping(module.device) and not is_end
        if self.reports is not None:
            self.reports.log.add_loss(loss)
            self.reports.progress.update(step, loss)
            self._report(self.reports, module, step, is_end=is_end, is_stopping=is_stopping)
        if is_stopping:
            self.stopped_at = step
            trainer.should_stop = True

    def _is_stopping(self, device: torch.device) -> bool:
        """All processes of the group come to the same."""
        now = time.monotonic()
        if self._last_step_s is not None:  # with what comes between two steps
            self._longest_step_s = max(self._longest_step_s, now - self._last_step_s)
        self._last_step_s = now
        self.stop.look_at_clock(self._longest_step_s)
        kind = self.group.most(0 if self.stop.received is None else 2 if self.stop.received == TIME_LIMIT else 1, device)
        if kind and self.group.size > 1:
            self.stop.received = TIME_LIMIT if kind == 2 else self.stop.received or "a signal"
        return self.stop.received is not None

    def _report(self, reports: Reports, module: AffinityTraining, step: int, *, is_end: bool, is_stopping: bool) -> None:
        validation_loss = self._validate(reports, module, step, is_end=is_end)
        if is_end or validation_loss is not None or step % self.settings.training.log_every_steps == 0:
            reports.log.add_row(step, learning_rate=module.learning_rate_at(step - 1), validation_loss=validation_loss)
        if is_end:
            self._save(reports.log, module, validation_loss)
        elif is_stopping or time.monotonic() - self._last_save_s > self.settings.training.save_every_s:
            self._save(reports.log, module, None)
            self._last_save_s = time.monotonic()

    def _validate(self, reports: Reports, module: AffinityTraining, step: int, *, is_end: bool) -> float | None:
        if reports.validation is None or not (is_end or step % self.settings.training.validate_every_steps == 0):
            return None
        result = reports.validation.evaluate(module.network, precision=module.precision, device=module.device)
        if not math.isfinite(result.loss):
            raise UserError(f"the validation loss is {result.loss} at step {step}: lower training.learning_rate")
        reports.log.add_pictures(step, result.pictures)
        return result.loss

    def _save(self, log: TrainingLog, module: AffinityTraining, validation_loss: float | None) -> None:
        """metrics.csv first: whoever sees the checkpoint sees the rows that belong to it."""
        if not is_finite(module.network):
            raise UserError(f"weights are NaN or infinite after step {module.step}: lower training.learning_rate")
        log.write()
        optimizer, schedule = module.optimizers(use_pl_optimizer=False), module.lr_schedulers()
        content = {
            "network": science(self.settings.network),
            "targets": science(self.settings.targets),
            "in_channels": 1,
            "state_dict": module.network.state_dict(),
            "precision": module.precision,
            "step": module.step,
            "optimizer": optimizer.state_dict(),  # type: ignore[union-attr]
            "scheduler": schedule.state_dict(),  # type: ignore[union-attr]
            "random": random_state(),
            "log": log.state(),
            "validation_loss": validation_loss,
            "settings_digest": self.digest,
        }
        save_checkpoint(self.folder / "resume.ckpt", content)


def device_of(name: str) -> torch.device:
    """`auto` is a CUDA GPU where there is one. Raises UserError where `cuda` is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees no GPU; use device auto or cpu, or install torch for CUDA")
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    return torch.device("cuda", 0) if name != "cpu" and torch.cuda.is_available() else torch.device("cpu")
