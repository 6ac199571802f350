"""A network that takes pixels as they come from the input pipeline."""

import keras

from keras_resnet.preprocessing import Standardize
from pipelines.data.preprocessing import Preprocessing


def takes_pixels(model: keras.Model, preprocessing: Preprocessing) -> keras.Model:
    """Puts normalisation before a network, so that it runs on the network's device.

    Images travel there as uint8: a quarter of the bytes of normalised ones.

    Args:
        model: Takes normalised images `(batch, size, size, 3)`.
        preprocessing: The mean and standard deviation.

    Returns:
        A model with the same weights that takes uint8 images of the same shape, RGB.

    Example:

    >>> takes_pixels(model, preprocessing)(np.zeros((1, 32, 32, 3), "uint8"))
    """
    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="pixels")
    standardize = Standardize(preprocessing.mean, preprocessing.std, scale=1.0)
    return keras.Model(pixels, model(standardize(pixels)))
