"""Where a network looks, as part of what is served: no Keras, all stages at once."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_resnet import structure
from keras_resnet.preprocessing import Preprocessing, Standardize

# uint8 images `(batch, size, size, 3)` and int64 ranks `(batch,)` in, maps
# `(batch, height, width)` by the names of the stages out.
Attention = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


def attention_of(
    network: keras.Model, preprocessing: Preprocessing, top_k: int
) -> Attention:
    """Returns Grad-CAM as a function for graphs.

    It gives what `keras_resnet.analysis.grad_cam` gives, which says more.

    Args:
        network: A classifier of keras_resnet that takes normalised images.
        preprocessing: The colour order, scale, mean and standard deviation.
        top_k: Number of ranks: 0 asks about the best class, 1 about the second.

    Example:

    >>> attention = attention_of(network, preprocessing, top_k=5)
    >>> attention(images, tf.zeros([8], tf.int64))["conv5"].shape
    TensorShape([8, 7, 7])
    """
    classifier = network.layers[-1]
    stages = structure.stages(network)
    outputs = [structure.output(network, blocks[-1]) for blocks in stages.values()]
    body = keras.Model(network.input, [*outputs, classifier.input])
    standardize = Standardize.from_preprocessing(preprocessing)

    def attention(images: tf.Tensor, ranks: tf.Tensor) -> dict[str, tf.Tensor]:
        normalised = standardize(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(normalised)
            *activations, features = body(normalised, training=False)
            scores = tf.matmul(features, classifier.kernel) + classifier.bias
            best = tf.math.top_k(scores, top_k).values
            asked = tf.gather(best, tf.clip_by_value(ranks, 0, top_k - 1), batch_dims=1)
        slopes = tape.gradient(asked, activations)
        return {
            stage: _map(values, slope)
            for stage, values, slope in zip(stages, activations, slopes, strict=True)
        }

    return attention


def _map(activations: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    """Returns the activations weighted by their channels' slopes, in 0..1."""
    weights = tf.reduce_mean(slopes, (1, 2), keepdims=True)
    found = tf.nn.relu(tf.reduce_sum(activations * weights, -1))
    return tf.math.divide_no_nan(found, tf.reduce_max(found, (1, 2), keepdims=True))
