"""Crops, flips, colours and erased rectangles, of a whole batch at once.

What draws takes the operation's value, the images' seeds, int64 `(batch, 2)`, the first
of the operation's own streams, and the images' size. What applies it takes the images,
uint8 `(batch, size, size, 3)`, what was drawn, and the preprocessing.
"""

import math

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import augmentation as values
from pipelines.data.randomness import integers, normal, uniform

Rectangles = tuple[tf.Tensor, tf.Tensor]
"""Top and left, height and width, both int32 `(batch, 2)`."""


def draw_offsets(
    operation: values.PadCrop, seeds: tf.Tensor, stream: int, size: int
) -> tf.Tensor:
    """Draws top and left of crops, seen from those of the images."""
    drawn = integers(uniform(seeds, 2, stream), 2 * operation.padding + 1)
    return drawn - operation.padding


def shift(
    images: tf.Tensor, offsets: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    """Crops images that have margins of the mean colour."""
    size = preprocessing.size
    colour = tf.constant(preprocessing.mean_colour, tf.uint8)
    for axis in (1, 2):
        # One line of margin at the end stands for all of it.
        shape = tf.tensor_scatter_nd_update(tf.shape(images), [[axis]], [1])
        images = tf.concat([images, tf.broadcast_to(colour, shape)], axis)
        lines = offsets[:, axis - 1, None] + tf.range(size)
        lines = tf.where((lines >= 0) & (lines < size), lines, size)
        images = tf.gather(images, lines, axis=axis, batch_dims=1)
    return images


def draw_coins(
    operation: values.Flip, seeds: tf.Tensor, stream: int, size: int
) -> tf.Tensor:
    """Draws 0 or 1."""
    return integers(uniform(seeds, 1, stream)[:, 0], 2)


def flip(
    images: tf.Tensor, coins: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    """Mirrors the images that got a 1."""
    # As a list of rows: the one shape for which TensorFlow reverses pixels fast.
    rows = tf.reshape(images, [-1, preprocessing.size, 3])
    mirrored = tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
    count = tf.shape(images)[0]
    both = tf.concat([images, mirrored], axis=0)
    return tf.gather(both, tf.range(count) + count * coins)


def draw_components(
    operation: values.PcaColour, seeds: tf.Tensor, stream: int, size: int
) -> tf.Tensor:
    """Draws how much of each principal component is added."""
    return operation.deviation * normal(seeds, 3, stream)


def recolour(
    images: tf.Tensor, components: tf.Tensor, preprocessing: Preprocessing
) -> tf.Tensor:
    """Shifts every pixel of an image alike."""
    size = preprocessing.size
    shift = tf.linalg.matmul(
        components * values.EIGENVALUES, values.EIGENVECTORS, transpose_b=True
    )
    # Rows of levels add several times faster than pixels of three.
    rows = tf.cast(tf.reshape(images, [-1, size, size * 3]), tf.float32)
    rows = rows + tf.tile(shift, [1, size])[:, None] + 0.5
    rows = tf.cast(tf.clip_by_value(rows, 0, 255), tf.uint8)
    return tf.reshape(rows, [-1, size, size, 3])


def draw_erased(
    operation: values.RandomErasing, seeds: tf.Tensor, stream: int, size: int
) -> Rectangles:
    """Draws rectangles, without pixels where nothing is erased."""
    attempts = values.ATTEMPTS
    draws = uniform(seeds, 3 + 2 * attempts, stream)
    chance, corner, areas, ratios = tf.split(draws, [1, 2, attempts, attempts], axis=1)
    low, high = values.ERASED_AREAS
    areas = size**2 * (low + (high - low) * areas)
    low, high = (math.log(ratio) for ratio in values.ERASED_ASPECT_RATIOS)
    ratios = tf.exp(low + (high - low) * ratios)
    sides = tf.sqrt(tf.stack([areas * ratios, areas / ratios], axis=2))
    sides = tf.cast(tf.round(sides), tf.int32)
    fits = tf.reduce_all(sides < size, axis=2)
    side = tf.gather(sides, tf.argmax(fits, axis=1), batch_dims=1)
    erased = (chance < operation.probability) & tf.reduce_any(fits, 1, keepdims=True)
    side = tf.where(erased, side, 0)
    return integers(corner, size - side + 1), side


def cover(
    images: tf.Tensor, rectangles: Rectangles, preprocessing: Preprocessing
) -> tf.Tensor:
    """Covers rectangles with the mean colour."""
    colour = tf.constant(preprocessing.mean_colour, tf.uint8)
    return paste(images, tf.broadcast_to(colour, tf.shape(images)), rectangles)


def paste(images: tf.Tensor, source: tf.Tensor, rectangles: Rectangles) -> tf.Tensor:
    """Copies a rectangle of each source to the same place of its image.

    Args:
        images: uint8 `(batch, size, size, 3)`.
        source: uint8 of the same shape.
        rectangles: One for each image.

    Returns:
        uint8 of the same shape.
    """
    size = images.shape[1]
    begin, sides = rectangles

    def within(axis: int, positions: tf.Tensor) -> tf.Tensor:
        first = begin[:, axis, None]
        inside = (positions >= first) & (positions < first + sides[:, axis, None])
        return tf.cast(inside, tf.uint8)

    # Products of rows of levels, which wrap around, and back, are several times faster
    # than a choice for each pixel.
    rows = within(0, tf.range(size))[:, :, None]
    levels = within(1, tf.range(size * 3) // 3)[:, None]
    change = tf.reshape(source - images, [-1, size, size * 3]) * (rows * levels)
    return images + tf.reshape(change, tf.shape(images))
