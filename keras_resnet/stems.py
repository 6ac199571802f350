"""What comes before the first stage."""

from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.convolution import convolution


def imagenet(x: Any, filters: int) -> Any:
    """Applies the 7x7/2 convolution and the 3x3/2 max-pool of Table 1.

    Args:
        x: Images `(batch, height, width, channels)` (or channels first).
        filters: Number of output channels.

    Returns:
        Tensor `(batch, height / 4, width / 4, filters)`, sizes rounded up.
    """
    x = convolution(x, filters, 7, strides=2, name="conv1")
    x = keras.layers.ReLU(name="conv1_relu")(x)
    # Zeros are neutral for the maximum of activations that are never negative.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def cifar(x: Any, filters: int) -> Any:
    """Applies the 3x3 convolution of section 4.2.

    Args:
        x: Images `(batch, height, width, channels)` (or channels first).
        filters: Number of output channels.

    Returns:
        Tensor `(batch, height, width, filters)`.
    """
    x = convolution(x, filters, 3, name="conv1")
    return keras.layers.ReLU(name="conv1_relu")(x)


STEMS: dict[str, Callable[[Any, int], Any]] = {"imagenet": imagenet, "cifar": cifar}
"""The stems by name."""
