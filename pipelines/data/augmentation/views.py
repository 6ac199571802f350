"""Views of an encoded image: what is decoded, and at what scale.

The window is drawn from the size in a JPEG's header, so that only the window is
decoded. Where it is at least twice as large as the view, libjpeg decodes it at a half,
a quarter or an eighth: that averages pixels, as antialiasing does. The rest of the way,
less than a factor of two, is plain interpolation, which then reads every pixel; in the
longer direction of a window it may be less than three. Beyond, it is antialiased.

What draws a window takes the operation's value, height and width of the image, int32
`(2,)`, the image's seed, int64 `(2,)`, and the size of the view. It returns int32
`(4,)`: top, left, height and width.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import augmentation as values
from pipelines.data.images import decode
from pipelines.data.preprocessing import levels
from pipelines.data.randomness import integers, uniform_of_one

_MIDDLE = 0.5 - 2**-25  # The largest float32 below: of two middles, the first.

DrawWindow = Callable[[tf.Tensor], tf.Tensor]


def draw_jittered(
    operation: values.ScaleJitterCrop, image: tf.Tensor, seed: tf.Tensor, size: int
) -> tf.Tensor:
    """Draws the scale, then a place for the crop, in whole pixels of the image."""
    low, high = (round(size * side / 224) for side in (operation.low, operation.high))
    draws = uniform_of_one(seed, 3)
    length = low + integers(draws[0], high - low + 1)
    scale = tf.reduce_min(image) / length
    side = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)
    begin = integers(draws[1:], image - side + 1)
    return tf.concat([begin, [side, side]], axis=0)


def draw_inception(
    operation: values.InceptionCrop, image: tf.Tensor, seed: tf.Tensor, size: int
) -> tf.Tensor:
    """Draws area and aspect ratio, then a place."""
    attempts = values.ATTEMPTS
    draws = uniform_of_one(seed, 2 * attempts + 2)
    areas, ratios, corner = tf.split(draws, [attempts, attempts, 2])
    sides = tf.cast(image, tf.float32)
    shares = operation.low + (operation.high - operation.low) * areas
    areas = tf.reduce_prod(sides) * shares
    low, high = (math.log(ratio) for ratio in values.CROPPED_ASPECT_RATIOS)
    half = (low + (high - low) * ratios) / 2
    roots = tf.exp(tf.stack([-half, half], axis=1))
    drawn = tf.round(tf.sqrt(areas)[:, None] * roots)
    low, high = values.CROPPED_ASPECT_RATIOS
    largest = tf.round(tf.minimum(sides, sides[::-1] * [1 / low, high]))
    # The last one always fits.
    candidates = tf.maximum(tf.concat([drawn, largest[None]], axis=0), 1)
    chosen = tf.argmax(tf.reduce_all(candidates <= sides, axis=1))
    side = tf.cast(candidates[chosen], tf.int32)
    corner = tf.where(chosen == attempts, _MIDDLE, corner)
    return tf.concat([integers(corner, image - side + 1), side], axis=0)


def decode_window(
    encoded: tf.Tensor, draw: DrawWindow, preprocessing: Preprocessing
) -> tf.Tensor:
    """Decodes a window of an image and scales it.

    Args:
        encoded: Scalar string tensor, an image that `images.decode` takes.
        draw: Gives the window for the image's height and width.
        preprocessing: The size and the interpolation.

    Returns:
        uint8 `(size, size, 3)`, RGB.
    """

    def cut() -> tf.Tensor:
        image = decode(encoded)
        top, left, height, width = tf.unstack(draw(tf.shape(image)[:2]))
        return _scaled(image[top : top + height, left : left + width], preprocessing)

    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _decode_jpeg_window(encoded, draw, preprocessing, antialias=True),
        cut,
    )


def decode_jpeg_window(
    encoded: tf.Tensor, draw: DrawWindow, preprocessing: Preprocessing
) -> tf.Tensor:
    """Does the same for a JPEG, and fails where antialiasing is wanted.

    A branch of a graph takes time even where it is not taken: there is one less.
    """
    return _decode_jpeg_window(encoded, draw, preprocessing, antialias=False)


def _decode_jpeg_window(
    encoded: tf.Tensor,
    draw: DrawWindow,
    preprocessing: Preprocessing,
    *,
    antialias: bool,
) -> tf.Tensor:
    """Decodes no more than the window, at a fraction where that is enough."""
    size = preprocessing.size
    window = draw(tf.io.extract_jpeg_shape(encoded)[:2])
    shortest, longest = tf.reduce_min(window[2:]), tf.reduce_max(window[2:])
    halvings = tf.reduce_sum(
        tf.cast(shortest >= [2 * size, 4 * size, 8 * size], tf.int32)
    )
    still_large = (shortest >= 8 * size) | (
        longest >= tf.gather([3 * size, 6 * size, 12 * size, 24 * size], halvings)
    )
    if not antialias:
        plain = tf.debugging.Assert(~still_large, ["antialiasing is wanted"])
        with tf.control_dependencies([plain]):
            halvings = tf.identity(halvings)

    def at(ratio: int) -> Callable[[], tf.Tensor]:
        return lambda: tf.image.decode_and_crop_jpeg(
            encoded,
            window // ratio,
            channels=3,
            ratio=ratio,
            dct_method="INTEGER_ACCURATE",
        )

    image = tf.switch_case(halvings, [at(1), at(2), at(4), at(8)])
    plainly = functools.partial(_SCALED[preprocessing.interpolation], image, size)
    if not antialias:
        return plainly()
    return tf.cond(still_large, lambda: _scaled(image, preprocessing), plainly)


def _scaled(image: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    size = [preprocessing.size] * 2
    method = preprocessing.interpolation
    return levels(tf.image.resize(image, size, method, antialias=True))


def _bilinear(image: tf.Tensor, size: int) -> tf.Tensor:
    # In integers: a tenth of a view's time less than in floats, and a tenth of a level
    # further off on average, three levels at most.
    scaled = tf.raw_ops.QuantizedResizeBilinear(
        images=tf.bitcast(image, tf.quint8)[None],
        size=[size, size],
        min=0.0,
        max=255.0,
        half_pixel_centers=True,
    )
    return tf.bitcast(scaled.resized_images, tf.uint8)[0]


def _bicubic(image: tf.Tensor, size: int) -> tf.Tensor:
    return levels(tf.image.resize(image, [size, size], "bicubic"))


_SCALED = {"bilinear": _bilinear, "bicubic": _bicubic}
