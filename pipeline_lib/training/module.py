"""One step of training, as Lightning drives it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from pipeline_lib.errors import UserError
from pipeline_lib.settings.learning import TrainingSettings
from pipeline_lib.training.data import Batch
from pipeline_lib.training.group import Group
from pipeline_lib.training.loss import masked_bce, valid_counts
from pipeline_lib.training.precision import autocast
from pipeline_lib.training.schedule import learning_rate_factor


class AffinityTraining(lightning.LightningModule):
    """Masked BCE by AdamW, linear warm-up and cosine per step. `resumed` is a checkpoint whose optimizer and schedule go on.

    group: the processes that share each batch; a share may be computed in parts, too. Neither changes what is computed.
    Raises UserError as soon as a loss is NaN or infinite, before the weights take notice.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        *,
        precision: str,
        resumed: dict[str, Any] | None = None,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # it cannot add up parts of a batch that have unequal numbers of valid entries
        self.network, self.settings, self.precision, self.resumed = network, settings, precision, resumed
        self.group = group or Group()
        self._parallel: list[DistributedDataParallel] = []  # in a list, as it is no other network
        self.start_step = 0 if resumed is None else int(resumed["step"])

    @property
    def step(self) -> int:
        """Optimizer steps done since training began, over all segments."""
        return self.start_step + self.trainer.global_step

    def learning_rate_at(self, step: int) -> float:
        s = self.settings
        return s.learning_rate * learning_rate_factor(step, warmup_steps=s.warmup_steps, steps=s.steps)

    def on_train_start(self) -> None:
        if self.group.size > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            self._parallel = [DistributedDataParallel(self.network, device_ids=devices, broadcast_buffers=False)]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of the whole batch, before the step."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        loss = self._backward(batch)
        self._check(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        optimizer.step()  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr,call-arg]
        return loss

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the loss of the whole batch, of which `batch` is the share of this process."""
        parts = list(zip(*(tensor.chunk(self.settings.accumulate) for tensor in batch), strict=True))
        network = self._parallel[0] if self._parallel else self.network
        counts, losses = None, []
        for number, (image, target, valid) in enumerate(parts):
            with self._exchanging(number == len(parts) - 1):
                with autocast(self.precision, self.device):
                    output = network(image)
                if counts is None:
                    counts = self.group.sum(valid_counts(output, batch.valid))
                loss = masked_bce(output, target, valid, counts)
                self.manual_backward(loss * self.group.size)  # the processes' gradients are averaged
                losses.append(loss.detach())
        return self.group.sum(torch.stack(losses).sum())

    def _exchanging(self, is_last: bool) -> AbstractContextManager[None]:
        """The processes exchange gradients once, when those of all parts are there."""
        return self._parallel[0].no_sync() if self._parallel and not is_last else nullcontext()

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            rate = self.learning_rate_at(self.step)
            raise UserError(
                f"the training loss is {loss.item()} at step {self.step + 1} with a learning rate of {rate:.3g}: "
                "lower training.learning_rate or training.gradient_clip, or train in float32"
            )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        s = self.settings
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        factor = partial(learning_rate_factor, warmup_steps=s.warmup_steps, steps=s.steps)
        schedule = LambdaLR(optimizer, factor)
        if self.resumed is not None:
            optimizer.load_state_dict(self.resumed["optimizer"])
            schedule.load_state_dict(self.resumed["scheduler"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
