"""Networks without some of their blocks."""

from collections.abc import Sequence
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
        _check(model, block)
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


def _has_shortcut(model: keras.Model, block: str) -> bool:
    sums = (f"{block}_add", f"{block}_out")
    return any(
        layer.name in sums and isinstance(layer, keras.layers.Add)
        for layer in model.layers
    )


def _check(model: keras.Model, block: str) -> None:
    if _has_shortcut(model, block) or _keeps_shape(model, block):
        return
    raise ValueError(
        f"Block {block!r} cannot be dropped from {model.name!r}: it changes the shape "
        "of its input, and a plain network has no shortcut that would do so instead."
    )


def _keeps_shape(model: keras.Model, block: str) -> bool:
    # The shapes alone do not tell of strides where the image's size is open.
    strided = any(
        set(keras.tree.flatten(getattr(layer, "strides", 1))) != {1}
        for layer in model.layers
        if structure.split_name(layer.name)[0] == block
    )
    start, end = structure.source(model, block), structure.output(model, block)
    return not strided and start.shape == end.shape
