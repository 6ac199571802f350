"""Networks without some of their blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_resnet import structure
from keras_resnet.surgery.rebuild import rebuild


def drop_blocks(model: keras.Model, which: Sequence[str]) -> keras.Model:
    """Removes blocks and keeps all other weights.

    The lesion study of *Residual Networks Behave Like Ensembles of Relatively Shallow
    Networks* (1605.06431, section 4.1). Of a dropped block only the shortcut is left:
    nothing if that is the identity; else its projection, pooling or padding, and in a
    post-activation network the activation of the sum.

    Args:
        model: A network of keras_resnet.
        which: Blocks such as `("conv3_block2", "conv4_block1")`. In a plain network,
            only such as keep the shape of their input.

    Returns:
        A new model. The names of the remaining layers do not change.

    Raises:
        ValueError: If there is no such block, or one of a plain network changes shapes.

    Example:

    >>> lesioned = keras_resnet.surgery.drop_blocks(model, ["conv3_block2"])
    """
    known = [block for blocks in structure.stages(model).values() for block in blocks]
    unknown = [block for block in which if block not in known]
    if unknown or isinstance(which, str):
        raise ValueError(
            f"`which` must list blocks of {model.name!r}, from {known[0]!r} to "
            f"{known[-1]!r}, got {which!r}."
        )
    for block in which:
        if not can_drop(model, block):
            raise ValueError(
                f"Block {block!r} cannot be dropped from {model.name!r}: it changes "
                "the shape of its input, and a plain network has no shortcut that "
                "would do so instead."
            )
    starts: dict[str, Any] = {}

    def connect(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        block, part = structure.split_name(layer.name)
        if block not in which:
            return layer(*args, **kwargs)
        # A block's first layer is called on the block's input.
        start = starts.setdefault(block, keras.tree.flatten(args)[0])
        if isinstance(layer, keras.layers.Add):
            shortcut, _ = args[0]
            return shortcut
        if part != "out":
            return layer(*args, **kwargs)
        if not _has_shortcut(model, block) or args[0] is start:
            return start
        return layer(*args, **kwargs)

    return rebuild(model, connect=connect)


def permute_blocks(model: keras.Model, takes: Mapping[str, str]) -> keras.Model:
    """Lets blocks do what others did.

    1605.06431, section 4.3.

    Args:
        model: A network of keras_resnet.
        takes: Which block's weights each block gets, for example
            `{"conv3_block2": "conv3_block3", "conv3_block3": "conv3_block2"}`; those
            that are not named keep theirs.

    Returns:
        A new model, of the same layers' names.

    Raises:
        ValueError: If there is no such block, or two are not alike.

    Example:

    >>> twice = permute_blocks(model, {"conv3_block3": "conv3_block2"})
    """
    known = [block for blocks in structure.stages(model).values() for block in blocks]
    weights = {}
    for block, other in takes.items():
        for name in (block, other):
            if name not in known:
                raise ValueError(
                    f"`takes` must name blocks of {model.name!r}, from {known[0]!r} to "
                    f"{known[-1]!r}, got {name!r}."
                )
        own, others = (_parts(model, name) for name in (block, other))
        if _shapes(own) != _shapes(others):
            raise ValueError(
                f"Block {block!r} of {model.name!r} cannot take the weights of "
                f"{other!r}: their layers differ."
            )
        for part, layer in own.items():
            weights[layer.name] = others[part].get_weights()
    return rebuild(model, weights=weights)


def _parts(model: keras.Model, block: str) -> dict[str, keras.layers.Layer]:
    names = {layer: structure.split_name(layer.name) for layer in model.layers}
    return {part: layer for layer, (own, part) in names.items() if own == block}


def _shapes(parts: Mapping[str, keras.layers.Layer]) -> dict[str, list[Any]]:
    return {
        part: [tuple(weight.shape) for weight in layer.weights]
        for part, layer in parts.items()
    }


def _has_shortcut(model: keras.Model, block: str) -> bool:
    sums = (f"{block}_add", f"{block}_out")
    return any(
        layer.name in sums and isinstance(layer, keras.layers.Add)
        for layer in model.layers
    )


def can_drop(model: keras.Model, block: str) -> bool:
    """Tells whether a block has a shortcut, or keeps the shape of its input."""
    return _has_shortcut(model, block) or _keeps_shape(model, block)


def _keeps_shape(model: keras.Model, block: str) -> bool:
    # The shapes alone do not tell of strides where the image's size is open.
    strided = any(
        set(keras.tree.flatten(getattr(layer, "strides", 1))) != {1}
        for layer in model.layers
        if structure.split_name(layer.name)[0] == block
    )
    start, end = structure.source(model, block), structure.output(model, block)
    return not strided and start.shape == end.shape
