"""The one image decoder: of ingest's check, training, evaluation and serving."""

import tensorflow as tf

_SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "WEBP": b"RIFF",
}


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image, eagerly or in a graph.

    JPEGs are decoded with the accurate DCT, as PIL does; TensorFlow's default, the fast
    one, is no faster on today's CPUs and up to 22 of 255 off. Grayscale and CMYK become
    RGB, transparency is dropped, 16 bits per channel become 8, an animation gives its
    first frame. The orientation in a photograph's EXIF data is not applied.

    Args:
        encoded: Scalar string tensor, a JPEG, PNG, GIF, BMP or WebP.

    Returns:
        uint8 `(height, width, 3)`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: If the bytes are no such image, or not a whole
            one.

    Example:

    >>> decode(tf.io.read_file("photo.jpg")).shape
    TensorShape([375, 500, 3])
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    image.set_shape((None, None, 3))
    return image


def image_format(encoded: bytes) -> str | None:
    """Returns the format that the first bytes tell, such as `"JPEG"`, or None."""
    for name, signature in _SIGNATURES.items():
        if encoded.startswith(signature):
            return name
    return None


def problem(encoded: bytes) -> str | None:
    """Returns why `decode` refuses the bytes, in a few words, or None if it does not.

    Example:

    >>> problem(b"hello")
    'not a JPEG, PNG, GIF or BMP image'
    """
    try:
        decode(tf.constant(encoded))
    except tf.errors.InvalidArgumentError:
        pass
    else:
        return None
    if not encoded:
        return "empty file"
    name = image_format(encoded)
    if name is None:
        return "not a JPEG, PNG, GIF or BMP image"
    return f"damaged or unsupported {name}"
