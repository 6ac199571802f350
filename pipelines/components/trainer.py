"""Trainer: examples and a recipe in, a trained model out."""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

import keras_resnet
from keras_resnet.training import Recipe
from keras_resnet.training.freezing import freeze
from keras_resnet.training.optimizers import make_optimizer
from keras_resnet.training.schedules import Plateau
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches, steps_per_epoch
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.reading import Worker
from pipelines.errors import UserError
from pipelines.reports.curves import plot_curves
from pipelines.runs.differences import check_settings, flat
from pipelines.training.checkpoints import Checkpoint, Checkpoints
from pipelines.training.feed import distributed, filled, training_feed
from pipelines.training.initial_weights import load_initial_weights
from pipelines.training.loop import Loop, LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.training.network import for_training, takes_pixels
from pipelines.training.progress import Progress
from pipelines.training.step import EvaluationStep, TrainingStep
from pipelines.training.strategies import Cluster, agree, barrier, lost_workers
from pipelines.training.watching import WatchOptions, close, make_callbacks
from pipelines.training.watching.memory import advice
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
    data_service: str = "",
    options: LoopOptions | None = None,
    allow_changed: Collection[str] = (),
    watch: WatchOptions | None = None,
    console: Console | None = None,
) -> TrainedModel:
    """Trains a network on the examples' split `"train"`.

    A directory that holds a finished model is left as it is; one that holds
    checkpoints is gone on with, and ends with the weights of an undisturbed run.

    Args:
        examples: What to train on; the classifier gets their classes.
        directory: Gets the model, `history.csv`, `steps.csv`, `events.csv`,
            `curves.png`, `checkpoints/`, `tensorboard/`, and where there are such
            `damaged_records.txt` and `nonfinite/`.
        network: The network.
        recipe: How to train.
        seed: Decides initial weights, order and augmentation.
        weights: Where initial weights come from, see `load_initial_weights`; empty for
            random ones.
        max_bad_share: Greatest share of damaged records that may be left out; they are
            listed in `damaged_records.txt`.
        strategy: Where steps run. Defaults to the one device.
        data_service: Address of a tf.data service, see `training_batches`.
        options: How the run is kept. Defaults to `LoopOptions()`.
        allow_changed: Settings in which a run that is gone on with may differ from what
            it was begun with, see `pipelines.runs.differences`.
        watch: What to watch meanwhile. Defaults to `WatchOptions()`.
        console: Where to say what happens. Defaults to standard output.

    Returns:
        The trained model.

    Raises:
        UserError: If there are fewer images than one batch, the replicas cannot share a
            batch equally, the weights do not fit, too many records are damaged, the
            network diverges, or the checkpoints are of another run.
        Stopped: If a signal asked to stop.
    """
    if TrainedModel.is_in(directory):
        return TrainedModel.load(directory)
    strategy = strategy or tf.distribute.get_strategy()
    console = console or Console()
    options = options or LoopOptions()
    watch = watch or WatchOptions()
    cluster = Cluster.of(strategy)
    worker = Worker(cluster.index, cluster.count)
    steps = steps_per_epoch(examples, recipe.batch_size, worker)
    _check(recipe, strategy, weights)
    preprocessing = Preprocessing.of(recipe, network)
    network = dataclasses.replace(network, classes=len(examples.classes))
    checkpoints = Checkpoints(
        directory / "checkpoints",
        keep_last=options.keep_last,
        keep_best=max(options.keep_best, int(options.export == "best")),
    )

    keras.utils.set_random_seed(seed)
    size = preprocessing.size
    model = keras_resnet.build(network, input_shape=(size, size, 3))
    if weights and not checkpoints.paths() and not load_initial_weights(model, weights):
        console.print(f"new classifier for {network.classes} classes")
    sizes = recipe.train_sizes(size)
    with lost_workers(strategy):
        training_step, evaluated = _on_replicas(
            model, network, recipe, preprocessing, sizes, steps, strategy, options
        )
    progress = Progress()
    variables = training_step.variables()
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    settings = _settings(examples, network, recipe, seed, max_bad_share, strategy)
    if checkpoint := checkpoints.newest(shapes, console):
        progress = _go_on(checkpoint, settings, allow_changed, steps, console)
        _assign(variables, checkpoint)
        if checkpoint.notes["steps_per_epoch"] != steps:
            # The schedule counts steps, of which an epoch has another number now.
            position = progress.epoch * steps + progress.step
            training_step.optimizer.iterations.assign(position)
        schedule = training_step.optimizer.schedule
        if isinstance(schedule, Plateau) and progress.schedule:
            schedule.restore(progress.schedule)

    with lost_workers(strategy):
        position = progress.epoch * steps + progress.step
        agree(strategy, position, "the step to go on from")
    directory.mkdir(parents=True, exist_ok=True)
    damage_log = directory / "damaged_records.txt"
    feed = training_feed(
        examples,
        recipe,
        preprocessing,
        strategy,
        seed,
        max_bad_share=max_bad_share,
        damage_log=damage_log,
        service=data_service,
    )
    local_batch = recipe.batch_size // cluster.count
    validation = evaluation_batches(
        examples,
        "validation",
        preprocessing,
        local_batch,
        worker=worker,
        max_bad_share=max_bad_share,
    )
    held_out = filled(validation.dataset, local_batch)
    callbacks = []
    if cluster.is_chief:
        sample = None
        if watch.tensorboard:
            with validation.damage.told():
                sample = EvaluationSample.of(
                    validation.dataset, examples.classes, steps * recipe.batch_size
                )
        parts = strategy.num_replicas_in_sync * recipe.accumulate
        callbacks = make_callbacks(
            directory,
            console,
            options=watch,
            images_at_once=recipe.batch_size // parts,
            sample=sample,
            schedule=training_step.optimizer.schedule,
            parameters=settings,
        )
    loop = Loop(
        strategy=strategy,
        recipe=recipe,
        steps_per_epoch=steps,
        training_step=training_step,
        evaluation_step=EvaluationStep(
            strategy, evaluated, network.classes, flip=recipe.test_flip
        ),
        feed=feed,
        held_out=lambda: distributed(strategy, recipe, held_out),
        progress=progress,
        checkpoints=checkpoints,
        settings=settings,
        directory=directory,
        callbacks=callbacks,
        watch=StallWatch(console, examples=examples.directory),
        options=options,
        console=console,
    )
    try:
        with lost_workers(strategy), validation.damage.told():
            loop.run()
    except (tf.errors.OpError, MemoryError) as error:
        replicas, parts = strategy.num_replicas_in_sync, recipe.accumulate
        problem = advice(error, recipe.batch_size, replicas=replicas, accumulate=parts)
        if problem is None:
            raise
        raise UserError(problem) from error
    finally:
        close(callbacks)
    if damaged := feed.damaged():
        console.print(
            f"left out {len(damaged)} damaged records: {damage_log}", style="yellow"
        )

    result = TrainedModel(
        directory=directory,
        network=network,
        preprocessing=preprocessing,
        classes=examples.classes,
    )
    if cluster.is_chief:
        if options.export == "best" and (best := checkpoints.best(shapes, console)):
            _assign(variables, best)
        model.set_weights(evaluated.get_weights())
        plot_curves(directory / "history.csv", directory / "curves.png")
        result.save(model)
    with lost_workers(strategy):
        barrier(strategy)
    return result


