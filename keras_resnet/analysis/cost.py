"""Parameters and multiply-adds, layer by layer."""

import dataclasses
import math
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one image.

    Args:
        name: The layer's name.
        kind: The layer's class name.
        output_shape: Shape of its output without the batch axis.
        parameters: Number of trainable parameters.
        multiply_adds: Number of multiplications, each with its addition, in
            convolutions and dense layers; zero for all others, as the paper counts.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network for one image; `str()` gives a table.

    Args:
        layers: One entry for each layer, in the model's order.
    """

    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """Number of trainable parameters (Table 6's "# params")."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds (Table 1's "FLOPs")."""
        return sum(layer.multiply_adds for layer in self.layers)

    def __str__(self) -> str:
        total = LayerCost("total", "", (), self.parameters, self.multiply_adds)
        rows = [
            f"{layer.name:28} {layer.kind:24} {str(layer.output_shape or ''):>16} "
            f"{layer.parameters:>12,} {layer.multiply_adds:>16,}"
            for layer in (*self.layers, total)
        ]
        header = (
            f"{'layer':28} {'kind':24} {'output':>16} {'parameters':>12} "
            f"{'multiply-adds':>16}"
        )
        return "\n".join([header, *rows])


def cost(model: keras.Model, input_shape: tuple[int, ...] | None = None) -> Cost:
    """Counts parameters and multiply-adds of any functional model, layer by layer.

    Args:
        model: A functional model; every layer is called once.
        input_shape: Image shape without the batch axis to count for. Defaults to the
            model's own, which then must leave no size open.

    Returns:
        The `Cost`.

    Raises:
        ValueError: If the model's image size is open and `input_shape` is not given.

    Example:

    >>> keras_resnet.analysis.cost(keras_resnet.ResNet50(weights=None)).multiply_adds
    3857973248
    """
    if input_shape is not None:
        model = keras.models.clone_model(
            model, input_tensors=keras.Input(tuple(input_shape))
        )
    if None in model.input_shape[1:]:
        raise ValueError(
            f"{model.name!r} takes images of any size: pass `input_shape` to say for "
            "which size to count."
        )
    return Cost(tuple(_layer_cost(layer) for layer in model.layers))


@dataclasses.dataclass(frozen=True)
class CostComparison:
    """The costs of several networks side by side; `str()` gives a table.

    Args:
        costs: The cost of each network, by name.
    """

    costs: dict[str, Cost]

    def __str__(self) -> str:
        header = f"{'network':28} {'parameters':>14} {'multiply-adds':>18}"
        rows = [
            f"{name:28} {cost.parameters:>14,} {cost.multiply_adds:>18,}"
            for name, cost in self.costs.items()
        ]
        return "\n".join([header, *rows])


def compare_costs(*models: keras.Model) -> CostComparison:
    """Counts several models side by side, such as ResNet-34 and VGG-19 (section 3.3).

    Args:
        *models: Functional models, ours or those of `keras.applications`, each of one
            image size.

    Returns:
        The `CostComparison`.

    Raises:
        ValueError: If a model's image size is open.

    Example:

    >>> vgg19 = keras.applications.VGG19(weights=None)
    >>> resnet34 = keras_resnet.ResNet34(weights=None)
    >>> print(keras_resnet.analysis.compare_costs(resnet34, vgg19))
    network                          parameters      multiply-adds
    resnet34                         21,797,672      3,663,761,408
    vgg19                           143,667,240     19,632,062,464
    """
    return CostComparison({model.name: cost(model) for model in models})


def _layer_cost(layer: keras.layers.Layer) -> LayerCost:
    output_shape = tuple(layer.output.shape[1:])
    return LayerCost(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=output_shape,
        parameters=sum(math.prod(w.shape) for w in layer.trainable_weights),
        multiply_adds=_multiply_adds(layer, output_shape),
    )


def _multiply_adds(layer: Any, output_shape: tuple[int, ...]) -> int:
    if isinstance(layer, keras.layers.Dense):
        return math.prod(output_shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(
        layer, (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    ):
        channels_last = layer.data_format == "channels_last"
        space = output_shape[:-1] if channels_last else output_shape[1:]
        return math.prod(space) * math.prod(layer.kernel.shape)
    return 0
