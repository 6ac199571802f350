"""Photographs turned upright, as the orientation in their EXIF data says."""

from collections.abc import Callable

import tensorflow as tf

_MAX_SEGMENTS = 10_000  # Of hostile files; real ones have some hundred.


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def read_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Reads the orientation in an image's EXIF data, eagerly or in a graph.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.

    Returns:
        Scalar int64 from 1, upright, to 8, as in EXIF's tag 0x0112; 1 where a JPEG, PNG
        or WebP has none or damaged EXIF data, and for the other formats.

    Example:

    >>> read_orientation(tf.io.read_file("phone.jpg"))
    <tf.Tensor: shape=(), dtype=int64, numpy=6>
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    none = tf.constant(-1, tf.int64)
    start = tf.case(
        [
            (_has(data, 0, b"\xff\xd8\xff"), lambda: _find(data, 2, _jpeg_segment)),
            (_has(data, 0, b"\x89PNG"), lambda: _find(data, 8, _png_chunk)),
            (_has(data, 8, b"WEBP"), lambda: _find(data, 12, _webp_chunk)),
        ],
        default=lambda: none,
    )
    return tf.cond(start < 0, lambda: tf.ones([], tf.int64), lambda: _tag(data, start))


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image upright.

    Args:
        image: `(height, width, channels)`.
        orientation: What `read_orientation` returned.

    Returns:
        The same type, `(width, height, channels)` for orientations from 5.
    """
    is_on_side = orientation > 4
    image = tf.cond(is_on_side, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    mirrored = [
        tf.reduce_any(orientation == [3, 4, 7, 8]),  # Top to bottom.
        tf.reduce_any(orientation == [2, 3, 6, 7]),  # Left to right.
    ]
    return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack(mirrored)))


_Step = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, int, tf.Tensor]]


def _find(data: tf.Tensor, first: int, step: _Step) -> tf.Tensor:
    """Returns where EXIF's TIFF header begins, -1 if nowhere.

    Args:
        data: The file.
        first: Where the first part of the file begins.
        step: Takes where a part begins; returns whether it is EXIF, how many bytes
            before its content, and where the next part begins.
    """
    size = tf.size(data, tf.int64)

    def look(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_exif, head, following = step(data, position)
        start = position + head
        start += tf.where(_has(data, start, b"Exif\0\0"), tf.constant(6, tf.int64), 0)
        return following, tf.where(is_exif, start, found)

    _, found = tf.while_loop(
        lambda position, found: (found < 0) & (position < size),
        look,
        (tf.constant(first, tf.int64), tf.constant(-1, tf.int64)),
        maximum_iterations=_MAX_SEGMENTS,
    )
    return found


def _jpeg_segment(
    data: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, int, tf.Tensor]:
    is_exif = _has(data, position, b"\xff\xe1") & _has(data, position + 4, b"Exif\0\0")
    is_filled = _has(data, position, b"\xff\xff")
    is_header = _has(data, position, b"\xff") & ~_has(data, position, b"\xff\xda")
    length = tf.where(~is_filled, 2 + _number(data, position + 2, 2), 1)
    # What follows the beginning of the scan is no header.
    return is_exif, 4, tf.where(is_header, position + length, tf.int64.max)


def _png_chunk(
    data: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, int, tf.Tensor]:
    length = _number(data, position, 4)
    return _has(data, position + 4, b"eXIf"), 8, position + 12 + length


def _webp_chunk(
    data: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, int, tf.Tensor]:
    length = _number(data, position + 4, 4, is_little=True)
    return _has(data, position, b"EXIF"), 8, position + 8 + length + length % 2


def _tag(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the first directory of the TIFF at `start`, or 1."""
    is_little = _has(data, start, b"II*\0")
    is_tiff = is_little | _has(data, start, b"MM\0*")
    directory = start + _number(data, start + 4, 4, is_little)
    count = _number(data, directory, 2, is_little)
    entries = data[directory + 2 : directory + 2 + 12 * count]
    entries = tf.reshape(entries[: tf.size(entries) // 12 * 12], [-1, 12])

    def field(at: int) -> tf.Tensor:
        high_low = tf.cast(entries[:, at : at + 2], tf.int64)
        high_low = tf.where(is_little, high_low[:, ::-1], high_low)
        return 256 * high_low[:, 0] + high_low[:, 1]

    is_orientation = (field(0) == 0x0112) & (field(2) == 3)  # One of type SHORT.
    values = tf.boolean_mask(field(8), is_orientation & is_tiff)
    value = tf.reduce_sum(values[:1])
    return tf.where((value > 1) & (value < 9), value, 1)


def _has(data: tf.Tensor, position: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    found = data[position : position + len(expected)]
    # Behind the end there is less to find.
    found = tf.pad(found, [[0, len(expected) - tf.size(found)]])
    return tf.reduce_all(found == tf.constant(list(expected), tf.uint8))


def _number(
    data: tf.Tensor, position: tf.Tensor, size: int, is_little: tf.Tensor | bool = False
) -> tf.Tensor:
    """Returns an unsigned number of `size` bytes as int64, 0s being behind the end."""
    found = tf.cast(data[position : position + size], tf.int64)
    found = tf.pad(found, [[0, size - tf.size(found)]])
    found = tf.where(is_little, found[::-1], found)
    return tf.reduce_sum(found * [256**place for place in reversed(range(size))])
