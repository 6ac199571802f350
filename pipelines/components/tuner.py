"""Tuner: examples and a search space in, the best hyperparameters out."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

import keras_resnet
from keras_resnet.analysis import cost
from pipelines import files
from pipelines.components.trainer import trainer
from pipelines.data.examples import Examples
from pipelines.errors import NotFiniteError, OutOfMemoryError, UserError
from pipelines.runs.differences import differences
from pipelines.runs.folder import open_run
from pipelines.runs.request import RunConfig, find_recipe
from pipelines.runs.trial import Trial
from pipelines.training.history import read_columns
from pipelines.training.loop import LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.tuning.search import search
from pipelines.tuning.space import SearchSpace

DEFAULT_SPACE = SearchSpace()
"""What is searched where nothing else is said."""

LEARNING_RATE_ONLY = SearchSpace(blocks=(), shortcuts=())
"""What is searched from given weights, which fit one network."""

_FAILURE = "failed.txt"


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The outcome of a search.

    Args:
        path: The best trial's values, a file for `--hyperparameters`.
        trials: All trials, best first.
    """

    path: Path
    trials: tuple[Trial, ...]


def tuner(
    examples: Examples,
    directory: Path,
    *,
    base: RunConfig,
    space: SearchSpace = DEFAULT_SPACE,
    trials: int = 8,
    strategy: tf.distribute.Strategy | None = None,
    options: LoopOptions | None = None,
    console: Console | None = None,
) -> Hyperparameters:
    """Looks for the depth, shortcut option and learning rate of least error.

    Every trial is trained by `trainer` in a run's folder of its own. A trial that was
    finished there is not trained again and one that was interrupted is gone on with,
    so the search can be killed at any time and called again, also with more trials.

    Args:
        examples: What to train on, and with the split `"validation"`, to compare on.
        directory: Gets `trials/<number>/`, KerasTuner's record `keras_tuner/` and, in
            the end, `best.json`.
        base: What every trial starts from, with the epochs of a trial.
        space: What is varied.
        trials: Number of trials.
        strategy: Where steps run. Defaults to the one device.
        options: How the trials' runs are kept. Defaults to `LoopOptions()`.
        console: Where to show progress. Defaults to standard output.

    Returns:
        The best hyperparameters and the trials. `best.json` leaves the epochs to the
        recipe, since those of a search are few.

    Raises:
        UserError: If a trial cannot be trained, its folder holds a different one, or
            all of them diverge or run out of memory.

    Example:

    >>> best = tuner(examples, Path("runs/tune"), base=config, trials=20)
    >>> best.trials[0].config.network.shortcut
    'B'
    """
    console = console or Console()
    reasons: list[str] = []

    def run_trial(number: int, config: RunConfig) -> Trial:
        run = open_run(directory / "trials" / f"{number:03}", config)
        run.write_config(config)
        if not _is_finished(run.model_dir):
            console.print(
                f"trial {number}/{trials}: {config.network.depth} layers, shortcut "
                f"{config.network.shortcut}, learning rate "
                f"{config.recipe.learning_rate:g}",
                style="bold",
                highlight=False,
            )
            _train(examples, run.model_dir, config, strategy, options, console)
        if reason := _failure(run.model_dir):
            reasons.append(reason)
        return _measure(examples, run.model_dir, config, number)

    found = search(base, space, trials, directory / "keras_tuner", run_trial)
    best = found[0]
    if math.isinf(best.top1_error):
        raise UserError(
            f"all {trials} trials failed, the last one with: {reasons[-1]}; change "
            "what the search looks around, and give --overwrite"
        )
    path = directory / "best.json"
    files.write_text(path, json.dumps(_chosen(best.config), indent=2) + "\n")
    return Hyperparameters(path, tuple(found))


def _is_finished(directory: Path) -> bool:
    return TrainedModel.is_in(directory) or bool(_failure(directory))


def _train(
    examples: Examples,
    directory: Path,
    config: RunConfig,
    strategy: tf.distribute.Strategy | None,
    options: LoopOptions | None,
    console: Console,
) -> None:
    # Keras holds on to what earlier trials built.
    keras.backend.clear_session()
    try:
        trainer(
            examples,
            directory,
            network=config.network,
            recipe=config.recipe,
            seed=config.seed,
            weights=config.weights,
            max_bad_share=config.max_bad_share,
            strategy=strategy,
            options=options,
            console=console,
        )
    except (NotFiniteError, OutOfMemoryError) as error:
        # Too high a learning rate is a result here, and so is too large a network.
        directory.mkdir(parents=True, exist_ok=True)
        files.write_text(directory / _FAILURE, f"{error}\n")
        console.print(str(error), style="yellow", markup=False)


def _measure(
    examples: Examples, directory: Path, config: RunConfig, number: int
) -> Trial:
    epochs = read_columns(directory / "history.csv")
    failed = bool(_failure(directory))
    size = config.network.input_size
    network = dataclasses.replace(config.network, classes=len(examples.classes))
    model = keras_resnet.build(network, input_shape=(size, size, 3))
    return Trial(
        number=number,
        config=config,
        top1_error=math.inf if failed else 1 - float(epochs["val_top1"][-1]),
        parameters=cost(model).parameters,
        seconds=float(epochs["seconds"].sum()) if epochs else 0.0,
    )


def _failure(directory: Path) -> str:
    """Returns why a trial failed; empty if it did not."""
    path = directory / _FAILURE
    return path.read_text().strip() if path.is_file() else ""


def _chosen(config: RunConfig) -> dict[str, Any]:
    network = keras_resnet.NETWORKS[config.network.name]
    recipe = find_recipe(config.recipe.name)
    return {
        "model": network.name,
        "base_recipe": recipe.name,
        "network": _changes(config.network, network, {"blocks_per_stage", "shortcut"}),
        "recipe": _changes(
            dataclasses.replace(config.recipe, epochs=recipe.epochs),
            recipe,
            {"learning_rate"},
        ),
    }


def _changes(value: Any, published: Any, always: set[str]) -> dict[str, Any]:
    changed = differences(published, value).keys() | always
    return {name: here for name, here in vars(value).items() if name in changed}
