"""Trainer: examples and a recipe in, a trained model out."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import keras_resnet
from pipelines.artifacts import Examples, TrainedModel
from pipelines.data.input_pipeline import evaluation_batches, training_batches
from pipelines.errors import UserError
from pipelines.reports.curves import plot_curves
from pipelines.training.batch_norm import for_training
from pipelines.training.callbacks import ProgressBar, Throughput, history_logger
from pipelines.training.checkpoints import Checkpoint
from pipelines.training.initial_weights import load_initial_weights
from pipelines.training.optimizers import make_optimizer
from pipelines.training.recipes import Recipe


def trainer(
    examples: Examples,
    directory: Path,
    *,
    network: keras_resnet.ResNetSpec,
    recipe: Recipe,
    seed: int = 0,
    weights: str = "",
    strategy: tf.distribute.Strategy | None = None,
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
        strategy: Where steps run. Defaults to the one device.
        console: Where to show progress. Defaults to standard output.

    Returns:
        The trained model.

    Raises:
        UserError: If there are fewer images than one batch, the replicas cannot share a
            batch equally, the weights do not fit, or the network diverges.
    """
    if TrainedModel.is_in(directory):
        return TrainedModel.load(directory)
    strategy = strategy or tf.distribute.get_strategy()
    console = console or Console()
    steps_per_epoch = examples.counts["train"] // recipe.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"{examples.counts['train']} training images do not fill one batch of "
            f"{recipe.batch_size}; give a smaller --set=batch_size=N or more images"
        )
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise UserError(
            f"a batch of {recipe.batch_size} cannot be shared equally by {replicas} "
            "replicas; give --set=batch_size=N with a multiple of that"
        )
    preprocessing = recipe.preprocessing(network.input_size)
    network = dataclasses.replace(network, classes=len(examples.classes))

    keras.utils.set_random_seed(seed)
    size = preprocessing.size
    model = keras_resnet.build(network, input_shape=(size, size, 3))
    checkpoint = Checkpoint(directory / "checkpoints")
    starts_afresh = weights and not checkpoint.exists()
    if starts_afresh and not load_initial_weights(model, weights):
        console.print(f"new classifier for {network.classes} classes")
    with strategy.scope():
        trained = for_training(model, recipe.batch_norm)
        trained.compile(
            optimizer=make_optimizer(recipe, recipe.epochs * steps_per_epoch),
            loss="sparse_categorical_crossentropy",
            metrics=[
                keras.metrics.SparseCategoricalAccuracy("top1"),
                keras.metrics.SparseTopKCategoricalAccuracy(
                    min(5, network.classes), "top5"
                ),
            ],
        )
    initial_epoch = checkpoint.restore(trained)
    if initial_epoch:
        console.print(f"going on after epoch {initial_epoch}")

    directory.mkdir(parents=True, exist_ok=True)
    history_path = directory / "history.csv"
    progress = ProgressBar(recipe.epochs, steps_per_epoch, recipe.batch_size, console)
    try:
        trained.fit(
            training_batches(
                examples,
                preprocessing,
                recipe.augmentation,
                recipe.batch_size,
                range(initial_epoch, recipe.epochs),
                seed,
            ),
            validation_data=evaluation_batches(
                examples, "validation", preprocessing, recipe.batch_size
            ),
            epochs=recipe.epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                Throughput(steps_per_epoch * recipe.batch_size),
                progress,
                history_logger(history_path, initial_epoch),
                keras.callbacks.TensorBoard(
                    directory / "tensorboard", write_graph=False
                ),
                checkpoint,
            ],
            shuffle=False,
            verbose=0,
        )
    finally:
        progress.close()
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
