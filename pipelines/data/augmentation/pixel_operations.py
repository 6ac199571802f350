"""Operations of the learned augmentation policies, on one image.

Each takes an image, uint8 `(height, width, 3)`, a strength, a float32 scalar, and a
`Canvas`; it returns an image of the same shape and type. They do what Pillow's
functions do, with which the policies were published.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Canvas(NamedTuple):
    """How pixels are moved.

    Args:
        blank: Levels of pixels that come from outside, red, green and blue.
        interpolation: A key of `INTERPOLATIONS`.
    """

    blank: tuple[int, ...]
    interpolation: str


PixelOperation = Callable[[tf.Tensor, tf.Tensor, Canvas], tf.Tensor]


def identity(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Leaves the image as it is."""
    return image


def shear_x(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Moves each row left by `strength` times its number."""
    return _affine(image, canvas, to_x=(1.0, strength, 0.0))


def shear_y(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Moves each column up by `strength` times its number."""
    return _affine(image, canvas, to_y=(strength, 1.0, 0.0))


def translate_x(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Moves the image right by `strength` pixels."""
    return _affine(image, canvas, to_x=(1.0, 0.0, -strength))


def translate_y(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Moves the image down by `strength` pixels."""
    return _affine(image, canvas, to_y=(0.0, 1.0, -strength))


def rotate(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Turns the image about its centre, `strength` degrees counter-clockwise."""
    angle = strength * (math.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    y, x = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32) / 2)
    return _affine(
        image,
        canvas,
        to_x=(cosine, -sine, x - cosine * x + sine * y),
        to_y=(sine, cosine, y - sine * x - cosine * y),
    )


def brightness(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Multiplies the levels by `1 + strength`."""
    return _blend(0.0, image, strength)


def color(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Multiplies the distance from grey by `1 + strength`."""
    return _blend(tf.cast(_grey(image), tf.float32), image, strength)


def contrast(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Multiplies the distance from the mean grey level by `1 + strength`."""
    mean = tf.reduce_mean(tf.cast(_grey(image), tf.float32))
    return _blend(tf.floor(mean + 0.5), image, strength)


def sharpness(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Multiplies the distance from the smoothed image by `1 + strength`."""
    levels = tf.cast(image, tf.float32)
    # Of the kernel's 13 parts, the pixel itself has 5, its neighbours have 1 each.
    neighbourhood = 9 * tf.nn.avg_pool2d(levels[None], 3, 1, "VALID")[0]
    inner = levels[1:-1, 1:-1]
    change = tf.floor((neighbourhood + 4 * inner) / 13 + 0.5) - inner
    smooth = levels + tf.pad(change, [[1, 1], [1, 1], [0, 0]])
    return _blend(smooth, image, strength)


def posterize(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Keeps the highest `strength` bits of each level."""
    mask = 256 - tf.bitwise.left_shift(1, 8 - tf.cast(strength, tf.int32))
    return tf.bitwise.bitwise_and(image, tf.cast(mask, tf.uint8))


def solarize(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Inverts the levels from `strength` on."""
    threshold = tf.cast(tf.math.ceil(strength), tf.int32)
    return _looked_up(image, tf.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Adds `strength` to the darker half of the levels."""
    lighter = _LEVELS + tf.cast(strength, tf.int32)
    return _looked_up(image, tf.where(_LEVELS < 128, lighter, _LEVELS))


def auto_contrast(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Stretches each channel to 0..255."""
    levels = tf.cast(image, tf.float32)
    low = tf.reduce_min(levels, axis=[0, 1])
    high = tf.reduce_max(levels, axis=[0, 1])
    scale = 255 / tf.maximum(high - low, 1)
    stretched = tf.cast(levels * scale - low * scale, tf.uint8)
    return tf.where(high > low, stretched, image)


def equalize(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Flattens each channel's histogram."""
    channels = [_equalized(image[..., channel]) for channel in range(3)]
    return tf.stack(channels, axis=-1)


def invert(image: tf.Tensor, strength: tf.Tensor, canvas: Canvas) -> tf.Tensor:
    """Gives the negative."""
    return 255 - image


PIXEL_OPERATIONS: dict[str, PixelOperation] = {
    operation.__name__: operation
    for operation in (
        identity,
        shear_x,
        shear_y,
        translate_x,
        translate_y,
        rotate,
        brightness,
        color,
        contrast,
        sharpness,
        posterize,
        solarize,
        auto_contrast,
        equalize,
        invert,
        solarize_add,
    )
}
"""The operations by name."""

_LEVELS = np.arange(256, dtype="int32")


def _bilinear(d: tf.Tensor) -> list[tf.Tensor]:
    return [1 - d, d]


def _bicubic(d: tf.Tensor) -> list[tf.Tensor]:
    square, cube = d**2, d**3
    return [
        -d + 2 * square - cube,
        1 - 2 * square + cube,
        d + square - cube,
        cube - square,
    ]


INTERPOLATIONS: dict[str, Callable[[tf.Tensor], list[tf.Tensor]]] = {
    "bilinear": _bilinear,
    "bicubic": _bicubic,
}
"""Weights of the pixels around a place, by its distance from the first of the two next
to it; those that Pillow transforms with."""

_Factors = tuple[float | tf.Tensor, float | tf.Tensor, float | tf.Tensor]


def _affine(
    image: tf.Tensor,
    canvas: Canvas,
    to_x: _Factors | None = None,
    to_y: _Factors | None = None,
) -> tf.Tensor:
    """Takes each pixel from where the map leads its centre.

    Args:
        image: The image.
        canvas: How.
        to_x: Factors of x and of y, and the constant, for the column; None for the
            pixel's own.
        to_y: Likewise for the row.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    y = tf.range(tf.cast(height, tf.float32))[:, None] + 0.5
    x = tf.range(tf.cast(width, tf.float32))[None] + 0.5
    levels = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
    inside = tf.ones([height, width], tf.bool)

    def taps(
        own: tf.Tensor, size: tf.Tensor, factors: _Factors | None
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Returns the lines to take levels from, and their weights."""
        nonlocal inside
        if factors is None:
            return [(tf.cast(own, tf.int32), tf.ones_like(own))]
        place = x * factors[0] + (y * factors[1] + factors[2])
        inside &= (place >= 0) & (place < tf.cast(size, tf.float32))
        first = tf.floor(place - 0.5)
        weights = INTERPOLATIONS[canvas.interpolation](place - 0.5 - first)
        first = tf.cast(first, tf.int32) + 1 - len(weights) // 2
        return [
            (tf.clip_by_value(first + n, 0, size - 1), weight)
            for n, weight in enumerate(weights)
        ]

    columns, rows = taps(x, width, to_x), taps(y, height, to_y)
    mixed = tf.add_n(
        [
            (across * down)[..., None] * tf.gather(levels, row * width + column)
            for row, down in rows
            for column, across in columns
        ]
    )
    mixed = tf.cast(tf.clip_by_value(mixed, 0, 255), tf.uint8)
    return tf.where(inside[..., None], mixed, tf.constant(canvas.blank, tf.uint8))


def _blend(base: tf.Tensor, image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    levels = tf.cast(image, tf.float32)
    blended = base + (1 + strength) * (levels - base)
    return tf.cast(tf.clip_by_value(blended, 0, 255), tf.uint8)


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Returns the luma of ITU-R 601-2, `(height, width, 1)`, int32 in 0..255."""
    weighted = tf.cast(image, tf.int32) * [19595, 38470, 7471]
    return (tf.reduce_sum(weighted, axis=-1, keepdims=True) + 2**15) // 2**16


def _equalized(channel: tf.Tensor) -> tf.Tensor:
    counts = tf.math.bincount(tf.cast(channel, tf.int32), minlength=256, maxlength=256)
    last = counts[tf.reduce_max(tf.cast(channel, tf.int32))]
    step = (tf.size(channel) - last) // 255
    below = tf.cumsum(counts, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    return _looked_up(channel, tf.where(step > 0, table, _LEVELS))


def _looked_up(levels: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    table = tf.cast(tf.minimum(table, 255), tf.uint8)
    return tf.gather(table, tf.cast(levels, tf.int32))
