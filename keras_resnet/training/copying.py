"""A classifier's copy that trains as a recipe says."""

from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.remat import RematerializedModel, rematerialize
from keras_resnet.training.freezing import freeze
from keras_resnet.training.recipe import Recipe

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
"""Keras' dtype policies by `Recipe.precision`; weights are float32 in all of them."""


def trainable_copy(
    model: keras.Model,
    recipe: Recipe,
    *,
    any_size: bool = True,
    batch_norm: Callable[[dict[str, Any]], keras.layers.Layer] | None = None,
) -> keras.Model:
    """Copies a classifier: other precision, logits, some of it frozen.

    Args:
        model: A functional model in channels-last format that ends in its classifier.
        recipe: Decides the precision and what is frozen, see `freeze`.
        any_size: Whether the copy takes images of any size, or of the model's.
        batch_norm: Makes a batch normalization of its configuration. Defaults to
            Keras' own.

    Returns:
        A new model with the same layers' names, weights' shapes and weights' values,
        whose classifier gives float32 logits.

    Raises:
        ValueError: If the model does not end in a classifier, or the recipe freezes
            what it does not have.

    Example:

    >>> trained = trainable_copy(keras_resnet.ResNet50(), RECIPES["finetune"])
    """
    classifier = model.layers[-1]
    if getattr(classifier, "activation", None) is None or len(model.output_shape) != 2:
        raise ValueError(
            f"The model {model.name!r} does not end in a classifier with one output "
            "for each class: build it with `include_top=True`."
        )

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer is classifier:
            return type(layer).from_config({**config, "activation": "linear"})
        if recipe.precision != "float32":
            config["dtype"] = POLICIES[recipe.precision]
        if batch_norm and type(layer) is keras.layers.BatchNormalization:
            return batch_norm(config)
        return type(layer).from_config(config)

    sides = (None, None) if any_size else model.input_shape[1:3]
    copied = keras.models.clone_model(
        model,
        input_tensors=keras.Input((*sides, model.input_shape[-1])),
        clone_function=copy,
    )
    if isinstance(model, RematerializedModel):
        copied = rematerialize(copied, model.stages)
    copied.set_weights(model.get_weights())
    freeze(copied, recipe)
    return copied
