"""Images made smaller or turned upright once, before training reads them many times."""

import dataclasses
import io
import struct
import warnings
from typing import Any, Self

import tensorflow as tf
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipelines.data.image_header import format_of
from pipelines.data.images import decode, inspect
from pipelines.errors import UserError, unknown

# Damaged EXIF data is no reason to speak up. Once for all, because changing filters for
# a while is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


@dataclasses.dataclass(frozen=True)
class Packing:
    """How images are stored smaller, so that training decodes them faster.

    The idea is FFCV's (arXiv:2306.12517): training scales what it crops out of an image
    to some hundred pixels anyway. docs/record_format.md tells what it gains and costs.

    Args:
        short_side: Pixels to which the shorter side of larger images is scaled.
        quality: Of the JPEG, from 1 to 95.

    Example:

    >>> Packing(short_side=256, quality=90)
    """

    short_side: int = 256
    quality: int = 90

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what a flag says.

        Args:
            text: Settings with their values; those left out keep their defaults.

        Raises:
            UserError: If a setting is unknown, or its value out of range.

        Example:

        >>> Packing.parse("short_side:320")
        Packing(short_side=320, quality=90)
        """
        values = {}
        for setting in text.split(","):
            name, _, value = setting.partition(":")
            if name not in _RANGES:
                raise unknown("setting of --pack", name, _RANGES)
            allowed = _RANGES[name]
            if not value.isdecimal() or int(value) not in allowed:
                raise UserError(
                    f"--pack={text}: {name} is {value or 'missing'}; give a whole "
                    f"number from {allowed[0]} to {allowed[-1]}, such as "
                    f"{name}:{getattr(cls, name)}"
                )
            values[name] = int(value)
        return cls(**values)

    def pack(self, encoded: bytes) -> bytes:
        """Makes an image a JPEG whose shorter side is at most `short_side`.

        A JPEG that is no larger stays as it is, byte for byte; no image is scaled up.
        Equal bytes give equal bytes.

        Args:
            encoded: An image that `inspect` has no problem with.

        Returns:
            The JPEG, baseline and with halved chroma, which decodes fastest.

        Raises:
            tf.errors.InvalidArgumentError: If the image cannot be decoded.
        """
        (facts,) = inspect([encoded], check="header")
        if facts.format == "JPEG" and min(facts.height, facts.width) <= self.short_side:
            return encoded
        image = _decoded(encoded)
        scale = self.short_side / min(image.size)
        if scale < 1:
            size = round(image.width * scale), round(image.height * scale)
            # As evaluation does: sharper filters are further from what it makes.
            image = image.resize(size, Image.Resampling.BILINEAR)
        return _encoded(image, "JPEG", quality=self.quality, subsampling="4:2:0")


_RANGES = {"short_side": range(16, 65_536), "quality": range(1, 96)}


def upright(encoded: bytes) -> bytes:
    """Turns an image as the orientation in its EXIF data says.

    Only a JPEG, PNG or WebP that is not upright is encoded again, and keeps its format:
    a JPEG with quality 95 and full chroma, the others without loss. EXIF data is left
    out then. Equal bytes give equal bytes.

    Args:
        encoded: An image that `inspect` has no problem with.

    Returns:
        The image; byte for byte if it is upright, or tells no orientation.

    Raises:
        tf.errors.InvalidArgumentError: If the image cannot be decoded.
    """
    name = format_of(encoded)
    if name not in _TURNABLE:
        return encoded
    reader, options = _TURNABLE[name]
    orientation = _orientation(reader, encoded)
    if orientation not in range(2, 9):
        return encoded
    image = _decoded(encoded)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return _encoded(ImageOps.exif_transpose(image), name, **options)


# Not Image.open, which would warn of images that inspect's own limit lets pass.
_TURNABLE: dict[str, tuple[type[ImageFile.ImageFile], dict[str, Any]]] = {
    "JPEG": (JpegImageFile, {"quality": 95, "subsampling": "4:4:4"}),
    "PNG": (PngImageFile, {}),
    "WEBP": (WebPImageFile, {"lossless": True}),
}


def _orientation(reader: type[ImageFile.ImageFile], encoded: bytes) -> int | None:
    try:
        return reader(io.BytesIO(encoded)).getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error):
        return None  # Damaged EXIF data; the pixels may be whole.


def _decoded(encoded: bytes) -> Image.Image:
    return Image.fromarray(decode(tf.constant(encoded)).numpy())


def _encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()
