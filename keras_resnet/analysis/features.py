"""What a network's first filters, and its later channels, look for."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet.analysis.gradients import gradients
from keras_resnet.conv import channel_axis


def first_filters(model: keras.Model) -> np.ndarray:
    """Returns the filters of the first convolution as pictures.

    Args:
        model: A functional model of images.

    Returns:
        float32 `(filters, height, width, channels)`, each filter scaled to 0..1.

    Raises:
        ValueError: If the model has no two-dimensional convolution.

    Example:

    >>> plot_images(first_filters(keras_resnet.ResNet50(weights="imagenet")))
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.moveaxis(ops.convert_to_numpy(layer.kernel), -1, 0)
            return _stretched(kernel.astype("float32"))
    raise ValueError(f"{model.name!r} has no two-dimensional convolution.")


def visualize(
    model: keras.Model,
    layer: str,
    channels: Any,
    size: int = 32,
    steps: int = 64,
    rate: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Makes images that excite channels of a layer (1312.6034, section 2).

    Gradient ascent on the mean activation, from noise, by steps of the same length.

    Args:
        model: A functional model of images; it is left as it is.
        layer: A layer's name, such as `"conv4_block3_out"`.
        channels: Integers, which channels.
        size: Height and width of the images.
        steps: Number of steps.
        rate: Length of a step: root mean square of the change of a pixel.
        seed: Decides the noise.

    Returns:
        float32 `(channels, size, size, image channels)`, each image scaled to 0..1.

    Raises:
        ValueError: If there is no such layer.

    Example:

    >>> plot_images(visualize(model, "conv4_block3_out", range(16)))
    """
    part = keras.Model(model.inputs, model.get_layer(layer).output)
    axis = channel_axis()
    shape = [size, size, size]
    shape[axis] = model.inputs[0].shape[axis]
    noise = np.random.default_rng(seed).normal(0, 0.1, shape)
    images = np.stack([noise.astype("float32")] * len(channels))
    wanted = np.array(list(channels))
    own = ops.one_hot(wanted, part.output.shape[axis])

    def excitement(x: Any) -> Any:
        seen = ops.moveaxis(part(x, training=False), axis, -1)
        means = ops.mean(ops.reshape(seen, (len(wanted), -1, seen.shape[-1])), axis=1)
        return ops.sum(means * own)

    for _ in range(steps):
        (slopes,) = gradients(excitement, [images])
        spread = np.sqrt(np.square(slopes).mean(axis=(1, 2, 3), keepdims=True))
        images += rate * slopes / np.where(spread > 0, spread, 1)
    return _stretched(np.moveaxis(images, axis, -1))


def _stretched(images: np.ndarray) -> np.ndarray:
    low, high = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return (images - low) / np.where(high > low, high - low, 1)
