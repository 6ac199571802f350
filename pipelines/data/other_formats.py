"""Images that TensorFlow does not decode, made into ones that it does."""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pipelines.data.image_header import Problem


def decodable(encoded: bytes, max_pixels: int) -> bytes:
    r"""Encodes an image in another way, if TensorFlow cannot decode it.

    A TIFF becomes a PNG, without loss but that 16 bits per channel become 8; only its
    first page is taken. AVIF and HEIC become a JPEG of quality 95 with full chroma.
    The orientation of a TIFF or HEIC is applied by its reader, that of an AVIF is kept.
    Equal bytes give equal bytes.

    Args:
        encoded: Any bytes.
        max_pixels: Images of more pixels are not decoded.

    Returns:
        The image; byte for byte if it is of no such format.

    Raises:
        Problem: If it is, and cannot be decoded.

    Example:

    >>> decodable(Path("scan.tiff").read_bytes(), 10**8)[:4]
    b'\x89PNG'
    """
    for name, known in _FORMATS.items():
        if known.signature.match(encoded):
            return _encoded_anew(encoded, name, known, max_pixels)
    return encoded


class _Format(NamedTuple):
    signature: re.Pattern[bytes]
    open: Callable[[io.BytesIO], Image.Image]
    encode: Callable[[Image.Image, io.BytesIO], None]


def _encoded_anew(encoded: bytes, name: str, known: _Format, max_pixels: int) -> bytes:
    made = io.BytesIO()
    try:
        image = known.open(io.BytesIO(encoded))
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise Problem(f"{pixels:,} pixels, more than the limit of {max_pixels:,}")
        image.load()
        known.encode(image, made)
    except Problem:
        raise
    except ImportError:
        raise Problem(f"{name}, which needs the package pillow-heif") from None
    except Exception as error:  # Pillow's are of many kinds.
        raise Problem(f"damaged or unsupported {name}") from error
    return made.getvalue()


def _open_heic(file: io.BytesIO) -> Image.Image:
    from pillow_heif.as_plugin import HeifImageFile

    image: Image.Image = HeifImageFile(file)
    return image


def _as_png(image: Image.Image, file: io.BytesIO) -> None:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise Problem(f"TIFF of {image.mode} pixels")
    image.convert("RGB").save(file, "PNG")


def _as_jpeg(image: Image.Image, file: io.BytesIO) -> None:
    options: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][ExifTags.Base.Orientation] = orientation
    image.convert("RGB").save(file, "JPEG", **options)


_FORMATS = {
    "TIFF": _Format(re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile, _as_png),
    "AVIF": _Format(
        re.compile(rb".{4}ftyp(?=.{0,60}avi[fs])", re.DOTALL), AvifImageFile, _as_jpeg
    ),
    "HEIC": _Format(
        re.compile(rb".{4}ftyp(he[iv][cxms]|mif1|msf1)", re.DOTALL),
        _open_heic,
        _as_jpeg,
    ),
}
