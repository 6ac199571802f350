"""How open the gates of a network are."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_resnet.analysis.gradients import outputs_of
from keras_resnet.analysis.plotting import new_axes


@dataclasses.dataclass(frozen=True)
class GateStatistics:
    """The openness of gates, 0 for shut and 1 for open.

    Args:
        layers: The gates' layers, in the network's order.
        means: float64 `(gates,)`: mean over all images, places and channels.
        stds: float64 `(gates,)`: standard deviation over the same.
        open_shares: float64 `(gates,)`: share of the values above 0.5.
    """

    layers: tuple[str, ...]
    means: np.ndarray
    stds: np.ndarray
    open_shares: np.ndarray

    def plot(self, axes: Any = None) -> Any:
        """Draws the means by gate, with a standard deviation up and down."""
        axes = new_axes(axes, xlabel="gate", ylabel="openness", ylim=(0, 1))
        axes.errorbar(range(1, len(self.means) + 1), self.means, self.stds, fmt="o")
        return axes


def gate_statistics(model: keras.Model, images: Any) -> GateStatistics:
    """Measures how open the gates of a network are.

    Gates are the sigmoids of `shortcut="gated"` (highway networks, 1505.00387) and its
    variants, and of squeeze-and-excitation (1709.01507).

    Args:
        model: A functional model; it is left as it is.
        images: `(batch, height, width, channels)` as the model takes them.

    Returns:
        The `GateStatistics`.

    Raises:
        ValueError: If the model has no gates.

    Example:

    >>> model = keras_resnet.create("resnet20", shortcut="gated")
    >>> gate_statistics(model, images).means.round(2)[0]
    0.12
    """
    layers = [
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Activation)
        and layer.activation is keras.activations.sigmoid
    ]
    if not layers:
        raise ValueError(f"{model.name!r} has no gates, which are sigmoids.")
    # Means of batches would need their sizes; images of gates are small.
    found = [
        np.concatenate([one.ravel() for one in batches]).astype("float64")
        for batches in zip(*outputs_of(model, layers, images), strict=True)
    ]
    return GateStatistics(
        tuple(layers),
        np.array([one.mean() for one in found]),
        np.array([one.std() for one in found]),
        np.array([(one > 0.5).mean() for one in found]),
    )
