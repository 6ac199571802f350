"""Images and files that are damaged in every way, the same ones for the same seed."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Generator = np.random.Generator


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def whole_images(height: int = 24, width: int = 32) -> dict[str, bytes]:
    """A small image of every kind."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin((x * (i + 1) + y * (3 - i)) / 17) for i in range(4)]
    rgba = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    turned = rgb.rotate(180)
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": [turned]}
    return {
        "baseline JPEG": encode(rgb, "JPEG"),
        "progressive JPEG": encode(rgb, "JPEG", progressive=True),
        "grayscale JPEG": encode(gray, "JPEG", restart_marker_blocks=2),
        "CMYK JPEG": encode(rgb.convert("CMYK"), "JPEG"),
        "turned JPEG": encode(rgb, "JPEG", exif=exif),
        "PNG": encode(rgb, "PNG"),
        "palette PNG": encode(rgb.quantize(16), "PNG", transparency=3),
        "16-bit PNG": encode(Image.fromarray(np.asarray(gray, np.uint16) * 257), "PNG"),
        "RGBA PNG": encode(rgba, "PNG", exif=exif),
        "GIF": encode(rgb, "GIF"),
        "animated GIF": encode(rgb, "GIF", **several),
        "BMP": encode(rgb, "BMP"),
        "grayscale BMP": encode(gray, "BMP"),
        "WebP": encode(rgb, "WEBP"),
        "lossless WebP": encode(rgb, "WEBP", lossless=True),
        "RGBA WebP": encode(rgba, "WEBP", exif=exif),
        "animated WebP": encode(rgb, "WEBP", **several),
        "animated RGBA WebP": encode(
            rgba, "WEBP", save_all=True, append_images=[rgba.rotate(180)]
        ),
    }


def mutants(count: int, seed: int, first: int = 0) -> Iterator[bytes]:
    """Gives mutated images; number `i` depends on `seed` and `i` alone.

    Args:
        count: How many.
        seed: Of all.
        first: Number of the first.
    """
    images = list(whole_images().values())
    for number in range(first, first + count):
        rng = np.random.default_rng((seed, number))
        mutant = images[rng.integers(len(images))]
        for _ in range(rng.integers(1, 4)):
            mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
            mutant = mutate(mutant, rng, images[rng.integers(len(images))])
        # A decoder looks behind the checksums only if they are right.
        yield with_checksums(mutant) if rng.random() < 0.5 else mutant


def flip_bits(data: bytes, rng: Generator, _: bytes) -> bytes:
    changed = bytearray(data)
    # Most of them early, where the headers are.
    until = len(data) if rng.random() < 0.5 else min(len(data), 64)
    for _ in range(rng.integers(1, 9) if until else 0):
        changed[rng.integers(until)] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncate(data: bytes, rng: Generator, _: bytes) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def splice_header(data: bytes, rng: Generator, other: bytes) -> bytes:
    """The beginning of another image on this one's end."""
    where = rng.integers(1, 100)
    return other[:where] + data[where:]


def splice(data: bytes, rng: Generator, other: bytes) -> bytes:
    """A part of another image in the midst of this one."""
    begin, end = sorted(rng.integers(len(other) + 1, size=2))
    where = rng.integers(len(data) + 1)
    return data[:where] + other[begin:end] + data[where + rng.integers(32) :]


def blank(data: bytes, rng: Generator, _: bytes) -> bytes:
    """A range of equal bytes, as of a block that the disk lost."""
    begin, end = sorted(rng.integers(len(data) + 1, size=2))
    fill = bytes([rng.choice([0, 255, 32])])
    return data[:begin] + fill * int(end - begin) + data[end:]


def append(data: bytes, rng: Generator, other: bytes) -> bytes:
    return data + (other if rng.random() < 0.5 else rng.bytes(50))


def enlarge(data: bytes, rng: Generator, _: bytes) -> bytes:
    """Sides of up to 65,535 pixels, in a file that is as small as before."""
    height, width = (int(side) for side in rng.choice([0, 1, 9_000, 20_000, 65_535], 2))
    return resized(data, height, width)


def resized(data: bytes, height: int, width: int) -> bytes:
    """Writes another size in the header of an image."""

    def put(where: int, layout: str, *values: int) -> bytes:
        head = data[:where] + struct.pack(layout, *values)
        return head + data[len(head) :]

    if data.startswith(b"\x89PNG"):
        return with_checksums(put(16, ">II", width, height))
    if data.startswith(b"\xff\xd8"):
        start = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return put(start + 5, ">HH", height, width) if start > 0 else data
    if data.startswith(b"GIF8"):
        data = put(6, "<HH", width, height)
        frame = data.find(b",\0\0\0\0", 13)
        return put(frame + 5, "<HH", width, height) if frame > 0 else data
    if data.startswith(b"BM"):
        return put(18, "<ii", width, -height)
    if data[12:16] == b"VP8X":
        low, high = width - 1 & 0xFFFF, height - 1 & 0xFFFF
        return put(24, "<HBHB", low, 0, high, 0)
    if data[12:16] == b"VP8L":
        return put(21, "<I", (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14)
    return put(26, "<HH", width & 0x3FFF, height & 0x3FFF)


def swap_segments(data: bytes, rng: Generator, _: bytes) -> bytes:
    """Markers of a JPEG, chunks of a PNG or WebP in another order; or one twice."""
    marks = (b"\xff", b"IDAT", b"PLTE", b"VP8", b"ALPH", b"ANMF", b"!", b",")
    places = sorted(i for mark in marks for i in _places(data, mark))
    if len(places) < 3:
        return data
    a, b, c = sorted(rng.choice(places, 3))
    if rng.random() < 0.3:
        return data[:b] + data[a:b] * int(rng.integers(1, 200)) + data[b:]
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _places(data: bytes, mark: bytes) -> Iterator[int]:
    where = data.find(mark)
    while where >= 0:
        yield where
        where = data.find(mark, where + 1)


def change_field(data: bytes, rng: Generator, _: bytes) -> bytes:
    """A number of several bytes that is extreme, such as a length."""
    values = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
    value = int(rng.choice(values))
    layout = str(rng.choice(["<I", ">I", "<H", ">H"]))
    size = struct.calcsize(layout)
    where = int(rng.integers(max(1, min(len(data), 200) - size)))
    field = struct.pack(layout, value % 256**size)
    return data[:where] + field + data[where + size :]


Mutation = Callable[[bytes, Generator, bytes], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    splice_header,
    splice,
    blank,
    append,
    enlarge,
    swap_segments,
    change_field,
)


def with_checksums(data: bytes) -> bytes:
    """Makes the checksums of a PNG right; returns other bytes as they are."""
    if not data.startswith(b"\x89PNG"):
        return data
    made, position = data[:8], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        checksum = zlib.crc32(data[position + 4 : end])
        made += data[position:end] + struct.pack(">I", checksum)
        position = end + 4
    return made + data[position:]


def framed(record: bytes, length: int | None = None) -> bytes:
    """A record as a TFRecord file has it; of another length than its own, if given."""
    header = struct.pack("<Q", len(record) if length is None else length)
    return header + _checksum(header) + record + _checksum(record)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TensorFlow does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF)
