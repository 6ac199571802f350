"""What part of an image a layer's position sees."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet import structure
from keras_resnet.analysis.gradients import gradients
from keras_resnet.conv import channel_axis


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """Which pixels a position of a layer depends on.

    Args:
        size: Pixels on each axis.
        stride: Pixels from one position's field to the next one's.
    """

    size: int
    stride: int


def receptive_field(model: keras.Model, layer: str) -> ReceptiveField:
    """Counts the pixels that a layer's position can see, whatever the weights.

    A kernel of `k` taps adds `k - 1` steps between the positions that it sees; where
    paths meet, the widest counts.

    Args:
        model: A functional model with one input; it is left as it is.
        layer: The layer's name. What pools over all positions, or is dense, sees all
            pixels and has no field to count.

    Returns:
        The `ReceptiveField`.

    Raises:
        ValueError: If there is no such layer, it sees the whole image, or the effect of
            a layer before it is not known here.

    Example:

    >>> receptive_field(keras_resnet.ResNet50(weights=None), "conv5_block3_out")
    ReceptiveField(size=483, stride=32)
    """
    wanted = model.get_layer(layer)
    calls = structure.calls(model)
    made = {id(tensor) for call in calls for tensor in call.outputs}
    fields: dict[int, ReceptiveField] = {}
    for operation, inputs, outputs in calls:
        seen = [fields.get(id(t)) for t in inputs if id(t) in made]
        if any(field is None for field in seen):
            field = None
        else:
            known = [field for field in seen if field] or [ReceptiveField(1, 1)]
            widest = max(known, key=lambda field: field.size)
            field = _seen_by(operation, widest, inputs, outputs)
        if field:
            fields.update({id(tensor): field for tensor in outputs})
        if operation is wanted:
            if field is None:
                raise ValueError(
                    f"Layer {layer!r} of {model.name!r} sees the whole image: name one "
                    "before the pooling over all positions."
                )
            return field
    raise ValueError(f"{layer!r} is an input of {model.name!r}, and sees itself.")


def effective_receptive_field(
    model: keras.Model, images: Any, layer: str
) -> np.ndarray:
    """Measures how much each pixel matters to the middle position of a layer.

    1701.04128: the gradient of that position's activations with respect to the pixels.

    Args:
        model: A functional model; it is left as it is, and runs in inference.
        images: `(batch, height, width, channels)` as the model takes them, or with the
            channels first where Keras is set so.
        layer: The layer's name.

    Returns:
        float64 `(height, width)`: the mean size of the gradient, the largest is 1.

    Raises:
        ValueError: If there is no such layer, or it has no positions.

    Example:

    >>> field = effective_receptive_field(model, images, "conv4_block3_out")
    >>> (field > 0.0455).sum() ** 0.5  # The width within two standard deviations.
    17.2
    """
    output = model.get_layer(layer).output
    if len(output.shape) != 4:
        raise ValueError(
            f"Layer {layer!r} of {model.name!r} has no positions: name one whose "
            "output is `(batch, height, width, channels)`."
        )
    part = keras.Model(model.inputs, output)
    axis = channel_axis()

    def middle(x: Any) -> Any:
        seen = ops.moveaxis(part(x, training=False), axis, -1)
        return ops.sum(seen[:, seen.shape[1] // 2, seen.shape[2] // 2])

    (slopes,) = gradients(middle, [images])
    field = np.abs(slopes.astype("float64")).mean(axis=(0, axis))
    return field / (field.max() or 1)


def _seen_by(
    operation: Any, field: ReceptiveField, inputs: Any, outputs: Any
) -> ReceptiveField | None:
    """Returns what a layer's position sees through `field`, None for everything."""
    taps = _first(getattr(operation, "kernel_size", getattr(operation, "pool_size", 1)))
    dilation = _first(getattr(operation, "dilation_rate", 1))
    strides = _first(getattr(operation, "strides", 1))
    kind = type(operation).__name__
    if kind.startswith("Global") or len(outputs[0].shape) < len(inputs[0].shape):
        return None
    if "Transpose" in kind or "UpSampling" in kind or kind in ("Dense", "Attention"):
        if kind == "Dense" and len(outputs[0].shape) > 2:
            return field
        raise ValueError(
            f"What a position sees through {operation.name!r}, a {kind}, is not known "
            "here: ask for a layer before it."
        )
    extent = dilation * (taps - 1)
    return ReceptiveField(field.size + extent * field.stride, field.stride * strides)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, (tuple, list)) else value)
