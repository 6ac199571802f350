"""Batch normalisation for training: one fused kernel, or synchronised replicas."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that trains through TensorFlow's fused kernel.

    Keras composes the layer of separate operations, each of which reads or writes the
    whole activation; the kernel passes over it twice. Weights, configuration and
    results are those of the Keras layer. Statistics are those of the replica's own
    images.

    Takes 4-D float inputs `(batch, height, width, channels)`.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `inputs`, see `keras.layers.BatchNormalization`."""
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel's variance is the unbiased estimate; Keras keeps the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        self._average(self.moving_mean, mean)
        self._average(self.moving_variance, variance * (count - 1.0) / count)
        return outputs

    def _average(self, variable: Any, value: tf.Tensor) -> None:
        variable.assign(variable * self.momentum + value * (1.0 - self.momentum))


def _fused(config: dict[str, Any]) -> keras.layers.Layer:
    return FusedBatchNormalization.from_config(config)


def _synchronized(config: dict[str, Any]) -> keras.layers.Layer:
    return keras.layers.BatchNormalization.from_config({**config, "synchronized": True})


STATISTICS: dict[str, Callable[[dict[str, Any]], keras.layers.Layer]] = {
    "local": _fused,
    "synchronized": _synchronized,
}
"""How a training step's statistics are taken, by name."""


def for_training(model: keras.Model, statistics: str) -> keras.Model:
    """Returns a copy of `model` whose batch norms train as `statistics` says.

    Args:
        model: A functional model in channels-last format.
        statistics: `"local"` or `"synchronized"`, see `Recipe.batch_norm`.

    Returns:
        A new model with the same layers' names, weights' shapes and weights' values.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if type(layer) is keras.layers.BatchNormalization:
            return STATISTICS[statistics](layer.get_config())
        return type(layer).from_config(layer.get_config())

    trained = keras.models.clone_model(model, clone_function=copy)
    trained.set_weights(model.get_weights())
    return trained
