"""What is measured of the pixels of encoded images."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.data.images import decode

GRID = (8, 9)
"""Rows and columns of the greys that an image is compared by."""

_PIXELS_AT_ONCE = 2**15  # As many squares of 255 are just below the greatest int32.
_SUMS = 7
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it.


def measure(images: Sequence[bytes] | tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sums the pixels of images and their squares, and reduces them to a few greys.

    Args:
        images: Encoded images, which `decode` reads.

    Returns:
        For each image, int64 `(images, 7)`: number of pixels, sums of red, green and
        blue, and sums of their squares; exact, and all zero for one that cannot be
        decoded. And uint8 `(images, 8, 9)`: the mean grey of each part of it.

    Example:

    >>> sums, greys = measure([one_white_pixel])
    >>> sums.tolist()
    [[1, 255, 255, 255, 65025, 65025, 65025]]
    """
    try:
        rows = _measure(tf.constant(images, tf.string)).numpy()
    except tf.errors.InvalidArgumentError:
        if len(images) == 1:
            rows = np.zeros((1, _SUMS + GRID[0] * GRID[1]), np.int64)
        else:
            # The graph does not tell which one it was.
            parts = [measure([image]) for image in np.array(images).tolist()]
            sums, greys = map(np.concatenate, zip(*parts, strict=True))
            return sums, greys
    return rows[:, :_SUMS], rows[:, _SUMS:].astype(np.uint8).reshape(-1, *GRID)


# One call for many images: for small ones, calls take longer than decoding does.
@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _measure(encoded: tf.Tensor) -> tf.Tensor:
    def of_image(image: tf.Tensor) -> tf.Tensor:
        decoded = decode(image)
        parts = tf.raw_ops.ResizeArea(images=decoded[None], size=GRID)[0]
        greys = tf.round(tf.tensordot(parts, tf.constant(_LUMA), 1))
        pixels = tf.reshape(decoded, [-1, 3])
        count = tf.shape(pixels)[0]

        def of_part(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Part by part: as 32-bit integers, a large image would need a gigabyte.
            end = start + _PIXELS_AT_ONCE
            part = tf.transpose(tf.cast(pixels[start:end], tf.int32))
            sums = tf.concat(
                [tf.reduce_sum(part, axis=1), tf.reduce_sum(part * part, axis=1)], 0
            )
            return end, total + tf.cast(sums, tf.int64)

        _, total = tf.while_loop(
            lambda start, _: start < count,
            of_part,
            (0, tf.zeros([6], tf.int64)),
            parallel_iterations=1,
        )
        greys = tf.cast(tf.reshape(greys, [-1]), tf.int64)
        return tf.concat([[tf.cast(count, tf.int64)], total, greys], 0)

    return tf.map_fn(
        of_image,
        encoded,
        fn_output_signature=tf.TensorSpec([None], tf.int64),
        parallel_iterations=1,  # Many calls are in parallel already.
    )
