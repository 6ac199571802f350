"""Batch normalisation for training: one fused kernel, or synchronised replicas."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="pipelines")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that trains through TensorFlow's fused kernel.

    Keras composes the layer of separate operations, each of which reads or writes the
    whole activation; the kernel passes over it twice. Weights, configuration and
    results are those of the Keras layer, which computes what the kernel has not: any
    input but `(batch, height, width, channels)`, and synchronised statistics.

    Example:

    >>> settings = keras_resnet.Settings(norm_layer=FusedBatchNormalization)
    >>> keras_resnet.ResNet50(weights=None, settings=settings).fit(images, labels)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `inputs`, see `keras.layers.BatchNormalization`."""
        is_image = len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (training and self.trainable and is_image) or self.synchronized:
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


def _keras(config: dict[str, Any]) -> keras.layers.Layer:
    return keras.layers.BatchNormalization.from_config(config)


STATISTICS: dict[str, Callable[[dict[str, Any]], keras.layers.Layer]] = {
    "local": _fused,
    "synchronized": _synchronized,
    "frozen": _keras,
}
"""How a training step's batch norms are made, by `Recipe.batch_norm`."""
