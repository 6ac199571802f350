"""Several views of an image, whose predictions an evaluation averages."""

from collections.abc import Sequence

import tensorflow as tf

from pipelines.data.images import decode
from pipelines.data.preprocessing import centred, resize_short_side

PAPER_SHORT_SIDES = (224, 256, 384, 480, 640)
"""The scales of the paper's best results (1512.03385, section 3.4)."""


def ten_crop(images: tf.Tensor, size: int) -> tf.Tensor:
    """Crops the four corners and the centre, and mirrors them.

    The paper's "standard 10-crop testing" (section 3.4), of Krizhevsky et al. (NIPS
    2012); the order is that of torchvision's TenCrop.

    Args:
        images: `(batch, height, width, 3)`, both sides at least `size`.
        size: Height and width of the crops.

    Returns:
        `(batch, 10, size, size, 3)` of the same type: upper left, upper right, lower
        left, lower right, centre, and the five mirrored left to right.

    Example:

    >>> ten_crop(tf.zeros([1, 256, 341, 3], tf.uint8), 224).shape
    TensorShape([1, 10, 224, 224, 3])
    """
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    bottom, right = height - size, width - size
    middle = (centred(height, size), centred(width, size))
    starts = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
    crops = tf.stack([images[:, y : y + size, x : x + size] for y, x in starts], axis=1)
    crops = tf.ensure_shape(crops, [images.shape[0], 5, size, size, 3])
    return tf.concat([crops, tf.reverse(crops, [3])], axis=1)


def multi_scale(
    encoded: tf.Tensor,
    short_sides: Sequence[int] = PAPER_SHORT_SIDES,
    interpolation: str = "bilinear",
) -> list[tf.Tensor]:
    """Scales a whole image several times, for a fully-convolutional evaluation.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.
        short_sides: Lengths in pixels to which the shorter side is scaled.
        interpolation: As in `keras_resnet.preprocessing.Preprocessing`.

    Returns:
        For each length, uint8 `(height, width, 3)`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not an image.

    Example:

    >>> [image.shape[0] for image in multi_scale(tf.io.read_file("wide.jpg"))]
    [224, 256, 384, 480, 640]
    """
    image = decode(encoded)
    return [resize_short_side(image, side, interpolation) for side in short_sides]
