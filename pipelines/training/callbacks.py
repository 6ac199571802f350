"""What people watch while a network trains."""

import csv
import time
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines import files

_REFRESH_SECONDS = 0.5


class Throughput(keras.callbacks.Callback):
    """Adds learning rate, seconds and images/s of the training steps to the logs.

    Put it before the callbacks that read the logs.

    Args:
        images_per_epoch: Images that an epoch trains on.
    """

    def __init__(self, images_per_epoch: int) -> None:
        super().__init__()
        self.images_per_epoch = images_per_epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self._begin = self._end = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the time, so that validation is not counted."""
        self._end = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the figures."""
        if logs is None:
            return
        seconds = self._end - self._begin
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["seconds"] = round(seconds, 3)
        logs["images_per_second"] = round(self.images_per_epoch / seconds, 1)


class ProgressBar(keras.callbacks.Callback):
    """Shows a bar with rate and time left, and a line for every finished epoch.

    Args:
        epochs: Number of epochs in the whole run.
        steps_per_epoch: Steps of an epoch.
        batch_size: Images per step.
        console: Where to print; without a terminal only the lines are printed.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, batch_size: int, console: Console
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.console = console
        self._bar: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Opens the epoch's bar."""
        self._begin = self._refreshed = time.perf_counter()
        self._bar = Progress(
            TextColumn(f"epoch {epoch + 1}/{self.epochs}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=self.steps_per_epoch)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the bar, at most twice a second."""
        now = time.perf_counter()
        if self._bar is None or not logs or now - self._refreshed < _REFRESH_SECONDS:
            return
        self._refreshed = now
        rate = (batch + 1) * self.batch_size / (now - self._begin)
        self._bar.update(
            self._task,
            completed=batch + 1,
            description=f"loss {float(logs['loss']):.3f}  "
            f"top-1 {float(logs['top1']):.1%}  {rate:,.0f} images/s",
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replaces the bar with a line."""
        self.close()
        logs = logs or {}
        self.console.print(
            f"epoch {epoch + 1:3}/{self.epochs}  "
            f"train loss {logs['loss']:.3f} top-1 {logs['top1']:6.2%}  "
            f"validation loss {logs['val_loss']:.3f} top-1 {logs['val_top1']:6.2%}  "
            f"{logs['images_per_second']:,.0f} images/s  {logs['seconds']:.0f} s",
            highlight=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        """Removes the bar; safe at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def history_logger(path: Path, initial_epoch: int) -> keras.callbacks.CSVLogger:
    """Returns the callback that writes `history.csv`, a row per epoch.

    Rows of epochs that will be trained again are dropped first.

    Args:
        path: The file.
        initial_epoch: The first epoch that will be trained, counted from 0.
    """
    if not initial_epoch or not path.exists():
        return keras.callbacks.CSVLogger(str(path))
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if int(row[header.index("epoch")]) < initial_epoch]
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([header, *kept])
    return keras.callbacks.CSVLogger(str(path), append=True)
