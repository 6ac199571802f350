"""What lies in the folder of a run, finished or not."""

import contextlib
import dataclasses
from typing import Any

import numpy as np

from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.evaluation.saved import Evaluation
from pipelines.runs.folder import Run
from pipelines.runs.record import read_starts
from pipelines.runs.request import RunConfig
from pipelines.training.history import Columns, read_columns, read_rows
from pipelines.training.model import TrainedModel, model_fingerprint
from pipelines.training.watching.memory import as_run


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What a report tells.

    Args:
        run: The folder.
        config: What was asked for, with as many parts of a batch as memory needed.
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
        examples = None
        with contextlib.suppress(UserError):
            examples = run.examples(config)
        return cls(
            run=run,
            config=dataclasses.replace(config, recipe=as_run(model, config.recipe)),
            epochs=read_columns(model / "history.csv"),
            steps=read_columns(model / "steps.csv"),
            events=list(read_rows(model / "events.csv")),
            is_trained=TrainedModel.is_in(model),
            evaluation=_evaluation(run),
            examples=examples,
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


def _evaluation(run: Run) -> Evaluation | None:
    """Returns the evaluation of the model that is there."""
    try:
        made_from = {"model": model_fingerprint(run.model_dir)}
    except OSError:
        return None
    return Evaluation.load(run.evaluation_path, made_from)
