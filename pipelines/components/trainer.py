"""Trainer: examples and a recipe in, a trained model out."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import keras_resnet
from keras_resnet.training import Recipe
from keras_resnet.training.optimizers import make_optimizer
from pipelines.artifacts import Examples, TrainedModel
from pipelines.data.augmentation import compose
from pipelines.data.input_pipeline import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from pipelines.data.preprocessing import Preprocessing
from pipelines.errors import UserError
from pipelines.reports.curves import plot_curves
from pipelines.training.batch_norm import for_training
from pipelines.training.callbacks import ProgressBar, Throughput, history_logger
from pipelines.training.checkpoints import Checkpoint
from pipelines.training.initial_weights import load_initial_weights
from pipelines.training.labels import as_shares, loss_and_metrics
from pipelines.training.pixels import takes_pixels


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
    console: Console | None = None,
) -> TrainedModel:
    """Trains a network on the examples' split `"train"`.

    A directory that holds a finished model is left as it is; one that holds
    checkpoints is gone on with.

    Args:
        examples: What to train on; the classifier gets their classes.
        directory: Gets the model, `history.csv`, `curves.png`, `tensorboard/` and
            `checkpoints/`.
        network: The network.
        recipe: How to train.
        seed: Decides initial weights, order and augmentation.
        weights: Where initial weights come from, see `load_initial_weights`; empty for
            random ones.
        max_bad_share: Greatest share of damaged records that may be left out; they are
            listed in `damaged_records.txt`.
        strategy: Where steps run. Defaults to the one device.
        data_service: Address of a tf.data service, see `training_batches`.
        console: Where to show progress. Defaults to standard output.

    Returns:
        The trained model.

    Raises:
        UserError: If there are fewer images than one batch, the replicas cannot share a
            batch equally, the weights do not fit, too many records are damaged, or the
            network diverges.
    """
    if TrainedModel.is_in(directory):
        return TrainedModel.load(directory)
    strategy = strategy or tf.distribute.get_strategy()
    console = console or Console()
    steps = steps_per_epoch(examples, recipe.batch_size)
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise UserError(
            f"a batch of {recipe.batch_size} cannot be shared equally by {replicas} "
            "replicas; give --set=batch_size=N with a multiple of that"
        )
    preprocessing = Preprocessing.of(recipe, network)
    augmentation = compose(recipe.augmentation)
    network = dataclasses.replace(network, classes=len(examples.classes))

    keras.utils.set_random_seed(seed)
    size = preprocessing.size
    model = keras_resnet.build(network, input_shape=(size, size, 3))
    checkpoint = Checkpoint(directory / "checkpoints")
    starts_afresh = weights and not checkpoint.exists()
    if starts_afresh and not load_initial_weights(model, weights):
        console.print(f"new classifier for {network.classes} classes")
    with strategy.scope():
        trained = takes_pixels(for_training(model, recipe.batch_norm), preprocessing)
        try:
            optimizer = make_optimizer(recipe, steps)
        except ValueError as error:
            raise UserError(str(error)) from error
        trained.compile(
            optimizer=optimizer,
            **loss_and_metrics(network.classes, mixed=augmentation.mixes_labels),
        )
    initial_epoch = checkpoint.restore(trained)
    if initial_epoch:
        console.print(f"going on after epoch {initial_epoch}")

    directory.mkdir(parents=True, exist_ok=True)
    batches = training_batches(
        examples,
        preprocessing,
        augmentation,
        recipe.batch_size,
        range(initial_epoch, recipe.epochs),
        seed,
        max_bad_share=max_bad_share,
        damage_log=directory / "damaged_records.txt",
        service=data_service,
    )
    validation = evaluation_batches(
        examples,
        "validation",
        preprocessing,
        recipe.batch_size,
        max_bad_share=max_bad_share,
    )
    held_out = validation.dataset
    if augmentation.mixes_labels:
        held_out = as_shares(held_out, network.classes)
    history_path = directory / "history.csv"
    progress = ProgressBar(recipe.epochs, steps, recipe.batch_size, console)
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        Throughput(steps * recipe.batch_size),
        progress,
        history_logger(history_path, initial_epoch),
        keras.callbacks.TensorBoard(directory / "tensorboard", write_graph=False),
        checkpoint,
    ]
    try:
        with batches.damage.told(), validation.damage.told():
            trained.fit(
                batches.dataset,
                validation_data=held_out,
                epochs=recipe.epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
    finally:
        progress.close()
    if damaged := batches.damage.records:
        console.print(
            f"left out {len(damaged)} damaged records: {batches.damage.log}",
            style="yellow",
        )
    _check_finite(trained, recipe)

    model.set_weights(trained.get_weights())
    plot_curves(history_path, directory / "curves.png")
    result = TrainedModel(
        directory=directory,
        network=network,
        preprocessing=preprocessing,
        classes=examples.classes,
    )
    result.save(model)
    return result


def _check_finite(trained: keras.Model, recipe: Recipe) -> None:
    last_losses = trained.history.history.get("loss", [])[-1:]
    if all(
        np.isfinite(values).all() for values in [last_losses, *trained.get_weights()]
    ):
        return
    raise UserError(
        "the loss is no longer a number with "
        f"learning_rate={recipe.learning_rate}; the last checkpoint is kept; start "
        "again with a lower --set=learning_rate=RATE and --overwrite"
    )
