"""Small images inside a page."""

import base64
import io
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.data.images import decode

_SIDE = 128
_SMALL = 48
_OPACITY = 0.75
_GLOW = (255, 70, 0)


class Thumbnail(NamedTuple):
    """An image inside a page.

    Attributes:
        uri: The image as a `data:` URI.
        is_small: Whether it is the whole image, so small that pixels should show.
    """

    uri: str
    is_small: bool


def thumbnail(encoded: bytes) -> Thumbnail | None:
    """Makes a small JPEG or, of an image that is small itself, a PNG.

    Args:
        encoded: An image that `decode` reads.

    Returns:
        The thumbnail, or None if the image cannot be decoded.

    Example:

    >>> thumbnail(png).uri[:22]
    'data:image/png;base64,'
    """
    try:
        image = Image.fromarray(decode(tf.constant(encoded)).numpy())
    except tf.errors.InvalidArgumentError:
        return None
    is_small = max(image.size) <= _SMALL
    image.thumbnail((_SIDE, _SIDE))
    return Thumbnail(_uri(image, "PNG" if is_small else "JPEG"), is_small)


def overlaid(image: np.ndarray, heat: np.ndarray) -> str:
    """Returns a small picture of an image that glows where `heat` is, as a `data:` URI.

    Args:
        image: uint8 `(height, width, 3)`.
        heat: float `(rows, columns)` in 0..1, scaled to the image.
    """
    picture = Image.fromarray(image).resize((_SIDE, _SIDE))
    mask = Image.fromarray((255 * _OPACITY * heat).astype(np.uint8))
    glow = Image.new("RGB", picture.size, _GLOW)
    mask = mask.resize(picture.size, Image.Resampling.BICUBIC)
    return _uri(Image.composite(glow, picture, mask), "JPEG")


def _uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{data}"
