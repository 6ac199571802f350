"""A run is a folder: what it was asked to do, and where everything it made lies."""

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from pipelines import files
from pipelines.data import folders
from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.runs.differences import differences, is_allowed
from pipelines.runs.request import RunConfig


@dataclasses.dataclass(frozen=True)
class Run:
    """The folder of a run.

    Args:
        directory: The value of `--output_dir`.
    """

    directory: Path

    @property
    def config_path(self) -> Path:
        """What the run was asked to do, `RunConfig` as JSON."""
        return self.directory / "run.json"

    @property
    def examples_dir(self) -> Path:
        """The records, unless `--examples_dir` says otherwise."""
        return self.directory / "examples"

    @property
    def model_dir(self) -> Path:
        """The trained model, its history, curves, logs and checkpoints."""
        return self.directory / "model"

    @property
    def trials_dir(self) -> Path:
        """The runs of a search's trials."""
        return self.directory / "trials"

    @property
    def evaluation_path(self) -> Path:
        """The evaluation's metrics as JSON."""
        return self.directory / "evaluation.json"

    @property
    def serving_dir(self) -> Path:
        """The exported models, `<name>/<version>/`."""
        return self.directory / "serving"

    @property
    def exports_dir(self) -> Path:
        """The model for other runtimes, `<name>/<format>/<version>/`."""
        return self.directory / "exports"

    def has_begun(self) -> bool:
        """Tells whether training has begun; until then a change loses nothing."""
        return self.model_dir.exists() or self.trials_dir.exists()

    def remove(self) -> None:
        """Removes what a run or a search made, and nothing else."""
        for path in self.directory.glob("*"):
            if _OWN_NAMES.fullmatch(path.name) and path.name != folders.LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training in the folder; any may read it.

        Raises:
            UserError: If another process does so, or the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(folders.held(self.directory))
            except OSError as error:
                raise UserError(
                    f"--output_dir={self.directory} cannot be written "
                    f"({error.strerror}); give another folder"
                ) from error
            yield

    def examples(
        self, config: RunConfig, make: Callable[[Path], Examples] = Examples.load
    ) -> Examples:
        """Returns what the run trains on: prepared examples, or those of its own.

        Args:
            config: What the run is asked to do.
            make: Returns those that are not prepared, given their folder. Defaults to
                reading what has been made.

        Raises:
            UserError: If there are none.
        """
        directory = Path(config.examples_dir or self.examples_dir)
        return Examples.prepared(config.data) or make(directory)

    def write_config(self, config: RunConfig, *, changed: bool = False) -> None:
        """Makes the folder that of the run that `config` asks for.

        Args:
            config: What is asked for.
            changed: Whether it replaces that of a run that has begun, which is else
                left as it is.
        """
        if self.has_begun() and not changed:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config.to_json(), indent=2)
        files.write_text(self.config_path, text + "\n")

    def read_config(self) -> RunConfig:
        """Returns the configuration of the run in this folder.

        Raises:
            UserError: If the folder holds no run.
        """
        with folders.read_values(
            self.config_path,
            missing=f"{self.directory} holds no run (no run.json); give the "
            "--output_dir of an earlier `python -m pipelines.train_imagenet`",
            mend="use another --output_dir, or --overwrite to start afresh",
        ) as values:
            return RunConfig.from_json(values)


def run_of(path: Path) -> Run:
    """Returns the run in whose folder `path` lies.

    Raises:
        UserError: If it lies in none.

    Example:

    >>> run_of(Path("runs/demo/serving/resnet20/1"))
    Run(directory=PosixPath('/home/me/runs/demo'))
    """
    for folder in path.resolve().parents:
        if (run := Run(folder)).config_path.is_file():
            return run
    raise UserError(
        f"{path} lies in no run's folder, by which it could be checked; give a run as "
        "--model, or leave the check out"
    )


def open_run(
    directory: Path,
    config: RunConfig,
    *,
    overwrite: bool = False,
    allow_changed: Collection[str] = (),
) -> Run:
    """Checks that a run may go to a folder: a new one, or its own.

    Nothing is written; `Run.write_config` makes the folder the run's.

    Args:
        directory: The run's folder.
        config: What is asked for.
        overwrite: Whether another run may be there, which the caller will `remove`.
        allow_changed: Dotted names of values in which the run there may differ.

    Returns:
        The run.

    Raises:
        UserError: If the folder holds another run or other files.
    """
    run = Run(directory)
    if directory.is_file():
        raise UserError(f"--output_dir={directory} is a file; give a folder")
    if run.config_path.exists() and run.has_begun() and not overwrite:
        _check_same(run, config, allow_changed)
    elif directory.exists() and not all(
        _OWN_NAMES.fullmatch(path.name) for path in directory.iterdir()
    ):
        raise UserError(
            f"--output_dir={directory} has files in it that are not a run's; give an "
            "empty or new folder"
        )
    return run


_OWN_NAMES = re.compile(
    r"run\.json|examples(\.partial)?|model|evaluation\.(json|npz)|serving|exports"
    r"|statistics|schema\.pbtxt|anomalies\.pbtxt|data\.html|report\.html"
    r"|environment\.json"
    r"|trials(\.json)?|keras_tuner|tensorboard|(best|search|costs|hyperparameters)\.json"
    rf"|search\.html|\.partial-.*|{re.escape(folders.LOCK)}"
)


def _check_same(run: Run, config: RunConfig, allowed: Collection[str]) -> None:
    different = {
        name: values
        for name, values in differences(run.read_config(), config).items()
        if not is_allowed(name, allowed)
    }
    for name, (there, here) in different.items():
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        raise UserError(
            f"{run.directory} holds a different run ({name} is {there!r} there, "
            f"{here!r} now{more}); --resume goes on with that run as it was started, "
            f"--allow_changed={','.join(different)} with what is asked now, "
            "--overwrite replaces it, another --output_dir keeps both"
        )