def _check(recipe: Recipe, strategy: tf.distribute.Strategy, weights: str) -> None:
    parts = strategy.num_replicas_in_sync * recipe.accumulate
    if recipe.batch_size % parts:
        raise UserError(
            f"a batch of {recipe.batch_size} cannot be shared equally by "
            f"{strategy.num_replicas_in_sync} replicas with {recipe.accumulate} parts "
            f"each; give --set=batch_size=N with a multiple of {parts}"
        )
    keeps = [f"the layers of {stage}" for stage in recipe.frozen_stages]
    if recipe.batch_norm == "frozen":
        keeps.append("the statistics of batch norms")
    if keeps and not weights:
        raise UserError(
            f"recipe {recipe.name!r} keeps {' and '.join(keeps)} as they are, and "
            "without weights they are random; give --weights, such as "
            "--weights=imagenet or an earlier run's folder, or another --recipe"
        )


def _on_replicas(
    model: keras.Model,
    network: keras_resnet.ResNetSpec,
    recipe: Recipe,
    preprocessing: Preprocessing,
    sizes: tuple[int, ...],
    steps: int,
    strategy: tf.distribute.Strategy,
    options: LoopOptions,
) -> tuple[TrainingStep, keras.Model]:
    """Returns what trains a copy of a model, and the copy that is evaluated."""
    if set(sizes) != {preprocessing.size}:
        flexible = keras_resnet.build(network, input_shape=(None, None, 3))
        flexible.set_weights(model.get_weights())
        model = flexible

    def copy() -> keras.Model:
        copied = for_training(model, recipe)
        freeze(copied, recipe)
        return takes_pixels(copied, preprocessing)

    try:
        with strategy.scope():
            trained = copy()
            averaged = copy() if recipe.ema else None
            optimizer = make_optimizer(recipe, steps)
    except ValueError as error:
        raise UserError(str(error)) from error
    training_step = TrainingStep(
        strategy,
        trained,
        optimizer,
        recipe,
        network.classes,
        averaged=averaged,
        halts=options.on_nan != "skip",
    )
    return training_step, averaged or trained


def _settings(
    examples: Examples,
    network: keras_resnet.ResNetSpec,
    recipe: Recipe,
    seed: int,
    max_bad_share: float,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Returns what the weights at the end depend on, as JSON has it."""
    values = {
        "data": examples.made_from,
        "network": dataclasses.asdict(network),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "max_bad_share": max_bad_share,
        "replicas": strategy.num_replicas_in_sync,
        "workers": Cluster.of(strategy).count,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    return json.loads(json.dumps(flat(values)))


def _go_on(
    checkpoint: Checkpoint,
    settings: dict[str, Any],
    allow_changed: Collection[str],
    steps: int,
    console: Console,
) -> Progress:
    """Returns where the run is, after a look at what has changed since."""
    different = check_settings(
        checkpoint.notes["settings"], settings, allow_changed, console
    )
    progress = Progress.from_json(checkpoint.notes["progress"])
    if different and progress.step:
        # The same share of the epoch, whatever its number of steps.
        share = progress.step / checkpoint.notes["steps_per_epoch"]
        progress.step = round(share * steps)
    progress.note(f"went on from {checkpoint.path.name}")
    console.print(
        f"going on in epoch {progress.epoch + 1} after step {progress.step} of {steps}"
        if progress.step
        else f"going on after epoch {progress.epoch}",
        highlight=False,
    )
    return progress


def _assign(variables: dict[str, Any], checkpoint: Checkpoint) -> None:
    for name, variable in variables.items():
        variable.assign(checkpoint.arrays[name])
