"""A convolution and its batch normalisation, bound to the paper's settings."""

from typing import Any

import keras


def channel_axis() -> int:
    """Returns the channels' axis in the current `keras.config.image_data_format`."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def he_normal() -> keras.initializers.Initializer:
    """Returns the Gaussian of variance 2 / fan-in (He et al. 2015, 1502.01852, eq. 10).

    `keras.initializers.HeNormal` is that Gaussian cut off at two deviations.
    """
    return keras.initializers.VarianceScaling(
        scale=2.0, mode="fan_in", distribution="untruncated_normal"
    )


def convolution(
    x: Any, filters: int, kernel_size: int, strides: int = 1, *, name: str
) -> Any:
    """Convolves without bias, then normalises (section 3.4).

    A strided convolution pads both sides alike, as Caffe and PyTorch do; TensorFlow's
    `"same"` would pad the right and lower sides only.

    Args:
        x: Tensor `(batch, height, width, channels)` (or channels first).
        filters: Number of output channels.
        kernel_size: Height and width of the kernel, odd.
        strides: Stride in both directions.
        name: Prefix of the layers `{name}_pad`, `{name}_conv` and `{name}_bn`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Example:

    >>> x = convolution(keras.Input((224, 224, 3)), 64, 7, strides=2, name="conv1")
    """
    padding = "same"
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=he_normal(),
        name=f"{name}_conv",
    )(x)
    return keras.layers.BatchNormalization(
        axis=channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn"
    )(x)
