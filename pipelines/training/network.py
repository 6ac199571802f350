"""A network as it is while it trains, and as it is evaluated: pixels in."""

import keras

from keras_resnet import ResNetSpec
from keras_resnet.preprocessing import Preprocessing, Standardize
from keras_resnet.training import Recipe
from keras_resnet.training.copying import trainable_copy
from pipelines.training.batch_norm import STATISTICS


def preprocessing_for(
    recipe: Recipe, network: ResNetSpec, orientation: str = "ignore"
) -> Preprocessing:
    """Returns how a recipe prepares the evaluation images of a network.

    Args:
        recipe: Decides the sizes and the interpolation.
        network: Its input size counts where the recipe leaves that open.
        orientation: Whether encoded photographs are turned, as those were that it
            trains on.

    Example:

    >>> preprocessing_for(RECIPES["he2015"], NETWORKS["resnet50"]).resize
    256
    """
    crop = recipe.image_size or network.input_size
    return Preprocessing(
        resize=round(crop * recipe.resize_ratio),
        crop=crop,
        interpolation=recipe.interpolation,
        orientation=orientation,
    )


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
    """Puts normalisation before a network: the layer of training, evaluation, serving.

    So it runs on the network's device, to which images travel as uint8: a quarter of
    the bytes of normalised ones.

    Args:
        model: Takes normalised images `(batch, height, width, 3)`.
        preprocessing: The colour order, scale, mean and standard deviation.

    Returns:
        A model with the same weights that takes uint8 images of the same shape, RGB.

    Example:

    >>> takes_pixels(model, preprocessing)(np.zeros((1, 32, 32, 3), "uint8"))
    """
    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="pixels")
    standardize = Standardize.from_preprocessing(preprocessing)
    return keras.Model(pixels, model(standardize(pixels)))
