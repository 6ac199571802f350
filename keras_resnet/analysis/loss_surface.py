"""The loss around trained weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet.analysis.gradients import gradients
from keras_resnet.analysis.plotting import new_axes

Weights = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class LossSurface:
    """A loss over a plane through a network's weights.

    Args:
        xs: float64 `(columns,)`: steps along the first direction.
        ys: float64 `(rows,)`: steps along the second.
        losses: float64 `(rows, columns)`.
    """

    xs: np.ndarray
    ys: np.ndarray
    losses: np.ndarray

    def plot(self, axes: Any = None, levels: int = 20) -> Any:
        """Draws contours; axes of `projection="3d"` get the surface instead.

        Args:
            axes: Where to draw. Defaults to a new figure.
            levels: Number of contours.

        Returns:
            The `matplotlib.axes.Axes`.
        """
        axes = new_axes(axes, xlabel="first direction", ylabel="second direction")
        if hasattr(axes, "plot_surface"):
            axes.plot_surface(*np.meshgrid(self.xs, self.ys), self.losses)
        else:
            axes.clabel(axes.contour(self.xs, self.ys, self.losses, levels))
        return axes


def filter_normalized_direction(model: keras.Model, seed: int = 0) -> Weights:
    """Draws a direction in which each filter moves as far as it is long.

    1712.09913, section 4: random numbers, each filter of which is scaled to the norm of
    the model's. Biases and batch norms do not move.

    Args:
        model: A model with weights.
        seed: Decides the direction.

    Returns:
        Arrays of the shapes of `model.get_weights()`.

    Example:

    >>> step = filter_normalized_direction(keras_resnet.ResNet20(), seed=1)
    """
    rng = np.random.default_rng(seed)
    direction = []
    for weights in model.get_weights():
        step = np.zeros_like(weights)
        if weights.ndim > 1:
            # Keras has a convolution's filters, and a dense layer's units, last.
            others = tuple(range(weights.ndim - 1))
            step = rng.standard_normal(weights.shape).astype(weights.dtype)
            norms = [np.sqrt(np.square(a).sum(axis=others)) for a in (weights, step)]
            step *= norms[0] / norms[1]
        direction.append(step)
    return direction


def loss_surface(
    model: keras.Model,
    loss: Callable[[keras.Model], float],
    xs: Sequence[float],
    ys: Sequence[float] = (0.0,),
    seed: int = 0,
) -> LossSurface:
    """Computes the loss over a plane of two filter-normalised directions (1712.09913).

    Args:
        model: A functional model; it is left as it is.
        loss: Judges a network of other weights.
        xs: Steps along the first direction; 0 is where the model is, and at 1 each
            filter has moved by its own length.
        ys: Steps along the second. By default the surface is a line.
        seed: Decides the directions.

    Returns:
        The `LossSurface`.

    Example:

    >>> steps = np.linspace(-1, 1, 51)
    >>> axes = loss_surface(model, loss, steps, steps).plot()
    """
    first, second = (
        filter_normalized_direction(model, 2 * seed + index) for index in (0, 1)
    )
    moved = keras.models.clone_model(model)
    start = model.get_weights()
    losses = np.empty((len(ys), len(xs)))
    for row, y in enumerate(ys):
        for column, x in enumerate(xs):
            moved.set_weights(
                [
                    w + x * a + y * b
                    for w, a, b in zip(start, first, second, strict=True)
                ]
            )
            losses[row, column] = loss(moved)
    return LossSurface(np.asarray(xs, float), np.asarray(ys, float), losses)


def hessian_extremes(
    loss: Callable[..., Any],
    weights: Sequence[Any],
    iterations: int = 20,
    step: float = 1e-2,
    seed: int = 0,
) -> tuple[float, float]:
    """Estimates the least and the greatest curvature of a loss.

    1712.09913, section 6, measures by the ratio of their sizes how far a surface is
    from convex: it is 0 where nothing bends downwards. By the method of Lanczos, on
    differences of gradients.

    Args:
        loss: Takes a tensor for each of `weights`, returns a scalar tensor.
        weights: Where, arrays.
        iterations: Steps of the method, each of two gradients; at most the number of
            weights is of use.
        step: L2 distance over which gradients are compared.
        seed: Decides where the method starts.

    Returns:
        The least and the greatest eigenvalue of the Hessian, as far as they were found:
        the least is never too small, the greatest never too large, but for rounding.

    Example:

    >>> hessian_extremes(lambda w: ops.sum(w * w * [1.0, -3.0]), [np.ones(2)])
    (-6.0, 2.0)
    """
    shapes = [np.shape(one) for one in weights]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    start = np.concatenate([np.ravel(one) for one in weights]).astype("float64")

    def gradient(point: np.ndarray) -> np.ndarray:
        parts = [
            part.reshape(shape)
            for part, shape in zip(np.split(point, ends[:-1]), shapes, strict=True)
        ]
        found = gradients(loss, parts)
        return np.concatenate([np.ravel(one) for one in found]).astype("float64")

    def curvature_along(way: np.ndarray) -> np.ndarray:
        ahead, behind = (gradient(start + sign * step * way) for sign in (1, -1))
        return (ahead - behind) / (2 * step)

    way = np.random.default_rng(seed).standard_normal(start.size)
    basis = [way / np.linalg.norm(way)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = curvature_along(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        # Against all, since rounding lets the basis lean.
        for _ in range(2):
            for one in basis:
                image -= (image @ one) * one
        rest = float(np.linalg.norm(image))
        is_whole = rest <= 1e-3 * max(map(abs, diagonal))
        if is_whole or len(diagonal) == min(iterations, start.size):
            break
        beside.append(rest)
        basis.append(image / rest)
    found = np.linalg.eigvalsh(
        np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    )
    return float(found[0]), float(found[-1])
