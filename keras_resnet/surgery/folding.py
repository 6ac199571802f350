"""Batch norms folded into the convolutions before them."""

from collections import Counter
from typing import Any

import keras
import numpy as np

from keras_resnet import structure
from keras_resnet.surgery.rebuild import copy_layer, rebuild
from keras_resnet.surgery.scale_and_shift import ScaleAndShift

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Replaces batch norms by what they compute in inference.

    A batch norm with fixed statistics scales and shifts each channel. After a
    convolution, that is another kernel and a bias. The batch norms that follow
    something else (those before the activations of a pre-activation network) become a
    `ScaleAndShift` of the same name.

    Args:
        model: A network of keras_resnet.

    Returns:
        A new model with the outputs of `model` in inference, up to rounding, without
        batch norms and with fewer parameters. It trains too, without normalising.

    Raises:
        ValueError: If the layers are not named as ours, or one is called more than
            once.

    Example:

    >>> folded = keras_resnet.surgery.fold_batch_norm(model)
    """
    structure.stages(model)
    structure.check_unshared(model)
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    producers = {id(layer.output): layer for layer in model.layers}
    uses = Counter(
        id(tensor)
        for tensors in (model.outputs, *(layer.input for layer in model.layers))
        for tensor in keras.tree.flatten(tensors)
    )
    convolutions: dict[str, keras.layers.Layer] = {}
    weights: dict[str, list[Any]] = {}
    for norm in norms:
        scale, shift = _scale_and_shift(norm)
        producer = producers[id(norm.input)]
        if _can_absorb(producer) and uses[id(producer.output)] == 1:
            convolutions[norm.name] = producer
            kernel, *bias = producer.get_weights()
            shift = shift + scale * bias[0] if bias else shift
            # Also in grouped convolutions the kernel's last axis is the output's.
            weights[producer.name] = [kernel * scale, shift]
        else:
            weights[norm.name] = [scale, shift]
    absorbing = {layer.name for layer in convolutions.values()}

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in absorbing:
            return copy_layer(layer, use_bias=True)
        if layer.name in weights:
            return ScaleAndShift(
                layer.axis,
                name=layer.name,
                dtype=layer.dtype_policy,
                trainable=layer.trainable,
            )
        return copy_layer(layer)

    def connect(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer.name in convolutions:
            return args[0]
        if isinstance(layer, ScaleAndShift):
            # The batch norm was called with a mask, too.
            return layer(args[0])
        return layer(*args, **kwargs)

    return rebuild(model, replace, connect, weights)


def _scale_and_shift(norm: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `norm` does to each channel in inference, in double precision."""

    def value(weight: Any) -> np.ndarray:
        return keras.ops.convert_to_numpy(weight).astype("float64")

    scale = 1 / np.sqrt(value(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * value(norm.gamma)
    shift = -value(norm.moving_mean) * scale
    if norm.center:
        shift = shift + value(norm.beta)
    return scale, shift


def _can_absorb(layer: keras.layers.Layer) -> bool:
    linear = keras.activations.linear
    return isinstance(layer, _CONVOLUTIONS) and layer.activation is linear
