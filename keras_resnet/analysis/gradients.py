"""Derivatives on any backend, and the outputs of layers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def gradients(function: Callable[..., Any], points: Sequence[Any]) -> list[np.ndarray]:
    """Returns the derivatives of a number with respect to what it is computed of.

    Keras has no gradients that all its backends share. It has training, and a step of
    gradient descent at rate 1 moves a weight that was 0 to minus its gradient.

    Args:
        function: Takes a float32 tensor for each of `points` and returns a scalar
            tensor, made with `keras.ops`, layers and models.
        points: Where to derive, arrays.

    Returns:
        float32, an array of the shape of each of `points`.

    Example:

    >>> gradients(lambda x, y: ops.sum(x * y), [np.ones(2), np.full(2, 3.0)])
    [array([3., 3.], dtype=float32), array([1., 1.], dtype=float32)]
    """
    moved = _Moved(function, [ops.convert_to_tensor(p, "float32") for p in points])
    moved.compile(
        keras.optimizers.SGD(1.0), loss=lambda _, given: given, run_eagerly=True
    )
    moved.train_on_batch(np.zeros((1, 1)), np.zeros(1))
    return [-ops.convert_to_numpy(move) for move in moved.moves]


class _Moved(keras.Model):
    """A function of points plus weights that are 0, and have the points' gradients."""

    def __init__(self, function: Callable[..., Any], points: list[Any]) -> None:
        super().__init__(dtype="float32")
        # Within a function, so that Keras does not take weights in it along.
        self.values = lambda moves: function(
            *(point + move for point, move in zip(points, moves, strict=True))
        )
        self.moves = [
            self.add_weight(shape=tuple(point.shape), initializer="zeros")
            for point in points
        ]

    def call(self, _: Any) -> Any:
        return self.values(self.moves)


def outputs_of(
    model: keras.Model, layers: Sequence[str], images: Any, batch_size: int = 32
) -> Iterator[list[np.ndarray]]:
    """Yields the outputs of layers in inference, batch by batch.

    Args:
        model: A functional model; it is left as it is.
        layers: The layers' names.
        images: An array as the model takes it.
        batch_size: Images at a time.

    Yields:
        A float32 array `(batch, ...)` of each layer.

    Raises:
        ValueError: If there is no layer of a name.

    Example:

    >>> for stem, answer in outputs_of(model, ["conv1_relu", "predictions"], images):
    ...     print(stem.mean(), answer.argmax(axis=-1))
    """
    seen = keras.Model(model.inputs, [model.get_layer(name).output for name in layers])
    for start in range(0, len(images), batch_size):
        batch = ops.convert_to_tensor(images[start : start + batch_size])
        found = keras.tree.flatten(seen(batch, training=False))
        yield [ops.convert_to_numpy(one).astype("float32") for one in found]
