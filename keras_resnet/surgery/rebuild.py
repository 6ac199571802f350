"""Copying a functional model with changes."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_resnet import structure
from keras_resnet.remat import RematerializedModel, rematerialize

# What `keras_resnet.build` and `keras_resnet.load_weights` note on a model.
_NOTES = ("feature_strides", "preset")


def rebuild(
    model: keras.Model,
    replace: Callable[[keras.layers.Layer], keras.layers.Layer] | None = None,
    connect: Callable[..., Any] | None = None,
    weights: Mapping[str, list[Any]] | None = None,
    new_layers: int = 0,
) -> keras.Model:
    """Copies a model, weights and all.

    Args:
        model: The functional model.
        replace: Maps a layer to the new one of the same name. Defaults to a copy.
        connect: Takes a new layer and what it is to be called on, and returns what
            takes the place of its output. Layers that end up outside the graph are
            not part of the result. Defaults to calling the layer.
        weights: What `Layer.get_weights` is to be, by the layer's name. Layers that
            are not listed keep the weights that their namesake in `model` has.
        new_layers: Number of layers that `connect` adds.

    Returns:
        The new model.

    Raises:
        ValueError: If a layer is called more than once.
    """
    structure.check_unshared(model)
    structure.allow_recursion(len(model.layers) + new_layers)
    new = keras.models.clone_model(model, clone_function=replace, call_function=connect)
    if isinstance(model, RematerializedModel):
        left = structure.stages(new)
        new = rematerialize(new, [stage for stage in model.stages if stage in left])
    old_layers = {layer.name: layer for layer in model.layers}
    weights = weights or {}
    for layer in new.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
        elif layer.name in old_layers:
            layer.set_weights(old_layers[layer.name].get_weights())
    for note in _NOTES:
        if hasattr(model, note):
            setattr(new, note, getattr(model, note))
    if hasattr(model, "pyramid_outputs"):
        outputs = {layer.name: layer.output for layer in new.layers}
        names = {id(layer.output): name for name, layer in old_layers.items()}
        new.pyramid_outputs = {
            level: outputs[names[id(tensor)]]
            for level, tensor in model.pyramid_outputs.items()
            if names.get(id(tensor)) in outputs
        }
    return new


def copy_layer(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """Returns a new layer like `layer`, but for `changes` of its configuration."""
    return type(layer).from_config({**layer.get_config(), **changes})
