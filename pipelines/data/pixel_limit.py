"""How many pixels an encoded image has, told in a graph before anything is decoded.

Files of some KiB may decode to GiB. Ingest reads headers in Python (`image_header`); an
exported model has only its graph.
"""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from pipelines.data.images import MAX_PIXELS

_MOST = 2**30  # Of a side; a product of two must fit in 64 bits.


def limited(encoded: tf.Tensor, max_pixels: tf.Tensor | int = MAX_PIXELS) -> tf.Tensor:
    """Gives an image back, unless it has too many pixels.

    Args:
        encoded: Scalar string tensor, what `images.decode` takes.
        max_pixels: Of an animated GIF the pixels of all frames count, as the decoder
            decodes them all.

    Returns:
        The image.

    Raises:
        tf.errors.InvalidArgumentError: If it has more pixels.

    Example:

    >>> decode(limited(tf.io.read_file("photo.jpg")))
    """
    marked = [
        (_starts(encoded, mark), functools.partial(count, encoded))
        for mark, count in _COUNTERS.items()
    ]
    pixels = tf.case(marked, default=lambda: tf.constant(0, tf.int64))
    enough = pixels <= max_pixels
    told = "an image has more pixels than the limit of"
    with tf.control_dependencies([tf.debugging.Assert(enough, [told, max_pixels])]):
        return tf.identity(encoded)


def _starts(encoded: tf.Tensor, mark: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(mark)) == mark


def _bytes(encoded: tf.Tensor, start: tf.Tensor | int, count: int) -> list[tf.Tensor]:
    """Returns bytes as int64 scalars; fails behind the end."""
    found = tf.strings.substr(encoded, start, count)
    return tf.unstack(tf.cast(tf.io.decode_raw(found, tf.uint8), tf.int64), count)


def _number(digits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the number of these bytes, the lowest first."""
    return tf.add_n([digit * 256**place for place, digit in enumerate(digits)])


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    sides = tf.io.extract_jpeg_shape(encoded)[:2]
    return tf.reduce_prod(tf.cast(sides, tf.int64))


def _png(encoded: tf.Tensor) -> tf.Tensor:
    digits = _bytes(encoded, 16, 8)
    width, height = _number(digits[3::-1]), _number(digits[:3:-1])
    return tf.minimum(width, _MOST) * tf.minimum(height, _MOST)


def _bmp(encoded: tf.Tensor) -> tf.Tensor:
    sides = tf.io.decode_raw(tf.strings.substr(encoded, 18, 8), tf.int32)
    width, height = tf.unstack(tf.abs(tf.cast(sides, tf.int64)), 2)
    return tf.minimum(width, _MOST) * tf.minimum(height, _MOST)


def _webp(encoded: tf.Tensor) -> tf.Tensor:
    (kind,) = _bytes(encoded, 15, 1)
    field = _bytes(encoded, 21, 9)
    lossless = _number(field[:4])
    sides = tf.stack(
        [
            (_number(field[3:6]) + 1, _number(field[6:9]) + 1),  # VP8X
            ((lossless & 0x3FFF) + 1, (lossless // 2**14 & 0x3FFF) + 1),  # VP8L
            (_number(field[5:7]) & 0x3FFF, _number(field[7:9]) & 0x3FFF),  # VP8
        ]
    )
    which = tf.where(kind == ord("X"), 0, tf.where(kind == ord("L"), 1, 2))
    return tf.reduce_prod(sides[which])


def _gif(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the sum of all frames, or what the largest sides make, if it is more."""
    end = tf.strings.length(encoded)
    padded = tf.strings.join([encoded, "\0" * 32])

    def table_bytes(flags: tf.Tensor) -> tf.Tensor:
        size = tf.bitwise.left_shift(tf.constant(6, tf.int64), flags & 7)
        return tf.where(flags & 128 > 0, size, 0)

    def step(
        position: tf.Tensor, is_data: tf.Tensor, pixels: tf.Tensor, sides: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        block = _bytes(padded, position, 10)
        is_frame = ~is_data & (block[0] == ord(","))
        is_extension = ~is_data & (block[0] == ord("!"))
        found = tf.stack([_number(block[5:7]), _number(block[7:9])])
        found = tf.where(is_frame, found, 0)
        length = tf.case(
            [
                (is_data, lambda: 1 + block[0]),
                (is_frame, lambda: 11 + table_bytes(block[9])),
                (is_extension, lambda: tf.constant(2, tf.int64)),
            ],
            default=lambda: tf.cast(end, tf.int64),
        )
        return (
            position + tf.cast(length, tf.int32),
            tf.where(is_data, block[0] > 0, True),
            pixels + tf.reduce_prod(found),
            tf.maximum(sides, found),
        )

    (flags,) = _bytes(padded, 10, 1)
    start = 13 + tf.cast(table_bytes(flags), tf.int32)
    no_sides = tf.zeros([2], tf.int64)
    begin = (start, tf.constant(False), tf.constant(0, tf.int64), no_sides)
    *_, pixels, sides = tf.while_loop(
        lambda position, *_: position < end, step, begin, parallel_iterations=1
    )
    return tf.maximum(pixels, tf.reduce_prod(sides))


_COUNTERS: dict[bytes, Callable[[tf.Tensor], tf.Tensor]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG": _png,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"GIF8": _gif,
}
"""What counts the pixels, by the first bytes."""
