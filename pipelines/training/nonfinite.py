"""Where a step stopped being finite, and with which images."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import files


def folder(directory: Path) -> Path:
    """Returns where a run keeps the images of steps that were not finite."""
    return directory / "nonfinite"


def first_failure(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    loss: Any,
    batch: Any,
    *,
    parts: int = 1,
) -> str:
    """Returns what is not finite first, in the order in which a step computes.

    The statistics of batch norms are left as they are.

    Args:
        strategy: Where steps run.
        network: Takes uint8 images and wraps the layers in one model, see
            `pipelines.training.network.takes_pixels`.
        loss: Takes labels and logits.
        batch: Images and labels as the step had them.
        parts: In how many parts a replica runs its images, see `Recipe.accumulate`.

    Returns:
        For example `"the output of layer conv3_block1_1_conv"`.
    """
    for variable in network.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            return f"the weight {variable.path}"
    normalized, inner = network.layers[-2].output, network.layers[-1]
    layers = [layer.name for layer in inner.layers[1:]]
    outputs = [layer.output for layer in inner.layers[1:]]
    watched = keras.Model(inner.input, outputs)
    pixels = keras.Model(network.input, normalized)
    statistics = [variable.value for variable in network.non_trainable_variables]

    def search(part: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> Any:
        size = tf.shape(images)[0] // parts
        images, labels = (
            values[part * size : (part + 1) * size] for values in (images, labels)
        )
        before = [tf.identity(variable) for variable in statistics]
        with tf.GradientTape() as tape:
            values = watched(pixels(images), training=True)
            losses = loss(labels, values[-1])
        gradients = tape.gradient(losses, network.trainable_variables)
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        return [_is_finite(v) for v in (*values, losses, *reversed(gradients))]

    names = [
        *(f"the output of layer {name}" for name in layers),
        "the loss",
        *(f"the gradient of {v.path}" for v in reversed(network.trainable_variables)),
    ]
    run = tf.function(lambda *batch: strategy.run(search, args=batch), autograph=False)
    for part in range(parts):
        for name, finite in zip(names, run(tf.constant(part), *batch), strict=True):
            if not all(map(bool, strategy.experimental_local_results(finite))):
                return name
    return "the sum over all images"


def _is_finite(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(values))


def save_batch(path: Path, strategy: tf.distribute.Strategy, batch: Any) -> None:
    """Writes this worker's images and labels of a step, for replay.

    Args:
        path: The `.npz` to write: `images`, uint8 `(batch, height, width, 3)`, and
            `labels`.
        strategy: Where steps run.
        batch: Images and labels as the step had them.

    Example:

    >>> values = np.load("runs/demo/model/nonfinite/epoch-3-step-120.npz")
    >>> network(values["images"], training=True)
    """
    images, labels = (
        np.concatenate([np.asarray(part) for part in parts])
        for parts in map(strategy.experimental_local_results, batch)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=images, labels=labels)
