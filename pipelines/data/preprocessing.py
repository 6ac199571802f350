"""From encoded image to network input, alike in evaluation and the exported model."""

import dataclasses
from typing import Any

import tensorflow as tf

from pipelines.data.images import decode


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Args:
        size: Height and width in pixels that the network takes.
        resize: Length in pixels to which the shorter side is scaled before the
            central crop of `size`; at least `size`.
        mean: Per-channel mean, RGB in 0..255; of ImageNet by default.
        std: Per-channel standard deviation, likewise.

    Example:

    >>> Preprocessing(size=224, resize=256)
    """

    size: int
    resize: int
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """Returns what `dataclasses.asdict` and JSON made `values` from."""
        return cls(
            **{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])}
        )


def prepare(encoded: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Decodes one image for evaluation or serving.

    Args:
        encoded: Scalar string tensor, a JPEG, PNG, GIF or BMP.
        preprocessing: The sizes.

    Returns:
        float32 `(size, size, 3)`, RGB in 0..255, not yet normalised.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not an image.
    """
    return resize_and_crop(decode(encoded), preprocessing)


def resize_and_crop(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Scales the shorter side to `resize` (antialiased bilinear), crops the centre.

    Args:
        images: `(height, width, 3)` or `(batch, height, width, 3)`, any real dtype.
        preprocessing: The sizes.

    Returns:
        float32 `(..., size, size, 3)` in the range of the input.
    """
    size = preprocessing.size
    images = resize_short_side(images, preprocessing.resize)
    shape = tf.shape(images)
    top, left = (shape[-3] - size) // 2, (shape[-2] - size) // 2
    images = images[..., top : top + size, left : left + size, :]
    images.set_shape([*images.shape[:-3], size, size, 3])
    return images


def resize_short_side(images: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
    """Scales images to a shorter side of `length`, keeping the aspect ratio.

    Args:
        images: `(..., height, width, 3)`, any real dtype.
        length: Pixels.

    Returns:
        float32 `(..., new_height, new_width, 3)`.
    """
    images = tf.cast(images, tf.float32)
    shape = tf.shape(images)
    height, width = shape[-3], shape[-2]
    short = tf.minimum(height, width)

    def scaled(side: tf.Tensor) -> tf.Tensor:
        ratio = tf.cast(side, tf.float64) * tf.cast(length, tf.float64)
        return tf.cast(tf.round(ratio / tf.cast(short, tf.float64)), tf.int32)

    return tf.cond(
        tf.equal(short, length),
        lambda: images,
        lambda: tf.image.resize(
            images, [scaled(height), scaled(width)], antialias=True
        ),
    )


def normalize(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Subtracts the mean and divides by the standard deviation of each channel.

    Args:
        images: float32 `(..., 3)`, RGB in 0..255.
        preprocessing: The mean and standard deviation.

    Returns:
        float32 of the same shape, about zero mean and unit deviation.
    """
    return (images - tf.constant(preprocessing.mean)) / tf.constant(preprocessing.std)
