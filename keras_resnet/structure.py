"""What a model is made of: its calls, its stages and blocks by name, its depth."""

import collections
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

_LAYER = re.compile(r"(?P<block>(?P<stage>conv\d+)_block(?P<index>\d+))_(?P<part>.+)")


class Call(NamedTuple):
    """One use of a layer, or of an operation of `keras.ops`, in a functional model.

    Args:
        operation: The layer or operation; a nested model is one layer.
        inputs: What it was called on.
        outputs: What came out, symbolic tensors.
    """

    operation: Any
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def calls(
    model: keras.Model, inputs: Sequence[keras.KerasTensor] | None = None
) -> list[Call]:
    """Lists all calls that make a model, in an order in which they can be made.

    A shared layer is called several times. The model is left as it is, and no weights
    are made.

    Args:
        model: A functional or sequential model that knows its input.
        inputs: Symbolic tensors to call it on, one for each input, instead of those
            that it was made with.

    Returns:
        The calls, without those of `keras.Input`.

    Raises:
        ValueError: If it is neither functional nor a sequential model that is built.

    Example:

    >>> [call.operation.name for call in calls(keras_resnet.ResNet20())][:2]
    ['conv1_conv', 'conv1_bn']
    """
    allow_recursion(len(model.layers))
    try:
        functional = keras.Model(model.inputs, model.outputs)
    except (AttributeError, ValueError, TypeError):
        raise ValueError(
            f"{model.name!r} is not a functional model, so which layers it calls "
            "cannot be seen: give a functional one."
        ) from None
    found: list[Call] = []

    def record(stand_in: _StandIn, *args: Any, **kwargs: Any) -> Any:
        outputs = stand_in(*args, **kwargs)
        sides = map(keras.tree.flatten, ((args, kwargs), outputs))
        tensors = (list(filter(keras.utils.is_keras_tensor, side)) for side in sides)
        found.append(Call(stand_in.operation, *tensors))
        return outputs

    keras.models.clone_model(
        functional,
        input_tensors=None if inputs is None else list(inputs),
        clone_function=_StandIn,
        call_function=record,
    )
    return found


class _StandIn(keras.layers.Layer):
    """Has the shapes of an operation, and neither its weights nor its calls."""

    def __init__(self, operation: Any) -> None:
        super().__init__(name=operation.name)
        self.operation = operation

    def call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.operation.compute_output_spec(*args, **kwargs)


def check_unshared(model: keras.Model) -> None:
    """Refuses a model that calls a layer more than once.

    Raises:
        ValueError: If it does; the message names the layer.
    """
    uses = collections.Counter(call.operation.name for call in calls(model))
    name, count = uses.most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"Layer {name!r} of {model.name!r} is called {count} times, and surgery "
            "would change all of its calls at once: give each call a layer of its own."
        )


def split_name(layer_name: str) -> tuple[str, str]:
    """Returns the block of a layer, "" if there is none, and the rest of its name.

    Example:

    >>> split_name("conv3_block2_1_conv"), split_name("avg_pool")
    (('conv3_block2', '1_conv'), ('', 'avg_pool'))
    """
    match = _LAYER.fullmatch(layer_name)
    return (match["block"], match["part"]) if match else ("", layer_name)


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Lists the blocks of each stage.

    Args:
        model: A model whose layers are named as in `keras.applications`.

    Returns:
        For example `{"conv2": ["conv2_block1", "conv2_block2"], ...}`, in order.

    Raises:
        ValueError: If `model` has no such layers.

    Example:

    >>> stages(keras_resnet.ResNet18(weights=None))["conv5"]
    ['conv5_block1', 'conv5_block2']
    """
    found: dict[str, dict[int, str]] = {}
    for layer in model.layers:
        if match := _LAYER.fullmatch(layer.name):
            found.setdefault(match["stage"], {})[int(match["index"])] = match["block"]
    if not found:
        raise ValueError(
            f"Model {model.name!r} has no layers named like 'conv2_block1_out': give "
            "a network of keras_resnet itself, not a model that wraps it."
        )
    return {
        stage: [blocks[index] for index in sorted(blocks)]
        for stage, blocks in sorted(found.items(), key=lambda item: int(item[0][4:]))
    }


def output(model: keras.Model, block: str) -> keras.KerasTensor:
    """Returns the symbolic output of `block`."""
    return model.get_layer(f"{block}_out").output


def source(model: keras.Model, block: str) -> keras.KerasTensor:
    """Returns the symbolic input of `block`."""
    layers = [layer for layer in model.layers if split_name(layer.name)[0] == block]
    inside = {id(layer.output) for layer in layers}
    (start,) = {
        id(tensor): tensor
        for layer in layers
        for tensor in keras.tree.flatten(layer.input)
        if id(tensor) not in inside
    }.values()
    return start


def allow_recursion(layers: int) -> None:
    """Raises Python's recursion limit for a path of as many layers through a model.

    Keras walks the graph recursively when it builds, clones and loads a functional
    model, and may do so as long as the model lives: the limit stays raised.

    Example:

    >>> allow_recursion(10_000)
    >>> model = keras.saving.load_model("resnet1202.keras")
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + layers))
