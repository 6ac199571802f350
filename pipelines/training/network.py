"""A network as it is while it trains, and as it is evaluated: pixels in."""

import keras

from keras_resnet.preprocessing import Standardize
from keras_resnet.training import Recipe
from keras_resnet.training.copying import trainable_copy
from pipelines.data.preprocessing import Preprocessing
from pipelines.training.batch_norm import STATISTICS


def for_training(
    model: keras.Model, recipe: Recipe, *, any_size: bool = False
) -> keras.Model:
    """Returns a copy of a classifier that trains as a recipe says on this backend.

    Args:
        model: See `trainable_copy`, as for the others.
        recipe: Decides the batch norms, too.
        any_size: Whether the copy takes images of any size.
    """
    return trainable_copy(
        model, recipe, any_size=any_size, batch_norm=STATISTICS[recipe.batch_norm]
    )


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
