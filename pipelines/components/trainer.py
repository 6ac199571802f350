"""Trainer: examples and a recipe in, a trained model out."""

import dataclasses
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

import keras_resnet
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import Recipe
from keras_resnet.training.freezing import check_weights
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import steps_per_epoch
from pipelines.errors import OutOfMemoryError, UserError
from pipelines.reports.curves import plot_curves
from pipelines.runs.differences import check_settings, flat
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.feed import Feed, HeldOut, training_feed
from pipelines.training.initial_weights import (
    keep_preprocessing,
    kept_preprocessing,
    load_initial_weights,
)
from pipelines.training.loop import Loop, LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.training.network import preprocessing_for
from pipelines.training.progress import Progress
from pipelines.training.replicas import check_batch, make_steps, parts
from pipelines.training.step import TrainingStep
from pipelines.training.strategies import Cluster, agree, barrier, lost_workers
from pipelines.training.watching import WatchOptions, close, make_callbacks
from pipelines.training.watching.memory import advised, as_run, keep_accumulate
from pipelines.training.watching.sample import EvaluationSample
from pipelines.training.watching.stall import StallWatch


def trainer(
    examples: Examples,
    directory: Path,
    *,
    network: keras_resnet.ResNetSpec,
    recipe: Recipe,
    seed: int = 0,
    weights: str = "",
    max_bad_share: float = 0.01,
    strategy: tf.distribute.Strategy | None = None,
    options: LoopOptions | None = None,
    watch: WatchOptions | None = None,
    when_saved: Callable[[], object] = lambda: None,
    console: Console | None = None,
) -> TrainedModel:
    """Trains a network on the examples' split `"train"`.

    A directory that holds a finished model is left as it is; one that holds
    checkpoints is gone on with, and ends with the weights of an undisturbed run.

    Where memory runs out before the first checkpoint, the run begins again with more
    parts of a batch, as if `Recipe.accumulate` had asked for them; several workers do
    not.

    Args:
        examples: What to train on; the classifier gets their classes.
        directory: Gets the model, `preprocessing.json`, `history.csv`, `steps.csv`,
            `events.csv`, `curves.png`, `checkpoints/`, `tensorboard/`, and where there
            are such `accumulate.json`, `damaged_records.txt` and `nonfinite/`.
        network: The network.
        recipe: How to train.
        seed: Decides initial weights, order and augmentation.
        weights: Where initial weights come from, see `load_initial_weights`; empty for
            random ones.
        max_bad_share: Greatest share of damaged records that may be left out; they are
            listed in `damaged_records.txt`.
        strategy: Where steps run. Defaults to the one device.
        options: How the run is fed and kept. Defaults to `LoopOptions()`.
        watch: What to watch meanwhile. Defaults to `WatchOptions()`.
        when_saved: Called by the chief after each checkpoint.
        console: Where to say what happens. Defaults to standard output.

    Returns:
        The trained model; not yet saved where `options.stop_after` ended the training.

    Raises:
        UserError: If there are fewer images than one batch, the replicas cannot share a
            batch equally, the weights do not fit, too many records are damaged, the
            network diverges, or the checkpoints are of another run.
        OutOfMemoryError: If memory runs out all the same.
        Stopped: If a signal asked to stop.
    """
    if TrainedModel.is_in(directory):
        return TrainedModel.load(directory)
    strategy = strategy or tf.distribute.get_strategy()
    options = options or LoopOptions()
    console = console or Console()
    checkpoints = Checkpoints(
        directory / "checkpoints",
        keep_last=options.keep_last,
        keep_best=max(options.keep_best, int(options.export == "best")),
    )
    while True:
        try:
            return _train(
                examples,
                directory,
                network,
                as_run(directory, recipe),
                seed,
                weights,
                max_bad_share,
                strategy,
                checkpoints,
                options,
                watch or WatchOptions(),
                console,
                when_saved,
            )
        except OutOfMemoryError as error:
            is_alone = Cluster.of(strategy).count == 1
            if error.accumulate is None or checkpoints.paths() or not is_alone:
                raise
            keep_accumulate(directory, recipe.accumulate, error.accumulate)
        console.print(_told_parts(as_run(directory, recipe), strategy), style="yellow")
        # What has been built holds memory until it is collected.
        gc.collect()


def _told_parts(recipe: Recipe, strategy: tf.distribute.Strategy) -> str:
    at_once = recipe.batch_size // parts(recipe, strategy)
    told = (
        f"out of memory: beginning again with --set=accumulate={recipe.accumulate}, "
        f"{at_once} images at once"
    )
    if recipe.batch_norm == "frozen":
        return told
    return f"{told}, of which batch norms take the statistics"


