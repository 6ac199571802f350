"""How alike layers, and gradients of neighbouring inputs, are."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet.analysis.gradients import gradients, outputs_of
from keras_resnet.analysis.plotting import new_axes


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Compares two representations of the same images.

    Linear centred kernel alignment (1905.00414, section 3).

    Args:
        x: `(images, features)`.
        y: `(images, other features)`.

    Returns:
        From 0, for features that have nothing to do with each other, to 1, for such as
        a rotation, a shift and a common scale take into each other.

    Example:

    >>> linear_cka(features, 3 * features[:, ::-1] + 1)
    1.0
    """
    x, y = (
        one - one.mean(axis=0) for one in (np.asarray(x, float), np.asarray(y, float))
    )
    # Of images by images where these are fewer than features: the same number.
    kernels = [one @ one.T for one in (x, y)]
    norms = np.prod([np.linalg.norm(kernel) for kernel in kernels])
    return float((kernels[0] * kernels[1]).sum() / norms) if norms else 0.0


def cka(
    model: keras.Model,
    images: Any,
    layers: Sequence[str],
    other: keras.Model | None = None,
    other_layers: Sequence[str] | None = None,
) -> np.ndarray:
    """Compares all pairs of layers by `linear_cka`.

    Args:
        model: A functional model; it is left as it is.
        images: `(batch, height, width, channels)` as the model takes them.
        layers: The names of layers.
        other: Another model that takes the same images. Defaults to `model`.
        other_layers: The other's layers. Defaults to `layers`.

    Returns:
        float64 `(layers, other layers)`.

    Raises:
        ValueError: If there is no layer of a name.

    Example:

    >>> cka(model, images, ["conv2_block3_out", "conv4_block3_out"])[0, 1]
    0.41
    """
    own = _features(model, images, layers)
    others = own
    if other is not None or other_layers is not None:
        others = _features(other or model, images, other_layers or layers)
    return np.array([[linear_cka(x, y) for y in others] for x in own])


def plot_cka(similarities: np.ndarray, axes: Any = None) -> Any:
    """Draws what `cka` returns; returns the `matplotlib.axes.Axes`."""
    axes = new_axes(axes, xlabel="layer", ylabel="layer")
    axes.grid(False)
    picture = axes.imshow(similarities, vmin=0, vmax=1, origin="lower")
    axes.figure.colorbar(picture, ax=axes, label="CKA")
    return axes


def _features(
    model: keras.Model, images: Any, layers: Sequence[str]
) -> list[np.ndarray]:
    batches = outputs_of(model, layers, images)
    return [
        np.concatenate(one).reshape(len(images), -1)
        for one in zip(*batches, strict=True)
    ]


def gradient_correlations(model: keras.Model, inputs: Any, seed: int = 0) -> np.ndarray:
    """Correlates the gradients at different inputs (1702.08591).

    Shattered gradients have nothing to do with each other even at inputs that are near.

    Args:
        model: A functional model that runs in inference; it is left as it is.
        inputs: A batch as the model takes it.
        seed: Decides the combination of the model's outputs that is derived.

    Returns:
        float64 `(batch, batch)`: cosines of the angles between the gradients with
        respect to each input, 0 where one is zero.

    Example:

    >>> gradient_correlations(model, np.stack([image, image + 0.01]))[0, 1]
    0.93
    """
    rng = np.random.default_rng(seed)
    weights = ops.convert_to_tensor(
        rng.standard_normal(model.output_shape[1:]), "float32"
    )
    (slopes,) = gradients(
        lambda x: ops.sum(model(x, training=False) * weights), [inputs]
    )
    flat = slopes.reshape(len(slopes), -1).astype("float64")
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(norms > 0, norms, 1)
    return flat @ flat.T


def plot_correlations(correlations: np.ndarray, axes: Any = None) -> Any:
    """Draws the mean correlation by how many places inputs lie apart.

    Args:
        correlations: What `gradient_correlations` returns for inputs along a line.
        axes: Where to draw. Defaults to a new figure.

    Returns:
        The `matplotlib.axes.Axes`.
    """
    axes = new_axes(axes, xlabel="lag", ylabel="correlation of gradients")
    axes.plot(
        [np.diagonal(correlations, lag).mean() for lag in range(len(correlations))]
    )
    return axes
