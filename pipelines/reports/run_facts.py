"""What lies in the folder of a run, finished or not."""

import array
import csv
import dataclasses
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.evaluation.saved import Evaluation
from pipelines.runs.folder import Run
from pipelines.runs.record import read_starts
from pipelines.runs.request import RunConfig
from pipelines.training.model import TrainedModel

Columns: TypeAlias = dict[str, np.ndarray]
"""Columns of a table by name, each float64 `(rows,)`."""


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What a report tells.

    Args:
        run: The folder.
        config: What was asked for.
        epochs: `model/history.csv`.
        steps: `model/steps.csv`.
        events: Rows of `model/events.csv` by column.
        is_trained: Whether the model is finished.
        evaluation: None if this model was not evaluated.
        examples: None if they are no longer there, or not yet.
        starts: What each start ran on.

    Example:

    >>> RunFacts.of(Run(Path("runs/demo"))).epochs["val_top1"]
    array([0.61, 0.83])
    """

    run: Run
    config: RunConfig
    epochs: Columns
    steps: Columns
    events: list[dict[str, str]]
    is_trained: bool
    evaluation: Evaluation | None
    examples: Examples | None
    starts: list[dict[str, Any]]

    @classmethod
    def of(cls, run: Run) -> "RunFacts":
        """Reads a run's folder.

        Raises:
            UserError: If it holds no run.
        """
        config = run.read_config()
        model = run.model_dir
        return cls(
            run=run,
            config=config,
            epochs=read_columns(model / "history.csv"),
            steps=read_columns(model / "steps.csv"),
            events=_read_rows(model / "events.csv"),
            is_trained=TrainedModel.is_in(model),
            evaluation=Evaluation.load(run.evaluation_path, model / "model.keras"),
            examples=_examples(run, config),
            starts=read_starts(run.directory),
        )

    @property
    def finished_epochs(self) -> int:
        """Number of epochs that are done."""
        return len(self.epochs.get("epoch", ()))

    def column(self, name: str) -> np.ndarray:
        """Returns a column of `epochs`; not a number where the run has none."""
        return self.epochs.get(name, np.full(self.finished_epochs, np.nan))

    def class_name(self, label: int) -> str:
        """Returns the name of a class."""
        classes = self.examples.classes if self.examples else ()
        return classes[label] if label < len(classes) else f"class {label}"


def read_columns(path: Path) -> Columns:
    """Reads a table of numbers that may be growing.

    Args:
        path: A CSV file with a heading.

    Returns:
        The columns. There are none without a file; a line that is still being written
        is left out, and what is not a number is `nan`.
    """
    columns: dict[str, array.array] = {}
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(line for line in file if line.endswith("\n"))
        names = next(reader, [])
        columns = {name: array.array("d") for name in names}
        for row in reader:
            for index, column in enumerate(columns.values()):
                column.append(_number(row[index] if index < len(row) else ""))
    return {name: np.array(column) for name, column in columns.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))


def _examples(run: Run, config: RunConfig) -> Examples | None:
    try:
        directory = Path(config.examples_dir or run.examples_dir)
        return Examples.prepared(config.data) or Examples.load(directory)
    except UserError:
        return None
