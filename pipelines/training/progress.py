"""Where a run is: all that the rest of it depends on, beside the variables."""

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.training.step import Measured


@dataclasses.dataclass
class Progress:
    """What has been trained, and what came of it.

    Args:
        epoch: Finished epochs.
        step: Finished steps of the next one.
        measured: Sums over these steps.
        seconds: Their time.
        waited: How much of it went into waiting for images.
        history: A row for each finished epoch, see `columns`.
        steps: A row for some of the steps, of all epochs.
        events: What else happened: `{"epoch", "step", "event"}`.
        schedule: State of a schedule that has one.
    """

    epoch: int = 0
    step: int = 0
    measured: Measured = Measured()
    seconds: float = 0.0
    waited: float = 0.0
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
        return cls(**{**values, "measured": Measured(**values["measured"])})

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
        self.measured = Measured()
        self.seconds = self.waited = 0.0

    def logs(self, batch_size: int) -> dict[str, float]:
        """Returns means over the steps of this epoch so far, and their rates."""
        seconds = max(self.seconds, 1e-9)
        return {
            **self.measured.means(),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.step * batch_size / seconds, 1),
            "data_wait_share": round(self.waited / seconds, 4),
        }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a CSV file, whole or not at all; nothing where there are no rows.

    Args:
        path: The file.
        rows: All with the keys of the first.
    """
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())
