"""The progress bar, and a line for each epoch."""

import datetime
import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pipelines.training.watching.closing import ClosingCallback

_REFRESHES_PER_SECOND = 2
_EPOCH_PARTS = (
    ("loss", "train loss {:.3f}"),
    ("top1", "top-1 {:6.2%}"),
    ("val_loss", "validation loss {:.3f}"),
    ("val_top1", "top-1 {:6.2%}"),
    ("images_per_second", "{:,.0f} images/s"),
    ("data_wait_share", "waited {:.1%}"),
    ("seconds", "{:.0f} s"),
)
_DROPPED = (
    "seconds",
    "data_wait_share",
    "images_per_second",
    "epoch_left",
    "top1",
    "loss",
)
"""What a terminal that is too narrow for all goes without, in this order."""

_STEP_PARTS = (
    ("loss", "loss {:.3f}"),
    ("top1", "top-1 {:.1%}"),
    ("images_per_second", "{:,.0f} images/s"),
    ("data_wait_share", "waiting {:.1%}"),
)


class ProgressBar(ClosingCallback):
    """Shows a bar with what is left of epoch and run, and a line for every epoch.

    Without a terminal only the lines are printed. "waited" is the share of the time
    in which a step waited for images. In a narrow terminal the bar is shorter and what
    matters least is left out, so that no line is broken.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._bar: Progress | None = None
        self._first_step = 0
        # Of the epoch before, from its last training step to its end.
        self._epilogue_seconds = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes where the first epoch begins."""
        self._first_step = self.params.get("first_step", 0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Opens the epoch's bar."""
        self._epoch = epoch
        self._first_ended: tuple[int, float] | None = None
        self._ended = self._refreshed = time.perf_counter()
        self._bar = Progress(
            TextColumn(self._title(epoch)),
            BarColumn(bar_width=self._bar_width),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=self.params["steps"], completed=self._first_step
        )
        self._first_step = 0

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the bar, at most twice a second."""
        self._ended = now = time.perf_counter()
        # The first step may include compilation, so rates begin after it.
        self._first_ended = self._first_ended or (batch, now)
        if self._bar is None or now - self._refreshed < 1 / _REFRESHES_PER_SECOND:
            return
        self._refreshed = now
        counts = f"{self.params['steps']}/{self.params['steps']}"
        others = len(f"{self._title(self._epoch)} {counts} ") + self._bar_width + 1
        self._bar.update(
            self._task,
            completed=batch + 1,
            description=_fitting(
                _STEP_PARTS,
                logs or {},
                self.console.width - others,
                **self._left(batch, now),
            ),
        )

    def on_test_begin(self, logs: Any = None) -> None:
        """Says that validation runs."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self.params["steps"], description="validation"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replaces the bar with a line."""
        self.close()
        self._epilogue_seconds = time.perf_counter() - self._ended
        title = f"epoch {epoch + 1:3}/{self.params['epochs']}  "
        room = math.inf
        if self.console.is_terminal:
            room = self.console.width - len(title)
        told = _fitting(_EPOCH_PARTS, logs or {}, room)
        self.console.print(title + told, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Removes the bar; safe at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def _bar_width(self) -> int:
        return 24 if self.console.width >= 120 else 10

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.params['epochs']}"

    def _left(self, batch: int, now: float) -> dict[str, str]:
        first, begin = self._first_ended or (batch, now)
        if batch == first:
            return {}
        seconds_per_step = (now - begin) / (batch - first)
        steps = self.params["steps"]
        of_epoch = (steps - batch - 1) * seconds_per_step
        later_epochs = self.params["epochs"] - self._epoch - 1
        of_run = (
            of_epoch
            + later_epochs * steps * seconds_per_step
            + (later_epochs + 1) * self._epilogue_seconds
        )
        left = {"left": f"{_clock(of_run)} left"}
        if later_epochs:
            left["epoch_left"] = f"(epoch {_clock(of_epoch)})"
        return left


def _fitting(
    parts: tuple[tuple[str, str], ...], logs: dict[str, Any], room: float, **others: str
) -> str:
    """Returns the parts that are known, without those for which there is no room."""
    told = {
        name: text.format(float(logs[name])) for name, text in parts if name in logs
    } | others
    for name in _DROPPED:
        if len("  ".join(told.values())) > room:
            told.pop(name, None)
    return "  ".join(told.values())


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
