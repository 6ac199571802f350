"""What an encoded image says of itself, read before anything is decoded.

Each format is read as TensorFlow's decoder reads it, to find out how much memory that
will take. Pillow would decode some of a WebP, and refuse PNGs with large profiles.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

WEBP_ALPHA = 0x10
"""The flag of transparency, in the two kinds of header that have one."""

# Not those that stand alone, and zero, which tells a byte of data from a mark.
_JPEG_MARK = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_WEBP_ANIMATION = 0x02


class Problem(Exception):
    """Its text says in a few words why an image cannot be used."""


def format_of(image: bytes) -> str:
    """Returns the format by the first bytes, such as `"JPEG"`, or an empty string."""
    for name, known in _FORMATS.items():
        if known.signature.match(image):
            return name
    return ""


def read(image: bytes) -> tuple[int, int, int]:
    """Reads the size, and looks whether the image ends as its format does.

    Args:
        image: The encoded image.

    Returns:
        Height and width, and how many pixels the decoder will decode, which are more
        in animated GIFs. Zeros for a JPEG, whose header `tf.io.extract_jpeg_shape`
        reads as the decoder does.

    Raises:
        Problem: If the image cannot be used.

    Example:

    >>> read(pathlib.Path("drawing.png").read_bytes())
    (480, 640, 307200)
    """
    if not image:
        raise Problem("empty file")
    name = format_of(image)
    if not name:
        raise Problem("not a JPEG, PNG, GIF, BMP or WebP image")
    try:
        height, width, pixels = _FORMATS[name].read(image)
    except struct.error:
        raise Problem(f"truncated {name}") from None
    if min(height, width) < 1 and name != "JPEG":
        raise Problem(f"{name} without a pixel")
    return height, width, pixels


def jpeg_scans(image: bytes) -> int:
    """Counts the scans of a JPEG, from mark to mark as the decoder finds them.

    What lies behind its end is not looked at: phones write a short film there.

    Raises:
        Problem: If it does not end.
        struct.error: Likewise.
    """
    scans, position = 0, 2
    while found := _JPEG_MARK.search(image, position):
        if found[0] == _JPEG_END:
            return scans
        scans += found[0] == _JPEG_SCAN
        (length,) = struct.unpack_from(">H", image, found.end())
        position = found.end() + max(2, length)
    raise Problem("truncated JPEG")


def _jpeg(image: bytes) -> tuple[int, int, int]:
    jpeg_scans(image)
    return 0, 0, 0


def _png(image: bytes) -> tuple[int, int, int]:
    width, height = struct.unpack_from(">II", image, 16)
    if image.rfind(b"IEND") < 0:
        raise Problem("truncated PNG")
    return height, width, height * width


def _gif(image: bytes) -> tuple[int, int, int]:
    (flags,) = struct.unpack_from("B", image, 10)
    position = 13 + _color_table_bytes(flags)
    height = width = pixels = 0
    while (block := image[position : position + 1]) in (b"!", b","):
        if block == b",":
            frame_width, frame_height, flags = struct.unpack_from(
                "<HHB", image, position + 5
            )
            height, width = max(height, frame_height), max(width, frame_width)
            pixels += frame_height * frame_width
            position += 11 + _color_table_bytes(flags)
        else:
            position += 2
        while size := struct.unpack_from("B", image, position)[0]:
            position += 1 + size
        position += 1
    if not pixels and not block:
        raise Problem("truncated GIF")
    return height, width, max(pixels, height * width)


def _color_table_bytes(flags: int) -> int:
    return 3 * 2 ** (1 + (flags & 7)) if flags & 128 else 0


def _bmp(image: bytes) -> tuple[int, int, int]:
    start, header_bytes, width, height, _, bits, compression = struct.unpack_from(
        "<IIiiHHI", image, 10
    )
    height = abs(height)
    # The decoder ignores these fields, and makes noise of such images.
    if header_bytes < 40 or bits not in (8, 24, 32):
        raise Problem(f"BMP of {bits} bits per pixel")
    if compression not in (0, 3):
        raise Problem("compressed BMP")
    if compression == 3 and image[54:66] != _BGR_MASKS:
        raise Problem("BMP of an unusual order of channels")
    palette = image[14 + header_bytes : start] if bits == 8 else b""
    if palette != _GRAYS[: len(palette)]:
        raise Problem("BMP with a palette")
    if start + -(-width * bits // 32) * 4 * height > len(image):
        raise Problem("truncated BMP")
    return height, width, height * width


_BGR_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
_GRAYS = b"".join(bytes([value, value, value, 0]) for value in range(256))


def _webp(image: bytes) -> tuple[int, int, int]:
    size, kind = struct.unpack_from("<I4x4s", image, 4)
    if size + 8 > len(image):
        raise Problem("truncated WEBP")
    if kind == b"VP8X":
        flags, low, high, low2, high2 = struct.unpack_from("<BxxxHBHB", image, 20)
        if flags & _WEBP_ANIMATION and not flags & WEBP_ALPHA:
            raise Problem("animated WEBP")
        width, height = 1 + low + (high << 16), 1 + low2 + (high2 << 16)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", image, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", image, 26))
    return height, width, height * width


class _Format(NamedTuple):
    signature: re.Pattern[bytes]
    read: Callable[[bytes], tuple[int, int, int]]


_FORMATS = {
    "JPEG": _Format(re.compile(rb"\xff\xd8\xff"), _jpeg),
    "PNG": _Format(re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    "GIF": _Format(re.compile(rb"GIF8"), _gif),
    "BMP": _Format(re.compile(rb"BM"), _bmp),
    "WEBP": _Format(re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
}
