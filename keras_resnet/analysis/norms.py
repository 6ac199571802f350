"""How large activations and gradients are, layer by layer."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet.analysis.gradients import gradients
from keras_resnet.analysis.plotting import new_axes
from keras_resnet.surgery.rebuild import rebuild


@dataclasses.dataclass(frozen=True)
class LayerNorms:
    """Norms at the outputs of layers.

    Args:
        layers: The layers' names, in the order asked for.
        activations: float64 `(layers,)`: root mean square of the activations.
        gradients: float64 `(layers,)`: L2 norm of the loss' gradient with respect to
            them, over the whole batch.
    """

    layers: tuple[str, ...]
    activations: np.ndarray
    gradients: np.ndarray

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """Draws the gradients' norms by layer on a logarithmic scale."""
        axes = new_axes(
            axes, xlabel="layer", ylabel="norm of the gradient", yscale="log"
        )
        axes.plot(np.arange(1, len(self.layers) + 1), self.gradients, label=label)
        return axes


def layer_norms(
    model: keras.Model,
    images: Any,
    loss: Callable[[Any], Any],
    layers: Sequence[str] | None = None,
    training: bool = False,
) -> LayerNorms:
    """Measures activations and the gradients that reach them.

    Args:
        model: A functional model that calls no layer twice; it is left as it is.
        images: A batch as the model takes it.
        loss: Takes the model's output and returns a scalar tensor.
        layers: Names of layers. Defaults to all convolutions and dense layers.
        training: Whether batch norms use the batch's statistics, as in training.

    Returns:
        The `LayerNorms`.

    Raises:
        ValueError: If there is no layer of a name, or a layer is called twice.

    Example:

    >>> found = layer_norms(model, images, loss=lambda logits: ops.mean(logits[:, 0]))
    """
    weighted = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    if layers is None:
        layers = [one.name for one in model.layers if isinstance(one, weighted)]
    taps = {model.get_layer(name).name: Tap() for name in layers}
    tapped = tap(model, taps)
    batch = ops.convert_to_tensor(images)
    seen: dict[str, np.ndarray] = {}
    for name, one in taps.items():
        one.change = lambda x, name=name: seen.setdefault(name, x)
    tapped(batch, training=training)
    values = [ops.convert_to_numpy(seen[name]) for name in layers]

    def moved(*moves: Any) -> Any:
        for one, move in zip(taps.values(), moves, strict=True):
            one.change = lambda x, move=move: x + ops.cast(move, x.dtype)
        return loss(tapped(batch, training=training))

    slopes = gradients(moved, [np.zeros(value.shape) for value in values])
    return LayerNorms(
        tuple(layers),
        np.array([np.sqrt(np.square(v.astype("float64")).mean()) for v in values]),
        np.array([np.linalg.norm(slope.astype("float64")) for slope in slopes]),
    )


class Tap(keras.layers.Layer):
    """Gives what it gets, or what `change`, if set, makes of it."""

    change: Callable[[Any], Any] | None = None

    def call(self, x: Any) -> Any:
        """Returns `x` or `change(x)`."""
        return self.change(x) if self.change else x


def tap(model: keras.Model, taps: dict[str, Tap]) -> keras.Model:
    """Returns a copy of a model in which a tap follows each layer that is named."""

    def connect(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return taps[layer.name](output) if layer.name in taps else output

    return rebuild(model, connect=connect, new_layers=len(taps))
