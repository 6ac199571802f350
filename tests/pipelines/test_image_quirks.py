"""Images as they are found: each quirk on real bytes, inspected and decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from mutations import encode
from PIL import Image, ImageCms

from pipelines.data.images import decode, inspect

HEIGHT, WIDTH = 48, 64


def pixels(channels, height=HEIGHT, width=WIDTH):
    """Smooth waves, so that JPEG keeps them and resampled chroma shows no edges."""
    y, x = np.mgrid[:height, :width]
    waves = [
        127 + 120 * np.sin((x * (i + 1) + y * (3 - i)) / 17) for i in range(channels)
    ]
    return np.stack(waves, axis=-1).astype(np.uint8)


RGB = Image.fromarray(pixels(3))
RGBA = Image.fromarray(pixels(4))
CMYK = RGB.convert("CMYK")


def decoded(encoded, format, size=(HEIGHT, WIDTH)):
    """Decodes an image that inspection has no problem with, either way."""
    for check in ("header", "full"):
        assert inspect([encoded], check=check) == [(format, *size, None)]
    return decode(tf.constant(encoded)).numpy().astype(int)


def by_pil(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)


def problem(encoded):
    return inspect([encoded])[0].problem


def difference(image, expected):
    return np.abs(image - np.asarray(expected).astype(int)).max()


def adobe_marker(encoded):
    """Returns where the segment of Adobe's mark begins and ends."""
    start = encoded.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", encoded, start + 2)
    return start, start + 2 + length


def ycck():
    """A JPEG as Photoshop writes it: YCbCr of the inverted inks, and inverted black."""
    inks = np.asarray(CMYK)
    ycc = np.asarray(
        Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr")
    )
    # PIL stores what it is given inverted, and so cannot tell what it means.
    planes = np.dstack([255 - ycc, inks[..., 3]])
    image = Image.fromarray(planes, "CMYK")
    encoded = bytearray(encode(image, "JPEG", quality=95, subsampling=0))
    _, end = adobe_marker(bytes(encoded))
    encoded[end - 1] = 2  # The colour transform: YCCK.
    return bytes(encoded)


def test_cmyk_jpeg_has_the_colours_of_pil():
    encoded = encode(CMYK, "JPEG", quality=95)
    image = decoded(encoded, "JPEG")
    assert difference(image, by_pil(encoded)) <= 1
    assert difference(image, RGB) < 40
    assert np.abs(image - np.asarray(RGB).astype(int)).mean() < 3


def test_ycck_jpeg_has_the_colours_of_pil():
    image = decoded(ycck(), "JPEG")
    assert difference(image, by_pil(ycck())) <= 1
    assert np.abs(image - np.asarray(RGB).astype(int)).mean() < 3


def test_cmyk_jpeg_without_adobes_mark_is_not_inverted():
    encoded = encode(CMYK, "JPEG", quality=95)
    start, end = adobe_marker(encoded)
    image = decoded(encoded[:start] + encoded[end:], "JPEG")
    inverted = Image.fromarray(255 - np.asarray(CMYK), "CMYK")
    assert np.abs(image - np.asarray(inverted.convert("RGB")).astype(int)).mean() < 3


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"keep_rgb": True},
        {"restart_marker_blocks": 3},
        {"optimize": True},
    ],
    ids=str,
)
def test_jpegs_of_other_kinds(options):
    encoded = encode(RGB, "JPEG", quality=95, **options)
    assert difference(decoded(encoded, "JPEG"), by_pil(encoded)) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_grayscale_has_three_equal_channels(kind):
    image = decoded(encode(RGB.convert("L"), kind, quality=95), kind)
    assert difference(image[..., 0], image[..., 2]) <= (4 if kind == "WEBP" else 0)
    assert np.abs(image[..., 0] - np.asarray(RGB.convert("L")).astype(int)).mean() < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_extension_that_lies_is_not_looked_at(kind, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(RGB, kind))
    image = decoded(path.read_bytes(), kind)
    assert difference(image, by_pil(path.read_bytes())) <= 1


