"""A network as it is while it trains, and as it is evaluated: pixels in."""

import keras

from keras_resnet.preprocessing import Standardize
from keras_resnet.training import Recipe
from pipelines.data.preprocessing import Preprocessing
from pipelines.training.batch_norm import STATISTICS

PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
"""Keras' dtype policies by `Recipe.precision`; weights are float32 in all of them."""


def for_training(
    model: keras.Model, recipe: Recipe, *, any_size: bool = False
) -> keras.Model:
    """Returns a copy of a classifier that trains as a recipe says.

    Args:
        model: A functional model in channels-last format that ends in its classifier.
        recipe: Decides the batch norms and the precision.
        any_size: Whether the copy takes images of any size.

    Returns:
        A new model with the same layers' names, weights' shapes and weights' values,
        whose classifier gives float32 logits.
    """
    classifier = model.layers[-1]

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer is classifier:
            return type(layer).from_config({**config, "activation": "linear"})
        if recipe.precision != "float32":
            config["dtype"] = PRECISIONS[recipe.precision]
        if type(layer) is keras.layers.BatchNormalization:
            return STATISTICS[recipe.batch_norm](config)
        return type(layer).from_config(config)

    sides = (None, None) if any_size else model.input_shape[1:3]
    trained = keras.models.clone_model(
        model, input_tensors=keras.Input((*sides, 3)), clone_function=copy
    )
    trained.set_weights(model.get_weights())
    return trained


def takes_pixels(model: keras.Model, preprocessing: Preprocessing) -> keras.Model:
    """Puts normalisation before a network, so that it runs on the network's device.

    Images travel there as uint8: a quarter of the bytes of normalised ones.

    Args:
        model: Takes normalised images `(batch, height, width, 3)`.
        preprocessing: The mean and standard deviation.

    Returns:
        A model with the same weights that takes uint8 images of the same shape, RGB.

    Example:

    >>> takes_pixels(model, preprocessing)(np.zeros((1, 32, 32, 3), "uint8"))
    """
    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="pixels")
    standardize = Standardize(preprocessing.mean, preprocessing.std, scale=1.0)
    return keras.Model(pixels, model(standardize(pixels)))
