"""One step of training, as Lightning drives it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pipeline_lib.errors import UserError
from pipeline_lib.settings.learning import TrainingSettings
from pipeline_lib.training.data import Batch
from pipeline_lib.training.loss import masked_bce
from pipeline_lib.training.precision import autocast
from pipeline_lib.training.schedule import learning_rate_factor


class AffinityTraining(lightning.LightningModule):
    """Masked BCE by AdamW, linear warm-up and cosine per step. `resumed` is a checkpoint whose optimizer and schedule go on.

    Raises UserError as soon as a loss is NaN or infinite, before the weights take notice.
    """

    def __init__(
        self, network: nn.Module, settings: TrainingSettings, *, precision: str, resumed: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.network, self.settings, self.precision, self.resumed = network, settings, precision, resumed
        self.start_step = 0 if resumed is None else int(resumed["step"])

    @property
    def step(self) -> int:
        """Optimizer steps done since training began, over all segments."""
        return self.start_step + self.trainer.global_step

    def learning_rate_at(self, step: int) -> float:
        s = self.settings
        return s.learning_rate * learning_rate_factor(step, warmup_steps=s.warmup_steps, steps=s.steps)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        with autocast(self.precision, self.device):
            output = self.network(batch.image)
        loss = masked_bce(output, batch.target, batch.valid)
        if not torch.isfinite(loss):
            rate = self.learning_rate_at(self.step)
            raise UserError(
                f"the training loss is {loss.item()} at step {self.step + 1} with a learning rate of {rate:.3g}: "
                "lower training.learning_rate or training.gradient_clip, or train in float32"
            )
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        s = self.settings
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        factor = partial(learning_rate_factor, warmup_steps=s.warmup_steps, steps=s.steps)
        schedule = LambdaLR(optimizer, factor)
        if self.resumed is not None:
            optimizer.load_state_dict(self.resumed["optimizer"])
            schedule.load_state_dict(self.resumed["scheduler"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
