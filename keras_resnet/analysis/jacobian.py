"""What a network, or one of its blocks, does to small changes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet import structure
from keras_resnet.analysis.gradients import gradients
from keras_resnet.analysis.plotting import new_axes

_MOST_VALUES = 8192


def jacobian(
    function: Callable[[Any], Any], point: Any, rows_at_once: int = 256
) -> np.ndarray:
    """Returns all derivatives of a function's outputs.

    Args:
        function: Takes a batch of points and returns a batch of outputs, each of which
            depends on its own point alone, as in a model in inference.
        point: One point, without the batch axis.
        rows_at_once: How many outputs to derive in one pass.

    Returns:
        float32 `(outputs, inputs)`, both flattened.

    Example:

    >>> jacobian(lambda x: x**2, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]], dtype=float32)
    """
    point = np.asarray(point, "float32")
    outputs = int(np.prod(function(ops.convert_to_tensor(point[None])).shape))
    rows = []
    for start in range(0, outputs, rows_at_once):
        # One copy of the point for each row, of which only that row's output counts.
        count = min(rows_at_once, outputs - start)
        wanted = ops.one_hot(np.arange(start, start + count), outputs)

        def own(x: Any, wanted: Any = wanted, count: int = count) -> Any:
            return ops.sum(ops.reshape(function(x), (count, -1)) * wanted)

        (found,) = gradients(own, [np.repeat(point[None], count, axis=0)])
        rows.append(found.reshape(count, -1))
    return np.concatenate(rows)


def singular_values(
    model: keras.Model, image: Any, block: str | None = None
) -> np.ndarray:
    """Returns the singular values of a block's Jacobian.

    All near 1 mean that a block hands changes, and gradients, on as they are.

    Args:
        model: A functional model; it is left as it is.
        image: One image as the model takes it, without the batch axis.
        block: A block such as `"conv4_block2"`. None for the whole model.

    Returns:
        float32, the largest first; as many as the smaller one of inputs and outputs.

    Raises:
        ValueError: If the block has more than 8,192 inputs or outputs, whose
            decomposition would take hours.

    Example:

    >>> singular_values(keras_resnet.ResNet20(), image, "conv4_block3")[0]
    1.7
    """
    part, x = model, ops.convert_to_tensor(np.asarray(image)[None])
    if block is not None:
        start = structure.source(model, block)
        part = keras.Model(start, structure.output(model, block))
        x = keras.Model(model.inputs, start)(x, training=False)
    point = ops.convert_to_numpy(x)[0]
    count = max(point.size, int(np.prod(part(x, training=False).shape)))
    if count > _MOST_VALUES:
        raise ValueError(
            f"{block or model.name!r} maps {count:,} values, and a Jacobian of more "
            f"than {_MOST_VALUES:,} is too large: give a smaller image, or a block of "
            "a later stage."
        )
    found = jacobian(lambda x: part(x, training=False), point)
    return np.linalg.svd(found, compute_uv=False)


def plot_spectrum(
    values: np.ndarray, axes: Any = None, label: str | None = None
) -> Any:
    """Draws singular values, the largest first; returns the `matplotlib.axes.Axes`."""
    axes = new_axes(axes, xlabel="index", ylabel="singular value")
    axes.plot(np.arange(1, len(values) + 1), values, label=label)
    return axes
