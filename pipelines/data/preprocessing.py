"""From encoded image to network input, alike in evaluation and the exported model."""

import dataclasses
from typing import Any

import tensorflow as tf

from keras_resnet import ResNetSpec
from keras_resnet.training import Recipe
from pipelines import errors
from pipelines.data.images import decode

INTERPOLATIONS = ("bilinear", "bicubic")
"""The filters for resizing; each is widened for shrinking, which is antialiasing."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Args:
        size: Height and width in pixels that the network takes.
        resize: Length in pixels to which the shorter side is scaled before the
            central crop of `size`; at least `size`.
        mean: Per-channel mean, RGB in 0..255; of ImageNet by default.
        std: Per-channel standard deviation, likewise.
        interpolation: A name in `INTERPOLATIONS`.

    Raises:
        UserError: If no interpolation has this name.

    Example:

    >>> Preprocessing(size=224, resize=256)
    """

    size: int
    resize: int
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise errors.unknown("interpolation", self.interpolation, INTERPOLATIONS)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """Returns what `dataclasses.asdict` and JSON made `values` from."""
        return cls(
            **{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])}
        )

    @classmethod
    def of(cls, recipe: Recipe, network: ResNetSpec) -> "Preprocessing":
        """Returns how a recipe prepares the evaluation images of a network."""
        size = recipe.image_size or network.input_size
        return cls(
            size=size,
            resize=round(size * recipe.resize_ratio),
            interpolation=recipe.interpolation,
        )

    @property
    def mean_colour(self) -> tuple[int, ...]:
        """The mean in whole levels, which normalisation turns into about zero."""
        return tuple(round(level) for level in self.mean)


def prepare(encoded: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Decodes one image for evaluation or serving.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.
        preprocessing: The sizes and the interpolation.

    Returns:
        uint8 `(size, size, 3)`, RGB, not yet normalised.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are not an image.
    """
    return resize_and_crop(decode(encoded), preprocessing)


def resize_and_crop(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Scales the shorter side to `resize`, antialiased, and crops the centre.

    Sizes and crop are torchvision's; pixels differ from its by about a level
    (docs/augmentation.md).

    Args:
        images: `(height, width, 3)` or `(batch, height, width, 3)`, any real dtype,
            RGB in 0..255.
        preprocessing: The sizes and the interpolation.

    Returns:
        uint8 `(..., size, size, 3)`: whole levels, whatever came in, so that decoded
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
        interpolation: A name in `INTERPOLATIONS`.

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


def normalize(images: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Subtracts the mean and divides by the standard deviation of each channel.

    Args:
        images: `(..., 3)`, any real dtype, RGB in 0..255.
        preprocessing: The mean and standard deviation.

    Returns:
        float32 of the same shape, about zero mean and unit deviation.
    """
    images = tf.cast(images, tf.float32)
    return (images - tf.constant(preprocessing.mean)) / tf.constant(preprocessing.std)
