"""How strongly layers respond."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_resnet import structure
from keras_resnet.analysis.gradients import outputs_of
from keras_resnet.analysis.plotting import new_axes


@dataclasses.dataclass(frozen=True)
class Responses:
    """Standard deviations of layers' responses.

    Args:
        layers: The convolutions' names, in the network's order.
        stds: float64 `(layers,)`, over all images, places and channels.
    """

    layers: tuple[str, ...]
    stds: np.ndarray

    def plot(
        self, axes: Any = None, label: str | None = None, ordered: bool = False
    ) -> Any:
        """Draws the deviations by layer, or by their own magnitude, as Figure 7 does.

        Args:
            axes: Where to draw. Defaults to a new figure.
            label: What the network is called.
            ordered: Whether the largest comes first (Figure 7, bottom).

        Returns:
            The `matplotlib.axes.Axes`.
        """
        axes = new_axes(
            axes,
            xlabel="layer index" + (" (sorted by magnitude)" if ordered else ""),
            ylabel="std of responses",
        )
        stds = np.sort(self.stds)[::-1] if ordered else self.stds
        axes.plot(np.arange(1, len(stds) + 1), stds, label=label)
        return axes


def responses(model: keras.Model, images: Any, batch_size: int = 32) -> Responses:
    """Measures how strongly the convolutions of a network respond (Figure 7).

    A response is what comes out of the batch norm that directly follows a convolution,
    or of the convolution itself where none does: before nonlinearity and addition.
    Convolutions of shortcuts are left out.

    Args:
        model: A functional model; it is left as it is.
        images: `(batch, height, width, channels)` as the model takes them.
        batch_size: Images at a time.

    Returns:
        The `Responses`.

    Raises:
        ValueError: If the model has no convolutions, or is not functional.

    Example:

    >>> found = responses(keras_resnet.ResNet20(), images)
    >>> len(found.layers)
    19
    """
    calls = structure.calls(model)
    takers: dict[int, list[Any]] = {}
    for call in calls:
        for tensor in call.inputs:
            takers.setdefault(id(tensor), []).append(call.operation)
    places = {}
    for operation, _, (output,) in (call for call in calls if len(call.outputs) == 1):
        is_shortcut = structure.split_name(operation.name)[1].startswith("0_")
        if "Conv" not in type(operation).__name__ or is_shortcut:
            continue
        following = takers.get(id(output), [])
        is_normed = [type(one).__name__ for one in following] == ["BatchNormalization"]
        places[operation.name] = (following[0] if is_normed else operation).name
    if not places:
        raise ValueError(f"{model.name!r} has no convolutions whose responses to see.")
    moments = np.zeros((3, len(places)))
    for found in outputs_of(model, list(places.values()), images, batch_size):
        for index, values in enumerate(found):
            wide = values.astype("float64")
            moments[:, index] += wide.size, wide.sum(), np.square(wide).sum()
    count, total, squares = moments
    variances = squares / count - np.square(total / count)
    return Responses(tuple(places), np.sqrt(np.maximum(variances, 0)))
