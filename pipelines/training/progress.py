"""Where a run is: all that the rest of it depends on, beside the variables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipelines.training.step import Measured

STEP_COLUMNS = ("loss", "top1", "gradient_norm", "images_per_second", "data_wait_share")
"""What a row of `Progress.steps` has of `Span.logs`."""


@dataclasses.dataclass(frozen=True)
class Span:
    """What came of some steps.

    Args:
        measured: Sums over them.
        seconds: Their time.
        waited: How much of it went into waiting for images.
    """

    measured: Measured = Measured()
    seconds: float = 0.0
    waited: float = 0.0

    def __add__(self, other: "Span") -> "Span":
        return Span(
            self.measured + other.measured,
            self.seconds + other.seconds,
            self.waited + other.waited,
        )

    def logs(self) -> dict[str, float]:
        """Returns means over the steps, and their rates."""
        seconds = max(self.seconds, 1e-9)
        return {
            **self.measured.means(),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.measured.images / seconds, 1),
            "data_wait_share": round(self.waited / seconds, 4),
        }


@dataclasses.dataclass
class Progress:
    """What has been trained, and what came of it.

    Args:
        epoch: Finished epochs.
        step: Finished steps of the next one.
        so_far: What came of these steps.
        since_row: What came of those since the last row of `steps`.
        history: A row for each finished epoch.
        steps: A row for every so many steps, of all epochs: what came of these.
        events: What else happened: `{"epoch", "step", "event"}`.
        schedule: State of a schedule that has one.
    """

    epoch: int = 0
    step: int = 0
    so_far: Span = Span()
    since_row: Span = Span()
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    schedule: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the values as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Returns what `to_json` gave `values` for."""
        spans = {
            name: Span(**{**span, "measured": Measured(**span["measured"])})
            for name, span in values.items()
            if name in ("so_far", "since_row")
        }
        return cls(**{**values, **spans})

    @classmethod
    def resumed(cls, notes: Mapping[str, Any], steps_per_epoch: int) -> "Progress":
        """Returns where a run goes on from a checkpoint.

        Args:
            notes: The checkpoint's, with `"progress"` and `"steps_per_epoch"`.
            steps_per_epoch: Those of an epoch now. If there were others, the run goes
                on after the same share of the epoch.
        """
        progress = cls.from_json(notes["progress"])
        share = progress.step / notes["steps_per_epoch"]
        progress.step = round(share * steps_per_epoch)
        return progress

    def position(self, steps_per_epoch: int) -> int:
        """Returns the number of finished steps of the run."""
        return self.epoch * steps_per_epoch + self.step

    def note(self, event: str) -> None:
        """Adds an event at the present step."""
        self.events.append({"epoch": self.epoch, "step": self.step, "event": event})

    def begin_epoch(self) -> None:
        """Goes to the first step of the next epoch."""
        self.epoch += 1
        self.step = 0
        self.so_far = self.since_row = Span()

    def finish_step(self, span: Span) -> None:
        """Goes to the next step, after what came of one."""
        self.step += 1
        self.so_far += span
        self.since_row += span

    def add_row(self, **values: Any) -> None:
        """Adds a row to `steps`, unless all since the last row were left out."""
        if not self.since_row.measured.steps:
            return
        logs = self.since_row.logs()
        row = {"epoch": self.epoch, "step": self.step - 1, **values}
        self.steps.append({**row, **{name: logs[name] for name in STEP_COLUMNS}})
        self.since_row = Span()
