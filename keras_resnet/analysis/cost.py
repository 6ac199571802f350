"""Parameters and multiply-adds, layer by layer."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_resnet import structure


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one call of a layer, for one image.

    Args:
        name: The layer's name, that of a nested model's layer behind the model's.
        kind: The layer's class name.
        output_shape: Shape of its output without the batch axis.
        parameters: Number of parameters that training changes, frozen or not.
        multiply_adds: Number of multiplications, each with its addition, in
            convolutions, dense layers and attention; zero for all others, as the paper
            counts.
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
        layers: One entry for each call of a layer, in the model's order.
    """

    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters (Table 6's "# params")."""
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

    The layers of a nested model stand in its place, as `"nested/layer"`. A layer that
    is called several times has an entry for each call, the parameters in the first.

    Args:
        model: A functional or sequential model.
        input_shape: Image shape without the batch axis to count for. Defaults to the
            model's own, which then must leave no size open.

    Returns:
        The `Cost`.

    Raises:
        ValueError: If the model's image size is open and `input_shape` is not given, or
            a layer multiplies in a way that is not known here.

    Example:

    >>> keras_resnet.analysis.cost(keras_resnet.ResNet50(weights=None)).multiply_adds
    3857973248
    """
    inputs = None
    if input_shape is not None:
        inputs = [keras.Input(tuple(input_shape), dtype=model.inputs[0].dtype)]
    for image in inputs or model.inputs:
        if None in image.shape[1:]:
            raise ValueError(
                f"{model.name!r} takes images of any size: pass `input_shape` to say "
                "for which size to count."
            )
    return Cost(tuple(_costs(structure.calls(model, inputs), "", set())))


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


def _costs(
    calls: list[structure.Call], prefix: str, seen: set[int]
) -> Iterator[LayerCost]:
    """Yields the entries of calls; `seen` are the layers that were counted before."""
    for operation, inputs, outputs in calls:
        name = f"{prefix}{operation.name}"
        if isinstance(operation, keras.Model):
            yield from _costs(structure.calls(operation, inputs), f"{name}/", seen)
            continue
        is_new = id(operation) not in seen
        seen.add(id(operation))
        yield LayerCost(
            name=name,
            kind=type(operation).__name__,
            output_shape=tuple(outputs[0].shape[1:]),
            parameters=_parameters(operation) if is_new else 0,
            multiply_adds=_multiply_adds(operation, inputs, outputs),
        )


def _parameters(operation: Any) -> int:
    """Counts what training changes, also where it is frozen: no running statistics."""
    statistics = {
        id(getattr(operation, name, None))
        for name in ("moving_mean", "moving_variance")
    }
    return sum(
        math.prod(weight.shape)
        for weight in getattr(operation, "weights", ())
        if id(weight) not in statistics
    )


Tensors = list[keras.KerasTensor]


def _positions(layer: Any, tensor: keras.KerasTensor) -> int:
    """Returns the number of a feature map's pixels."""
    shape = tensor.shape[1:]
    return math.prod(shape[:-1] if layer.data_format == "channels_last" else shape[1:])


def _convolution(layer: Any, inputs: Tensors, outputs: Tensors) -> int:
    return _positions(layer, outputs[0]) * math.prod(layer.kernel.shape)


def _transposed(layer: Any, inputs: Tensors, outputs: Tensors) -> int:
    return _positions(layer, inputs[0]) * math.prod(layer.kernel.shape)


def _separable(layer: Any, inputs: Tensors, outputs: Tensors) -> int:
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    weights = sum(math.prod(kernel.shape) for kernel in kernels)
    return _positions(layer, outputs[0]) * weights


def _dense(layer: Any, inputs: Tensors, outputs: Tensors) -> int:
    return math.prod(outputs[0].shape[1:-1]) * math.prod(layer.kernel.shape)


def _attention(layer: Any, inputs: Tensors, outputs: Tensors) -> int:
    """Counts four projections, queries times keys, and weights times values."""
    query, key = math.prod(inputs[0].shape[1:-1]), math.prod(inputs[1].shape[1:-1])
    kernels = [weight.shape for weight in layer.weights if len(weight.shape) == 3]
    projections = sum(
        positions * math.prod(kernel)
        for positions, kernel in zip((query, key, key, query), kernels, strict=True)
    )
    return projections + query * key * layer.num_heads * (
        layer.key_dim + layer.value_dim
    )


_COUNTS: dict[tuple[type, ...], Callable[[Any, Tensors, Tensors], int]] = {
    (keras.layers.Dense,): _dense,
    (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D): _convolution,
    (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D): _convolution,
    (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D): _separable,
    (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    ): _transposed,
    (keras.layers.MultiHeadAttention,): _attention,
    (keras.layers.Embedding, keras.layers.PReLU): lambda *call: 0,
}

# Without weights, and yet products of what they are called on.
_UNCOUNTED_LAYERS = (keras.layers.Attention, keras.layers.Dot)
_UNCOUNTED_OPERATIONS = (
    r"(\w*conv\w*|\w*attention|dot|einsum|inner|matmul|outer|tensordot|vdot)(_\d+)?"
)


def _multiply_adds(operation: Any, inputs: Tensors, outputs: Tensors) -> int:
    for kinds, count in _COUNTS.items():
        if isinstance(operation, kinds):
            return count(operation, inputs, outputs)
    if isinstance(operation, keras.layers.Layer):
        # One weight for each channel scales, as batch norms do; a matrix multiplies.
        is_known = not isinstance(operation, _UNCOUNTED_LAYERS) and all(
            len(weight.shape) < 2 for weight in operation.weights
        )
    else:
        is_known = not re.fullmatch(_UNCOUNTED_OPERATIONS, operation.name)
    if not is_known:
        raise ValueError(
            f"The multiply-adds of {operation.name!r}, a {type(operation).__name__}, "
            "are not known: count a model without it, or each part by itself."
        )
    return 0
