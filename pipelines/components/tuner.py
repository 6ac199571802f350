"""Tuner: examples and a search space in, the best hyperparameters out."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras_tuner.engine.trial import Trial as Proposed
from rich.console import Console
from tensorboard.plugins.hparams import api as hparams

import keras_resnet
from keras_resnet.tuning import Space, SpaceAround
from pipelines import files
from pipelines.components.trainer import trainer
from pipelines.data import folders
from pipelines.data.examples import Examples
from pipelines.errors import NotFiniteError, OutOfMemoryError, UserError
from pipelines.runs.differences import differences
from pipelines.runs.folder import Run, open_run
from pipelines.runs.request import RunConfig, find_recipe
from pipelines.runs.trial import SearchRequest, Trial
from pipelines.training.history import read_columns
from pipelines.training.loop import LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.tuning.front import Importance, front, importances, ranked
from pipelines.tuning.limits import Meter, parse_limits
from pipelines.tuning.oracles import KeptOracle, make_oracle, root
from pipelines.tuning.search import search
from pipelines.tuning.workers import Chief, Client

_FAILURE = "failed.txt"
_HYPERPARAMETERS = "hyperparameters.json"
_WORST = {"top1_error": 1.0, "top5_error": 1.0, "loss": 100.0}
"""What failed trials have; an oracle learns from it where not to look."""


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The outcome of a search.

    Args:
        path: The best trial's values, a file for `--hyperparameters`.
        trials: All trials, best first.
        front: Those that none beats in both error and `cost`.
        cost: Which cost that is: the first that is limited, or the multiply-adds.
        importances: How much of the differences between errors each value explains.
    """

    path: Path
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    cost: str
    importances: Mapping[str, Importance]