def _train(
    examples: Examples,
    directory: Path,
    network: keras_resnet.ResNetSpec,
    recipe: Recipe,
    seed: int,
    weights: str,
    max_bad_share: float,
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
    options: LoopOptions,
    watch: WatchOptions,
    console: Console,
    when_saved: Callable[[], object],
) -> TrainedModel:
    """Trains from the beginning or the last checkpoint to the end, see `trainer`."""
    cluster = Cluster.of(strategy)
    steps = steps_per_epoch(examples, recipe.batch_size, cluster.count)
    check_recipe(recipe, strategy, weights)
    result = TrainedModel(
        directory=directory,
        network=dataclasses.replace(network, classes=len(examples.classes)),
        preprocessing=preprocessing_for(recipe, network, examples.orientation),
        classes=examples.classes,
    )
    settings = _settings(examples, result, recipe, seed, max_bad_share, strategy)
    is_begun = bool(checkpoints.paths())
    model, pixels = _initial_model(result, seed, "" if is_begun else weights, console)
    if is_begun:
        pixels = kept_preprocessing(directory)
    result = dataclasses.replace(
        result, preprocessing=result.preprocessing.with_pixels_of(pixels)
    )
    with lost_workers(strategy):
        training_step, evaluation_step = make_steps(
            model,
            recipe,
            result.preprocessing,
            steps,
            strategy,
            halts=options.on_nan != "skip",
        )
        progress = _resume(
            training_step, checkpoints, settings, steps, options, console
        )
        agree(strategy, progress.position(steps), "the step to go on from")

    directory.mkdir(parents=True, exist_ok=True)
    if cluster.is_chief:
        keep_preprocessing(directory, result.preprocessing)
    feed = training_feed(
        examples,
        recipe,
        result.preprocessing,
        strategy,
        seed,
        max_bad_share=max_bad_share,
        damage_log=directory / "damaged_records.txt",
        service=options.data_service,
    )
    held_out = HeldOut.of(
        examples, recipe, result.preprocessing, strategy, max_bad_share=max_bad_share
    )
    callbacks = []
    if cluster.is_chief:
        callbacks = make_callbacks(
            directory,
            console,
            options=watch,
            images_at_once=recipe.batch_size // parts(recipe, strategy),
            sample=_sample(held_out, examples, steps, recipe)
            if watch.tensorboard
            else None,
            rows=progress.steps,
            parameters=settings,
        )
    loop = Loop(
        strategy=strategy,
        recipe=recipe,
        steps_per_epoch=steps,
        training_step=training_step,
        evaluation_step=evaluation_step,
        feed=feed,
        held_out=held_out,
        progress=progress,
        checkpoints=checkpoints,
        settings=settings,
        directory=directory,
        callbacks=callbacks,
        when_saved=when_saved,
        watch=StallWatch(console, examples=examples.directory),
        options=options,
        console=console,
    )
    try:
        with advised(recipe, strategy.num_replicas_in_sync), lost_workers(strategy):
            loop.run()
    finally:
        close(callbacks)
    _tell_damage(feed, console)

    if cluster.is_chief and loop.last_epoch == recipe.epochs:
        if options.export == "best" and (
            best := checkpoints.best(training_step.shapes(), console)
        ):
            training_step.restore(best.arrays)
        model.set_weights(evaluation_step.network.get_weights())
        plot_curves(directory / "history.csv", directory / "curves.png")
        result.save(model)
    with lost_workers(strategy):
        barrier(strategy)
    return result


def check_recipe(
    recipe: Recipe, strategy: tf.distribute.Strategy, weights: str
) -> None:
    """Checks what can be wrong with a recipe before there is data.

    Args:
        recipe: How to train.
        strategy: Where steps run.
        weights: Where initial weights come from; empty for random ones.

    Raises:
        UserError: If the replicas cannot share a batch equally, or random weights
            would be kept as they are.
    """
    check_batch(recipe, strategy)
    try:
        check_weights(
            recipe,
            weights,
            "give --weights, such as --weights=imagenet or an earlier run's folder",
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def _settings(
    examples: Examples,
    result: TrainedModel,
    recipe: Recipe,
    seed: int,
    max_bad_share: float,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Returns what the weights at the end depend on, as JSON has it."""
    values = {
        "data": examples.made_from,
        "network": dataclasses.asdict(result.network),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "max_bad_share": max_bad_share,
        "replicas": strategy.num_replicas_in_sync,
        "workers": Cluster.of(strategy).count,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    return json.loads(json.dumps(flat(values)))


def _initial_model(
    result: TrainedModel, seed: int, weights: str, console: Console
) -> tuple[keras.Model, Preprocessing]:
    """Returns the network as the first step finds it, and whose pixels it wants."""
    keras.utils.set_random_seed(seed)
    size = result.preprocessing.size
    model = keras_resnet.build(result.network, input_shape=(size, size, 3))
    if not weights:
        return model, Preprocessing()
    loaded = load_initial_weights(model, weights)
    if loaded.new_classifier:
        console.print(f"new classifier for {result.network.classes} classes")
    return model, loaded.preprocessing or Preprocessing()


def _resume(
    training_step: TrainingStep,
    checkpoints: Checkpoints,
    settings: dict[str, Any],
    steps: int,
    options: LoopOptions,
    console: Console,
) -> Progress:
    """Returns where the run is, after a look at what has changed since."""
    checkpoint = checkpoints.newest(training_step.shapes(), console)
    if checkpoint is None:
        return Progress()
    check_settings(
        checkpoint.notes["settings"], settings, options.allow_changed, console
    )
    progress = Progress.resumed(checkpoint.notes, steps)
    progress.note(f"went on from {checkpoint.path.name}")
    console.print(
        f"going on in epoch {progress.epoch + 1} after step {progress.step} of {steps}"
        if progress.step
        else f"going on after epoch {progress.epoch}",
        highlight=False,
    )
    training_step.restore(checkpoint.arrays, schedule=progress.schedule)
    # The schedule counts steps, of which an epoch may have another number now.
    training_step.optimizer.iterations.assign(progress.position(steps))
    return progress


def _sample(
    held_out: HeldOut, examples: Examples, steps: int, recipe: Recipe
) -> EvaluationSample | None:
    with held_out.damage.told():
        return EvaluationSample.of(
            held_out.batches, examples.classes, steps * recipe.batch_size
        )


def _tell_damage(feed: Feed, console: Console) -> None:
    if damaged := feed.damaged():
        console.print(
            f"left out {len(damaged)} damaged records: {feed.damage_log}",
            style="yellow",
        )
