"""Deeper networks that compute what a shallower one does."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_resnet import structure
from keras_resnet.initializers import own_initializer
from keras_resnet.surgery.rebuild import copy_layer, rebuild

_CARRY = re.compile("0_(conv|bn|pool|subsample|zero_pad)")
_ANTIALIASING = re.compile(r"\d_aa")


def deepen(model: keras.Model, blocks_per_stage: Sequence[int]) -> keras.Model:
    """Adds residual blocks that compute the identity to the end of stages.

    This is the solution by construction that the paper's introduction gives for a
    deeper network: the added layers are identity mappings and the others copied.

    A new block is made like the last one of its stage, with an identity shortcut and a
    residual branch that ends in zero: the last batch norm's scale where the sum is
    activated (which activated values pass unchanged), the last convolution where it is
    not. From there it learns.

    Args:
        model: A network of keras_resnet.
        blocks_per_stage: Number of blocks that each stage is to have: `(3, 4, 23, 3)`
            makes a ResNet-101 of a ResNet-50.

    Returns:
        A new model with the outputs of `model`, up to rounding, in training as in
        inference.

    Raises:
        ValueError: If there is not one number for each stage, or one below the number
            of its blocks; if a stage that is to grow has no shortcut, one that scales
            what it carries, or an activation of the sum other than ReLU.

    Example:

    >>> deeper = keras_resnet.surgery.deepen(model, (3, 4, 23, 3))
    """
    stages = structure.stages(model)
    _check(stages, blocks_per_stage)
    layers = {layer.name: layer for layer in model.layers}
    additions: dict[str, list[str]] = {}
    for (stage, blocks), count in zip(stages.items(), blocks_per_stage, strict=True):
        if count > len(blocks):
            _check_identity(model, layers, blocks[-1])
            indices = range(len(blocks) + 1, count + 1)
            additions[blocks[-1]] = [f"{stage}_block{index}" for index in indices]
    calls: dict[str, list[_Call]] = {block: [] for block in additions}

    def connect(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        block, part = structure.split_name(layer.name)
        if block in additions:
            calls[block].append(_Call(layer, args, kwargs, output))
            if part == "out":
                for name in additions[block]:
                    output = _add_block(calls[block], output, name)
        return output

    new_layers = sum(
        len(names) * sum(structure.split_name(name)[0] == block for name in layers)
        for block, names in additions.items()
    )
    return rebuild(model, connect=connect, new_layers=new_layers)


@dataclasses.dataclass(frozen=True)
class _Call:
    """A layer, what it was called on, and what it returned."""

    layer: keras.layers.Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: keras.KerasTensor


def _add_block(calls: Sequence[_Call], x: Any, name: str) -> Any:
    """Makes of `x` what the calls of a block made of the block's input."""
    parts = [structure.split_name(call.layer.name)[1] for call in calls]
    last = max(part[0] for part in parts if re.fullmatch(r"\d_conv", part))
    zero = (
        {f"{last}_conv": {"kernel_initializer": "zeros"}}
        if "preact_bn" in parts
        else {f"{last}_bn": {"gamma_initializer": "zeros"}}
    )
    values: dict[int, Any] = {}
    for call, part in zip(calls, parts, strict=True):
        args = keras.tree.map_structure(
            lambda tensor: values.get(id(tensor), x), call.args
        )
        if _CARRY.fullmatch(part):
            result = x
        elif _ANTIALIASING.fullmatch(part):
            result = args[0]
        else:
            layer_name = f"{name}_{part}"
            changes = {
                **_unstrided(call.layer),
                **_initialized(call.layer, layer_name),
                **zero.get(part, {}),
            }
            layer = copy_layer(call.layer, name=layer_name, **changes)
            result = layer(*args, **call.kwargs)
        values[id(call.output)] = result
    return values[id(calls[-1].output)]


def _unstrided(layer: keras.layers.Layer) -> dict[str, int]:
    # A strided convolution's padding, half the kernel on each side, suits any stride.
    return {"strides": 1} if "strides" in layer.get_config() else {}


def _initialized(layer: keras.layers.Layer, name: str) -> dict[str, Any]:
    if not hasattr(layer, "kernel_initializer"):
        return {}
    return {"kernel_initializer": own_initializer(layer.kernel_initializer, name)}


def _check(stages: Mapping[str, list[str]], blocks_per_stage: Sequence[int]) -> None:
    present = tuple(len(blocks) for blocks in stages.values())
    wanted = tuple(blocks_per_stage)
    if len(wanted) != len(present) or any(
        not isinstance(count, int) or count < least
        for count, least in zip(wanted, present, strict=True)
    ):
        raise ValueError(
            f"`blocks_per_stage` must give each stage {', '.join(stages)} at least the "
            f"blocks that it has, {present}, got {blocks_per_stage!r}."
        )


def _check_identity(
    model: keras.Model, layers: Mapping[str, keras.layers.Layer], block: str
) -> None:
    """Refuses blocks of which none can be exactly the identity."""
    out = layers[f"{block}_out"]
    preactivation = f"{block}_preact_bn" in layers
    total = out if preactivation else layers.get(f"{block}_add")
    if not isinstance(total, keras.layers.Add):
        raise ValueError(
            f"Model {model.name!r} cannot be deepened at {block!r}: without a "
            "shortcut, a plain block would have to compute the identity with its "
            "convolutions and batch norms, whose statistics change with each batch."
        )
    if f"{block}_carried" in layers:
        raise ValueError(
            f"Model {model.name!r} cannot be deepened at {block!r}: its shortcuts "
            "scale or drop what they carry, so that no block like it is the identity."
        )
    if not preactivation and not _is_relu(out):
        raise ValueError(
            f"Model {model.name!r} cannot be deepened at {block!r}: the sum of a block "
            "is activated, and only ReLU leaves what it has activated unchanged."
        )


def _is_relu(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.negative_slope
    return getattr(layer, "activation", None) is keras.activations.relu
