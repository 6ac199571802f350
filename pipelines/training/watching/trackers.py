"""MLflow and Weights & Biases, where they are installed."""

import contextlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from pipelines import files
from pipelines.errors import UserError, unknown
from pipelines.training.watching.closing import ClosingCallback


class Tracker(ClosingCallback):
    """Tells a tracking library of a run: parameters, metrics per epoch, the report.

    The library's id of the run is kept in `<name>.json`, so that a resumed run goes on
    in the same place. Epochs that it was told of before are not told again. When the
    library fails, because its server does not answer, say, that is printed and training
    goes on; what could not be told is told with the next epoch.

    Args:
        directory: Where the id is kept.
        experiment: What the library groups runs by.
        parameters: What to tell of the run.
        console: Where to say that the library fails. Defaults to standard output.

    Raises:
        UserError: If the library is not installed.
    """

    name: ClassVar[str]

    def __init__(
        self,
        directory: Path,
        experiment: str,
        parameters: Mapping[str, Any],
        console: Console | None = None,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.experiment = experiment
        self.parameters = dict(parameters)
        self.console = console or Console()
        self.library = _imported(self.name)
        self._epochs = 0
        self._waiting: dict[int, dict[str, float]] = {}
        self._is_open = False

    @property
    def _path(self) -> Path:
        return self.directory / f"{self.name}.json"

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the run, or goes on with it."""
        self._tell()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tells the epoch's logs, counting epochs from 1."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        self._waiting[epoch + 1] = metrics
        self._tell()

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the run."""
        self._end(failed=False)

    def close(self) -> None:
        """Ends a run that did not come to its end; safe at any time."""
        self._end(failed=True)

    def log_report(self, path: Path) -> None:
        """Hands over the report of a run that has ended.

        Args:
            path: The file.
        """
        with self._tolerated():
            self._open()
            self._save(path)
        self._end(failed=False)

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.console.print(
                f"--track={self.name} fails ({type(error).__name__}: {error}); the run "
                "goes on, and its history.csv has all epochs",
                style="yellow",
                markup=False,
            )

    def _tell(self) -> None:
        """Tells all that has not been told."""
        with self._tolerated():
            if not self._is_open:
                self._open()
            for epoch in sorted(self._waiting):
                if epoch > self._epochs:
                    self._log(self._waiting[epoch], epoch)
                    self._epochs = epoch
                    self._keep()
                del self._waiting[epoch]

    def _end(self, *, failed: bool) -> None:
        if self._is_open:
            self._is_open = False
            with self._tolerated():
                self._finish(failed=failed)

    def _open(self) -> None:
        kept: dict[str, Any] = {"run": None, "epochs": 0}
        if self._path.exists():
            kept = json.loads(self._path.read_text())
        self._run, self._epochs = self._start(kept["run"]), kept["epochs"]
        self._is_open = True
        self._keep()

    def _keep(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        kept = {"run": self._run, "epochs": self._epochs}
        files.write_text(self._path, json.dumps(kept) + "\n")

    def _start(self, run: str | None) -> str:
        """Starts a run, or goes on with `run`; returns its id."""
        raise NotImplementedError

    def _log(self, metrics: dict[str, float], step: int) -> None:
        raise NotImplementedError

    def _save(self, path: Path) -> None:
        raise NotImplementedError

    def _finish(self, *, failed: bool) -> None:
        raise NotImplementedError


class MLflow(Tracker):
    """Tracks with MLflow, where `MLFLOW_TRACKING_URI` says.

    See https://mlflow.org/docs/latest/python_api/mlflow.html. Arguments are those of
    `Tracker`.
    """

    name = "mlflow"

    def _start(self, run: str | None) -> str:
        if run is not None:
            return self.library.start_run(run_id=run).info.run_id
        self.library.set_experiment(self.experiment)
        started = self.library.start_run()
        self.library.log_params(self.parameters)
        return started.info.run_id

    def _log(self, metrics: dict[str, float], step: int) -> None:
        self.library.log_metrics(metrics, step=step)

    def _save(self, path: Path) -> None:
        self.library.log_artifact(str(path))

    def _finish(self, *, failed: bool) -> None:
        self.library.end_run(status="FAILED" if failed else "FINISHED")


class WeightsAndBiases(Tracker):
    """Tracks with Weights & Biases; `WANDB_MODE=offline` keeps all on this machine.

    See https://docs.wandb.ai/ref/python. Arguments are those of `Tracker`; the
    experiment is the project.
    """

    name = "wandb"

    def _start(self, run: str | None) -> str:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._tracked = self.library.init(
            project=self.experiment,
            dir=str(self.directory),
            id=run,
            resume="allow",
            config=self.parameters,
        )
        return self._tracked.id

    def _log(self, metrics: dict[str, float], step: int) -> None:
        self._tracked.log(metrics, step=step)

    def _save(self, path: Path) -> None:
        self._tracked.save(str(path), base_path=str(path.parent), policy="now")

    def _finish(self, *, failed: bool) -> None:
        self._tracked.finish(exit_code=int(failed))


TRACKERS: dict[str, type[Tracker]] = {
    tracker.name: tracker for tracker in (MLflow, WeightsAndBiases)
}
"""What `--track` names."""


def check(name: str) -> None:
    """Checks that a tracker can be used.

    Args:
        name: A name in `TRACKERS`; empty for none.

    Raises:
        UserError: If it is unknown or not installed.
    """
    if not name:
        return
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    _imported(name)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"--track={name} needs the package {name} ({error}); install it with "
            f"`pip install {name}`, or leave --track out"
        ) from error