@dataclasses.dataclass(frozen=True)
class Search:
    """A search as whoever takes part in it has it.

    Args:
        examples: What to train on, and with the split `"validation"`, to compare on.
        directory: Gets `trials/<number>/`, KerasTuner's record `keras_tuner/`,
            `search.json`, `trials.json`, `costs.json`, `tensorboard/` and, in the end,
            `best.json`.
        base: What every trial starts from, with the epochs of a trial, or the most of
            them for Hyperband.
        request: What is searched, and how.
        trials: How many; None for as many as Hyperband, or a grid, has.
        strategy: Where steps run. Defaults to the one device.
        options: How the trials' runs are kept.
        console: Where to show progress.

    Raises:
        UserError: If the space or the limits are wrong, or the folder has another
            search.
    """

    examples: Examples
    directory: Path
    base: RunConfig
    request: SearchRequest = SearchRequest()
    trials: int | None = 8
    strategy: tf.distribute.Strategy | None = None
    options: LoopOptions = LoopOptions()
    console: Console = dataclasses.field(default_factory=Console)

    def __post_init__(self) -> None:
        parse_limits(self.request.limit)
        if self.request.objective == "top5_error" and len(self.examples.classes) <= 5:
            raise UserError(
                f"--objective=top5_error is always 0 of {len(self.examples.classes)} "
                "classes; give top1_error or loss"
            )

    @functools.cached_property
    def near(self) -> SpaceAround:
        """What is varied."""
        return space_around(self.base, self.request)

    def alone(self) -> Hyperparameters:
        """Runs the search in this process."""
        meter = self._meter()
        oracle = self._oracle(meter)
        search(oracle, "tuner0", lambda proposed: self.run(oracle, proposed))
        return self._outcome(oracle, meter)

    def as_chief(self, chief: Chief) -> Hyperparameters:
        """Has the search run by workers."""
        meter = self._meter()
        oracle = self._oracle(meter, has_workers=True)
        chief.serve(oracle, lambda proposed: self._folder_of(proposed, oracle))
        return self._outcome(oracle, meter)

    def _meter(self) -> Meter:
        limits = parse_limits(self.request.limit)
        path = self.directory / "costs.json"
        return Meter(limits, len(self.examples.classes), path)

    def _oracle(self, meter: Meter, *, has_workers: bool = False) -> KeptOracle:
        check_request(self.directory, self.request)
        oracle = make_oracle(self.near, self.request, self.trials, self.base.seed)

        def refuses(values: Any) -> bool:
            return bool(self.near.refusal(values)) or bool(
                meter.excess(*self.near.configure(values))
            )

        def when_ended(proposed: Proposed) -> None:
            self._tell_best(oracle, proposed)

        oracle.open(
            self.directory / "keras_tuner", refuses, when_ended, has_workers=has_workers
        )
        text = json.dumps(dataclasses.asdict(self.request), indent=2)
        files.write_text(self.directory / "search.json", text + "\n")
        return oracle

    def _tell_best(self, oracle: KeptOracle, proposed: Proposed) -> None:
        best = min(
            (one for one in oracle.trials.values() if one.score is not None),
            key=lambda one: one.score,
        )
        number = int(root(oracle.get_trial, best).trial_id) + 1
        done = len(set(oracle.end_order))
        self.console.print(
            f"{done} of {self.trials or 'the'} trials done, the best so far is trial "
            f"{number}: {self.request.objective} {best.score:.4g}",
            highlight=False,
        )

    def _config(self, values: Any) -> RunConfig:
        network, recipe = self.near.configure(values)
        return dataclasses.replace(self.base, network=network, recipe=recipe)

    def _folder(self, number: int) -> Path:
        return self.directory / "trials" / f"{number:03}"

    def _folder_of(self, proposed: Proposed, oracle: KeptOracle | Client) -> Path:
        # That of the trial that it goes on with.
        return self._folder(int(root(oracle.get_trial, proposed).trial_id) + 1)

    def run(self, oracle: KeptOracle | Client, proposed: Proposed) -> dict[str, float]:
        """Trains a trial, unless that was done before, and returns what came of it.

        Args:
            oracle: Knows the trial that it goes on with.
            proposed: What to train.
        """
        values = proposed.hyperparameters.values
        config = self._config(values)
        epochs = values.get("tuner/epochs", config.recipe.epochs)
        folder = self._folder_of(proposed, oracle)
        with _held(folder, self.console):
            run = open_run(folder, config)
            run.write_config(config)
            if not _is_done(run, config, epochs):
                of = f"/{self.trials}" if self.trials else ""
                self.console.print(
                    f"trial {int(folder.name)}{of}: {described(values)}",
                    style="bold",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
                self._train(run.model_dir, config, epochs)
            trial = self._measure(run, config, values, epochs)
            text = json.dumps(_chosen(config, self.examples, values), indent=2)
            files.write_text(folder / _HYPERPARAMETERS, text + "\n")
            _write_hparams(self.directory / "tensorboard" / folder.name, trial)
        return {self.request.objective: trial.error, "seconds": trial.seconds}

    def _train(self, directory: Path, config: RunConfig, epochs: int) -> None:
        # Keras holds on to what earlier trials built.
        keras.backend.clear_session()
        try:
            trainer(
                self.examples,
                directory,
                network=config.network,
                recipe=config.recipe,
                seed=config.seed,
                weights=config.weights,
                max_bad_share=config.max_bad_share,
                strategy=self.strategy,
                options=dataclasses.replace(self.options, stop_after=epochs),
                console=self.console,
            )
        except (NotFiniteError, OutOfMemoryError) as error:
            # Too high a learning rate is a result here, and so is too large a network.
            directory.mkdir(parents=True, exist_ok=True)
            files.write_text(directory / _FAILURE, f"{error}\n")
            self.console.print(str(error), style="yellow", markup=False)

    def _measure(
        self, run: Run, config: RunConfig, values: Any, epochs: int, **costs: float
    ) -> Trial:
        history = read_columns(run.model_dir / "history.csv")
        failure = _failure(run.model_dir)
        objective = self.request.objective
        column = f"val_{objective.removesuffix('_error')}"
        error = _WORST[objective]
        if not failure:
            found = float(history[column][epochs - 1])
            error = 1 - found if objective.endswith("_error") else found
        seconds = history["seconds"][:epochs].sum() if history else 0.0
        return Trial(
            number=int(run.directory.name),
            config=config,
            values={n: v for n, v in values.items() if not n.startswith("tuner/")},
            error=error,
            epochs=min(epochs, len(history.get("epoch", ()))),
            costs=costs,
            seconds=float(seconds),
            failure=failure,
        )

    def _outcome(self, oracle: KeptOracle, meter: Meter) -> Hyperparameters:
        found: dict[int, Trial] = {}
        for trial_id in dict.fromkeys(oracle.end_order):
            proposed = oracle.get_trial(trial_id)
            values = proposed.hyperparameters.values
            config = self._config(values)
            run = Run(self._folder_of(proposed, oracle))
            epochs = values.get("tuner/epochs", config.recipe.epochs)
            costs = meter.costs(config.network, config.recipe)
            trial = self._measure(run, config, values, epochs, **costs)
            # Of those that went on, the last is all of it.
            found[trial.number] = trial
        self._check_found(list(found.values()), meter)
        trials = ranked(list(found.values()))
        cost = next((limit.cost for limit in meter.limits), "multiply_adds")
        best_of_all = front(trials, cost)
        path = self.directory / "best.json"
        best = self._folder(trials[0].number) / _HYPERPARAMETERS
        files.write_text(path, best.read_text())
        rows = [
            {
                **{name: getattr(trial, name) for name in ("number", "values")},
                self.request.objective: trial.error,
                **{name: getattr(trial, name) for name in ("epochs", "costs")},
                **{name: getattr(trial, name) for name in ("seconds", "failure")},
                "on_front": trial in best_of_all,
            }
            for trial in trials
        ]
        text = json.dumps(rows, indent=2)
        files.write_text(self.directory / "trials.json", text + "\n")
        return Hyperparameters(
            path,
            tuple(trials),
            tuple(best_of_all),
            cost,
            importances([t.values for t in trials], [t.error for t in trials]),
        )

    def _check_found(self, trials: list[Trial], meter: Meter) -> None:
        if not trials:
            least = ", ".join(
                f"{name} {value:g}" for name, value in meter.least.items()
            )
            within = f" within --limit={self.request.limit!r}" if meter.limits else ""
            raise UserError(
                f"there is no network{within} in the space {self.near.space}"
                + (f"; the least of those looked at are {least}" if least else "")
                + ": give another --space, --model or --limit, and --overwrite"
            )
        if all(trial.failure for trial in trials):
            raise UserError(
                f"all {len(trials)} trials failed, the last one with: "
                f"{trials[-1].failure}; change what the search looks around, and give "
                "--overwrite"
            )


def space_around(base: RunConfig, request: SearchRequest) -> SpaceAround:
    """Returns the space of a search around what its trials start from.

    Raises:
        UserError: If the space is wrong, or varies the network of given weights.
    """
    try:
        near = SpaceAround(Space.parse(request.space), base.network, base.recipe)
        parameters = near.parameters
    except ValueError as error:
        raise UserError(f"--space: {error}") from error
    ends = [{p.name: _any(p.domain)} for p in parameters]
    for values in ends if base.weights else ():
        if near.configure(values)[0] != base.network:
            raise UserError(
                f"--weights={base.weights} are of one network, and --space varies "
                f"{', '.join(values)}; give a space of recipes, such as "
                "--space=learning_rate"
            )
    return near


def _any(domain: Any) -> Any:
    """Returns the last value of a domain."""
    return domain.values[-1] if hasattr(domain, "values") else domain.high


def check_request(directory: Path, request: SearchRequest) -> None:
    """Checks that a folder's search, if it has one, is this one.

    Raises:
        UserError: If it is another.
    """
    path = directory / "search.json"
    if not path.exists():
        return
    for name, (there, here) in differences(
        dataclasses.asdict(read_request(directory)), dataclasses.asdict(request)
    ).items():
        raise UserError(
            f"{directory} holds a different search ({name} is {there!r} there, "
            f"{here!r} now); --resume goes on with that one, --overwrite replaces it, "
            "another --output_dir keeps both"
        )


def read_request(directory: Path) -> SearchRequest:
    """Returns what the search in a folder was asked for.

    Raises:
        UserError: If there is none, or its file is damaged.
    """
    with folders.read_values(
        directory / "search.json",
        missing=f"{directory} holds no search (no search.json)",
        mend="use another --output_dir, or --overwrite to start afresh",
    ) as values:
        return SearchRequest(**values)


def described(values: Any) -> str:
    """Returns what was drawn as people read it.

    Example:

    >>> described({"shortcut": "C", "learning_rate": 0.12345, "tuner/epochs": 3})
    'shortcut C, learning_rate 0.123, to epoch 3'
    """
    told = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
        if not name.startswith("tuner/")
    ]
    if "tuner/epochs" in values:
        told.append(f"to epoch {values['tuner/epochs']}")
    return ", ".join(told)


