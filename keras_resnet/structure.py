"""The stages and blocks of a model, read from its layers' names; its depth."""

import re
import sys

import keras

_LAYER = re.compile(r"(?P<block>(?P<stage>conv\d+)_block(?P<index>\d+))_(?P<part>.+)")


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
