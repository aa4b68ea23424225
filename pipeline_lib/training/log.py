"""What training reports while it runs: metrics.csv, TensorBoard and the terminal."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pipeline_lib.artefacts import write_text

COLUMNS = ("step", "learning_rate", "training_loss", "validation_loss", "seconds")


class TrainingLog:
    """Rows of metrics.csv and their copy in TensorBoard.

    Rows are part of every checkpoint, and metrics.csv is written whole from them: after a kill it goes on where the weights do,
    without rows that come twice. training_loss is the mean since the row before; seconds is the time spent in training so far.
    """

    def __init__(self, model_folder: Path, state: dict[str, Any] | None = None) -> None:
        state = state or {"rows": [], "loss_sum": 0.0, "loss_count": 0, "seconds": 0.0}
        self.path = model_folder / "metrics.csv"
        self.rows: list[list[float | None]] = [list(row) for row in state["rows"]]
        self._loss_sum, self._loss_count = float(state["loss_sum"]), int(state["loss_count"])
        self._start = time.perf_counter() - float(state["seconds"])
        last_step = int(self.rows[-1][0] or 0) if self.rows else 0
        self._board = SummaryWriter(str(model_folder / "tensorboard"), purge_step=last_step + 1, flush_secs=30)

    def add_loss(self, loss: float) -> None:
        self._loss_sum += loss
        self._loss_count += 1

    def add_row(self, step: int, *, learning_rate: float, validation_loss: float | None = None) -> None:
        """End a row at `step`, with the training losses since the row before."""
        training_loss = self._loss_sum / self._loss_count if self._loss_count else None
        self._loss_sum, self._loss_count = 0.0, 0
        values = (learning_rate, training_loss, validation_loss, round(time.perf_counter() - self._start, 3))
        self.rows.append([step, *values])
        for name, value in zip(COLUMNS[1:-1], values[:-1], strict=True):
            if value is not None:
                self._board.add_scalar(name, value, step)

    def add_pictures(self, step: int, pictures: list[np.ndarray]) -> None:
        for number, picture in enumerate(pictures):
            self._board.add_image(f"image, affinities, target/{number}", picture, step, dataformats="HWC")

    def state(self) -> dict[str, Any]:
        """Plain values from which another TrainingLog goes on."""
        seconds = time.perf_counter() - self._start
        rows = [list(row) for row in self.rows]
        return {"rows": rows, "loss_sum": self._loss_sum, "loss_count": self._loss_count, "seconds": seconds}

    def write(self) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([["" if value is None else value for value in row] for row in self.rows])
        write_text(self.path, text.getvalue())
        self._board.flush()

    def close(self) -> None:
        self._board.close()


class Progress:
    """Steps, loss and speed on stderr: a bar in a terminal, now and then a line elsewhere."""

    LINE_EVERY_S = 15.0

    def __init__(self, *, start_step: int, end_step: int) -> None:
        self._start_step, self._end_step = start_step, end_step
        self._is_terminal = sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        self._smooth_loss: float | None = None
        self._bar = tqdm(
            total=end_step, initial=start_step, desc="train", unit="step", disable=not self._is_terminal, dynamic_ncols=True
        )

    def update(self, step: int, loss: float) -> None:
        self._smooth_loss = loss if self._smooth_loss is None else 0.95 * self._smooth_loss + 0.05 * loss
        self._bar.update(1)
        self._bar.set_postfix(loss=f"{self._smooth_loss:.4f}", refresh=False)
        now = time.monotonic()
        if not self._is_terminal and (now - self._last_line > self.LINE_EVERY_S or step == self._end_step):
            self._last_line = now
            speed = (step - self._start_step) / max(now - self._start, 1e-9)
            remaining_s = (self._end_step - step) / speed
            line = f"train: step {step} of {self._end_step}, loss {self._smooth_loss:.4f}, {speed:.2f} steps/s"
            print(f"{line}, {remaining_s:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()