@contextlib.contextmanager
def _held(folder: Path, console: Console) -> Iterator[None]:
    """Holds a trial's folder, for which its last holder may still have to end."""
    told = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folders.held(folder))
                break
            except UserError as error:
                if not told:
                    console.print(f"waiting: {error}", style="yellow", markup=False)
                told = True
                time.sleep(0.5)
        yield


def _is_done(run: Run, config: RunConfig, epochs: int) -> bool:
    if TrainedModel.is_in(run.model_dir) or _failure(run.model_dir):
        return True
    done = len(read_columns(run.model_dir / "history.csv").get("epoch", ()))
    return epochs < config.recipe.epochs and done >= epochs


def _failure(directory: Path) -> str:
    """Returns why a trial failed; empty if it did not."""
    path = directory / _FAILURE
    return path.read_text().strip() if path.is_file() else ""


def _write_hparams(directory: Path, trial: Trial) -> None:
    """Writes what TensorBoard's HParams shows."""
    with tf.summary.create_file_writer(str(directory)).as_default():
        hparams.hparams(dict(trial.values), trial_id=f"{trial.number:03}")
        tf.summary.scalar("error", trial.error, step=trial.epochs)


def _chosen(config: RunConfig, examples: Examples, values: Any) -> dict[str, Any]:
    network = keras_resnet.NETWORKS[config.network.name]
    recipe = find_recipe(config.recipe.name)
    found = config.recipe
    if "epochs" not in values:
        # Those of a search are few.
        found = dataclasses.replace(found, epochs=recipe.epochs)
    return {
        "model": network.name,
        "base_recipe": recipe.name,
        "classes": len(examples.classes),
        "network": _changes(config.network, network, {"blocks_per_stage", "shortcut"}),
        "recipe": _changes(found, recipe, {"learning_rate"}),
    }


def _changes(value: Any, published: Any, always: set[str]) -> dict[str, Any]:
    changed = differences(published, value).keys() | always
    return {name: here for name, here in vars(value).items() if name in changed}
