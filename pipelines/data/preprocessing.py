"""From encoded image to pixels of the network's size, alike in evaluation and serving.

`keras_resnet.preprocessing.Preprocessing` says how; here is what does it in a graph.
"""

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.images import decode
from pipelines.data.orientation import read_orientation, turn


def prepare(encoded: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Decodes one image for evaluation or serving.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.
        preprocessing: The orientation, the sizes and the interpolation.

    Returns:
        uint8 `(crop, crop, 3)`, RGB, not yet normalised.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not an image.
    """
    return resize_and_crop(upright(encoded, preprocessing), preprocessing)


def upright(encoded: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Decodes one image and turns it as `preprocessing` says.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.
        preprocessing: The orientation.

    Returns:
        uint8 `(height, width, 3)`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not an image.
    """
    image = decode(encoded)
    if preprocessing.orientation == "apply":
        image = turn(image, read_orientation(encoded))
    return image


def resize_and_crop(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Scales the shorter side to `resize`, antialiased, and crops the centre.

    Sizes and crop are torchvision's; pixels differ from its by about a level
    (docs/augmentation.md).

    Args:
        images: `(height, width, 3)` or `(batch, height, width, 3)`, any real dtype,
            RGB in 0..255.
        preprocessing: The sizes and the interpolation.

    Returns:
        uint8 `(..., crop, crop, 3)`: whole levels, whatever came in, so that decoded
        and encoded images get the same answer.
    """
    size, length = preprocessing.size, preprocessing.resize

    def resized() -> tf.Tensor:
        scaled = resize_short_side(images, length, preprocessing.interpolation)
        shape = tf.shape(scaled)
        top, left = centred(shape[-3], size), centred(shape[-2], size)
        return scaled[..., top : top + size, left : left + size, :]

    # Small images often have the right size; a graph costs more than their pixels.
    is_ready = tf.reduce_all(tf.equal(tf.shape(images)[-3:-1], size)) & (size == length)
    ready = tf.cond(is_ready, lambda: levels(images), resized)
    ready.set_shape([*images.shape[:-3], size, size, 3])
    return ready


def centred(length: tf.Tensor, size: int) -> tf.Tensor:
    """Returns where a crop of `size` begins in the middle of `length`, as int32."""
    # tf.round rounds halves to even, as Python does for torchvision.
    return tf.cast(tf.round(tf.cast(length - size, tf.float32) / 2), tf.int32)


def resize_short_side(
    images: tf.Tensor, length: tf.Tensor | int, interpolation: str = "bilinear"
) -> tf.Tensor:
    """Scales images to a shorter side of `length`, antialiased.

    The longer side keeps the aspect ratio and is rounded down, as in torchvision.

    Args:
        images: `(..., height, width, 3)`, any real dtype, in 0..255.
        length: Pixels.
        interpolation: As in `Preprocessing`.

    Returns:
        uint8 `(..., new_height, new_width, 3)`.
    """
    shape = tf.shape(images)
    height, width = shape[-3], shape[-2]
    short = tf.minimum(height, width)
    sides = tf.stack([height, width]) * length // short

    def resized() -> tf.Tensor:
        return levels(
            tf.image.resize(images, sides, method=interpolation, antialias=True)
        )

    return tf.cond(tf.equal(short, length), lambda: levels(images), resized)


def levels(images: tf.Tensor) -> tf.Tensor:
    """Rounds to whole levels, as uint8.

    Args:
        images: Any real dtype; what lies beyond 0..255 becomes 0 or 255.

    Returns:
        uint8 of the same shape.
    """
    if images.dtype == tf.uint8:
        return images
    return tf.saturate_cast(tf.round(images), tf.uint8)
