"""The residual blocks of Figure 5, for use in any functional model."""

from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.convolution import convolution
from keras_resnet.shortcuts import SHORTCUTS


def basic(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
) -> Any:
    """Adds two 3x3 convolutions to the shortcut (Figure 5, left).

    Args:
        x: Tensor `(batch, height, width, channels)` (or channels first).
        filters: Width of the convolutions and of the output.
        strides: Stride of the first convolution and of the shortcut.
        shortcut: `"A"`, `"B"` or `"C"`, see `keras_resnet.shortcuts`.
        name: Prefix of the layers' names. Defaults to a new `basic_N`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If `shortcut` is not a known option.

    Example:

    >>> x = keras_resnet.blocks.basic(keras.Input((32, 32, 16)), filters=32, strides=2)
    >>> x.shape
    (None, 16, 16, 32)
    """
    name = name or f"basic_{keras.backend.get_uid('basic')}"
    identity = _shortcut(shortcut)(x, filters, strides, name)
    x = convolution(x, filters, 3, strides=strides, name=f"{name}_1")
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = convolution(x, filters, 3, name=f"{name}_2")
    return _join(identity, x, name)


def bottleneck(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
) -> Any:
    """Adds 1x1, 3x3 and 1x1 convolutions to the shortcut (Figure 5, right).

    Args:
        x: Tensor `(batch, height, width, channels)` (or channels first).
        filters: Width of the 3x3 convolution; the output is four times as wide.
        strides: Stride of the first 1x1 convolution, as in the paper, and of the
            shortcut.
        shortcut: `"A"`, `"B"` or `"C"`, see `keras_resnet.shortcuts`.
        name: Prefix of the layers' names. Defaults to a new `bottleneck_N`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), 4 * filters)`.

    Raises:
        ValueError: If `shortcut` is not a known option.

    Example:

    >>> x = keras_resnet.blocks.bottleneck(keras.Input((56, 56, 64)), filters=64)
    >>> x.shape
    (None, 56, 56, 256)
    """
    name = name or f"bottleneck_{keras.backend.get_uid('bottleneck')}"
    identity = _shortcut(shortcut)(x, 4 * filters, strides, name)
    x = convolution(x, filters, 1, strides=strides, name=f"{name}_1")
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = convolution(x, filters, 3, name=f"{name}_2")
    x = keras.layers.ReLU(name=f"{name}_2_relu")(x)
    x = convolution(x, 4 * filters, 1, name=f"{name}_3")
    return _join(identity, x, name)


def _shortcut(option: str) -> Callable[[Any, int, int, str], Any]:
    if option not in SHORTCUTS:
        raise ValueError(
            f"`shortcut` must be one of {', '.join(map(repr, SHORTCUTS))}, "
            f"got {option!r}."
        )
    return SHORTCUTS[option]


def _join(identity: Any, residual: Any, name: str) -> Any:
    x = keras.layers.Add(name=f"{name}_add")([identity, residual])
    return keras.layers.ReLU(name=f"{name}_out")(x)


BLOCKS: dict[str, Callable[..., Any]] = {"basic": basic, "bottleneck": bottleneck}
"""The blocks by name."""
