"""The one image decoder: of ingest's check, training, evaluation and serving.

`inspect` tells which images the decoder takes, and reads their headers first: what
would need too much memory is never decoded.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import tensorflow as tf

from pipelines.data import image_header as header

MAX_PIXELS = 2**28 // 3
"""Images of more are not decoded: a quarter GiB of RGB, where Pillow warns, too."""

_MAX_SCANS = 500  # A progressive JPEG has about ten; each costs as much as a decode.


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image, eagerly or in a graph.

    JPEGs are decoded with the accurate DCT, as PIL does; TensorFlow's default, the fast
    one, is no faster on today's CPUs and up to 22 of 255 off. Grayscale, CMYK and YCCK
    become RGB. 16 bits per channel become 8. Transparency is dropped, which shows the
    colours beneath, but for GIFs, whose transparent pixels become black. An animated
    GIF gives its first frame, on a canvas as large as its largest. Colour profiles and
    the orientation in a photograph's EXIF data are not applied.

    The pixels are those of `PIL.Image.open(...).convert("RGB")`, JPEGs to 1 of 255, but
    for GIFs with transparency, 16-bit grayscale, which PIL clips, and CMYK JPEGs
    without Adobe's mark, which PIL takes for inverted.

    Args:
        encoded: Scalar string tensor, a JPEG, PNG, GIF, BMP or WebP.

    Returns:
        uint8 `(height, width, 3)`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are no such image, or not a whole
            one; for an animated WebP without transparency.

    Example:

    >>> decode(tf.io.read_file("photo.jpg")).shape
    TensorShape([375, 500, 3])
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: decode_jpeg(encoded),
        lambda: tf.cond(
            tf.strings.substr(encoded, 0, 4) == "RIFF",
            lambda: _decode_webp(encoded),
            lambda: _decode_image(encoded, 3),
        ),
    )
    image.set_shape((None, None, 3))
    return image


def decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG as `decode` does, with fewer operations; may fail for others."""
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    image.set_shape((None, None, 3))
    return image


def _decode_image(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    # The op takes only the number of channels that there are. Never let it choose: of
    # animations it then writes four into memory for three.
    kind = tf.strings.substr(encoded, 12, 4)
    place = tf.where(kind == "VP8X", 20, 24)
    flags = tf.io.decode_raw(tf.strings.substr(encoded, place, 1), tf.uint8)[0]
    has_alpha = (kind != "VP8 ") & (flags & header.WEBP_ALPHA > 0)
    return tf.cond(
        has_alpha,
        lambda: _decode_image(encoded, 4)[..., :3],
        lambda: _decode_image(encoded, 3),
    )


class ImageFacts(NamedTuple):
    """What is known of an encoded image.

    Attributes:
        format: `"JPEG"`, `"PNG"`, `"GIF"`, `"BMP"` or `"WEBP"`, by the first bytes; or
            the empty string.
        height: In pixels; 0 if the image cannot be used.
        width: In pixels; 0 if the image cannot be used.
        problem: Why it cannot be used, in a few words, or None.
    """

    format: str
    height: int
    width: int
    problem: str | None


def inspect(
    images: Sequence[bytes],
    *,
    max_pixels: int = MAX_PIXELS,
    check: Literal["full", "header"] = "full",
) -> list[ImageFacts]:
    """Finds out which images can be used, and how large they are.

    May be called from several threads.

    Args:
        images: Encoded images, or what is taken for such.
        max_pixels: Images of more pixels are not decoded; of an animated GIF, the
            pixels of all frames count, because the decoder decodes them all.
        check: `"full"` decodes every image with `decode`; `"header"` reads only its
            size and whether it ends as its format does, many times faster.

    Returns:
        The facts of each image, in order.

    Example:

    >>> inspect([b"hello"])[0].problem
    'not a JPEG, PNG, GIF, BMP or WebP image'
    """
    facts = [_read_header(image, max_pixels) for image in images]
    if check == "full":
        facts = [_limit_scans(*pair) for pair in zip(facts, images, strict=True)]
    left = [
        index
        for index, fact in enumerate(facts)
        if fact.problem is None and (check == "full" or fact.format == "JPEG")
    ]
    decodable = max_pixels if check == "full" else 0
    sizes = _sizes_or_zeros([images[index] for index in left], decodable)
    for index, (height, width) in zip(left, sizes, strict=True):
        name = facts[index].format
        if not height:
            facts[index] = _unusable(name, f"damaged or unsupported {name}")
        elif height * width > max_pixels:
            facts[index] = _unusable(name, _too_large(height * width, max_pixels))
        else:
            facts[index] = ImageFacts(name, height, width, None)
    return facts


def _unusable(name: str, problem: str) -> ImageFacts:
    return ImageFacts(name, 0, 0, problem)


def _too_large(pixels: int, max_pixels: int) -> str:
    return f"{pixels:,} pixels, more than the limit of {max_pixels:,}"


def _read_header(image: bytes, max_pixels: int) -> ImageFacts:
    """Returns what can be told before decoding; of a JPEG not the size."""
    name = header.format_of(image)
    try:
        height, width, pixels = header.read(image)
    except header.Problem as problem:
        return _unusable(name, str(problem))
    if pixels > max_pixels:
        return _unusable(name, _too_large(pixels, max_pixels))
    return ImageFacts(name, height, width, None)


def _limit_scans(fact: ImageFacts, image: bytes) -> ImageFacts:
    if fact.format != "JPEG" or fact.problem is not None:
        return fact
    if header.jpeg_scans(image) > _MAX_SCANS:
        return _unusable("JPEG", f"JPEG of more than {_MAX_SCANS} scans")
    return fact


def _sizes_or_zeros(images: list[bytes], decodable: int) -> list[list[int]]:
    if not images:
        return []
    try:
        sizes: list[list[int]] = _sizes(tf.constant(images), decodable).numpy().tolist()
        return sizes
    except tf.errors.InvalidArgumentError:
        if len(images) == 1:
            return [[0, 0]]
    # The graph does not tell which one it was.
    return [size for image in images for size in _sizes_or_zeros([image], decodable)]


# One call for many images: calls from Python one by one take ten times as long as
# decoding small images does.
@tf.function(
    input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int64)],
    autograph=False,
)
def _sizes(encoded: tf.Tensor, decodable: tf.Tensor) -> tf.Tensor:
    """Returns int32 `(images, 2)`, of JPEGs larger than `decodable` by the header."""

    def size(image: tf.Tensor) -> tf.Tensor:
        known = tf.cond(
            tf.io.is_jpeg(image),
            lambda: tf.io.extract_jpeg_shape(image)[:2],
            lambda: tf.zeros([2], tf.int32),
        )
        return tf.cond(
            tf.reduce_prod(tf.cast(known, tf.int64)) > decodable,
            lambda: known,
            lambda: tf.shape(decode(image))[:2],
        )

    return tf.map_fn(
        size,
        encoded,
        fn_output_signature=tf.TensorSpec([2], tf.int32),
        parallel_iterations=1,  # Callers have threads.
    )