def png(rows, width, depth, color_type):
    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), (b"IDAT", lines), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*named) for named in chunks)


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_keep_the_upper_eight(color_type, channels):
    # PIL clips when it makes RGB of 16-bit gray, so it is no reference here.
    values = np.random.default_rng(0).integers(0, 2**16, (8, 9, channels))
    rows = [row.astype(">u2").tobytes() for row in values]
    colors = values[..., :3] if channels > 2 else values[..., :1]
    image = decoded(png(rows, 9, 16, color_type), "PNG", (8, 9))
    assert difference(image, np.broadcast_to(colors >> 8, (8, 9, 3))) == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_gray_are_stretched(bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (8, 16))
    weights = 2 ** np.arange(0, 8, bits)[::-1]
    rows = [bytes((row.reshape(-1, 8 // bits) @ weights).tolist()) for row in values]
    image = decoded(png(rows, 16, bits, 0), "PNG", (8, 16))
    assert difference(image[..., 0], values * 255 // (2**bits - 1)) == 0


@pytest.mark.parametrize("options", [{}, {"transparency": 3}], ids=str)
@pytest.mark.parametrize("colors", [2, 16, 200])
def test_palette_png_shows_its_colours(colors, options):
    image = RGB.quantize(colors)
    encoded = encode(image, "PNG", **options)
    assert difference(decoded(encoded, "PNG"), image.convert("RGB")) == 0


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_transparency_shows_the_colours_beneath(kind):
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = decoded(encode(RGBA, kind, **lossless), kind)
    assert difference(image, np.asarray(RGBA)[..., :3]) == 0


def test_transparent_pixels_of_gif_are_black():
    image = RGB.quantize(16)
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == 3] = 0
    encoded = encode(image, "GIF", transparency=3)
    assert difference(decoded(encoded, "GIF"), expected) == 0


def test_animated_gif_gives_its_first_frame():
    frames = [RGB.rotate(angle) for angle in (0, 180, 90)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(encoded)).n_frames == 3
    assert difference(decoded(encoded, "GIF"), by_pil(encoded)) == 0


def test_animated_webp_is_reported_or_gives_its_first_frame():
    frames = {"save_all": True, "lossless": True, "exact": True}
    opaque = encode(RGB, "WEBP", append_images=[RGB.rotate(180)], **frames)
    assert problem(opaque) == "animated WEBP"
    seen = encode(RGBA, "WEBP", append_images=[RGBA.rotate(180)], **frames)
    # What lies beneath fully transparent pixels is not kept by animations.
    some = np.asarray(RGBA)[..., 3] > 0
    image = decoded(seen, "WEBP")
    assert difference(image[some], np.asarray(RGBA)[..., :3][some]) <= 1


def test_webp_is_as_by_pil():
    encoded = encode(RGB, "WEBP", quality=80)
    assert difference(decoded(encoded, "WEBP"), by_pil(encoded)) <= 1
    lossless = encode(RGB, "WEBP", lossless=True)
    assert difference(decoded(lossless, "WEBP"), RGB) == 0


def test_bmps_that_the_decoder_would_make_noise_of_are_reported():
    assert problem(encode(RGB.quantize(16), "BMP")) == "BMP with a palette"
    assert problem(encode(RGB.convert("1"), "BMP")) == "BMP of 1 bits per pixel"
    rgb = bytearray(encode(RGB, "BMP"))
    rgb[30] = 1  # Run-length encoding.
    assert problem(bytes(rgb)) == "compressed BMP"


def test_bmp_from_top_to_bottom():
    upwards = encode(RGB, "BMP")
    rows = np.frombuffer(upwards[54:], np.uint8).reshape(HEIGHT, -1)[::-1]
    header = upwards[:22] + struct.pack("<i", -HEIGHT) + upwards[26:54]
    assert difference(decoded(header + rows.tobytes(), "BMP"), RGB) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_not_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(
        decoded(encode(RGB, kind, exif=exif), kind),
        decoded(encode(RGB, kind), kind),
    ) == 0  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colour_profile_is_not_applied(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    encoded = encode(RGB, kind, icc_profile=profile)
    assert profile in encoded or kind == "PNG"
    assert difference(decoded(encoded, kind), decoded(encode(RGB, kind), kind)) == 0


def test_png_with_a_profile_too_large_for_pil():
    noise = np.random.default_rng(0).bytes(100) * 20_000
    encoded = encode(RGB, "PNG", icc_profile=noise)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(encoded))
    assert difference(decoded(encoded, "PNG"), RGB) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_truncated_tail_is_reported(kind):
    encoded = encode(RGB, kind)
    assert problem(encoded[:-20]) == f"truncated {kind}"


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("kept", [3, 20, 300, -2])
def test_missing_end_mark_of_jpeg_is_reported(kept, options):
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xd9"  # As the thumbnail that a camera puts there.
    encoded = encode(RGB, "JPEG", exif=exif, **options)
    assert problem(encoded[:kept]) == "truncated JPEG"


def test_what_lies_behind_a_jpeg_is_not_looked_at():
    alone = encode(RGB, "JPEG")
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xd9 \xff\xda \xff\xc0" * 1000
    for behind in (bytes(100), b"\xff\xd9", encode(RGB.rotate(180), "JPEG"), film):
        assert difference(decoded(alone + behind, "JPEG"), by_pil(alone)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 20_000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_extreme_sizes(kind, size):
    image = Image.fromarray(pixels(3, *size))
    if kind == "WEBP" and max(size) > 16_383:
        pytest.skip("the format ends at 16,383 pixels")
    encoded = encode(image, kind)
    assert difference(decoded(encoded, kind, size), by_pil(encoded)) <= 1


@pytest.mark.parametrize("kind", ["TIFF", "JPEG2000", "AVIF", "ICO", "PPM"])
def test_other_formats_are_reported(kind):
    assert problem(encode(RGB, kind)) == "not a JPEG, PNG, GIF, BMP or WebP image"


def test_jpegs_of_processes_that_nothing_decodes_are_reported():
    encoded = bytearray(encode(RGB, "JPEG"))
    start = encoded.index(b"\xff\xc0")
    encoded[start + 1] = 0xC3  # Lossless.
    assert problem(bytes(encoded)) == "damaged or unsupported JPEG"
