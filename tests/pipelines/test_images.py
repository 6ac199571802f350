"""The decoder against PIL, and against bytes that are no image."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.data.images import decode, image_format, problem


def pixels(channels, height=48, width=64):
    """Smooth waves, so that JPEG keeps them and resampled chroma shows no edges."""
    y, x = np.mgrid[:height, :width]
    waves = [
        127 + 120 * np.sin((x * (i + 1) + y * (3 - i)) / 17) for i in range(channels)
    ]
    return np.stack(waves, axis=-1).astype(np.uint8)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


RGB = Image.fromarray(pixels(3))
RGBA = Image.fromarray(pixels(4))
GRAY_ALPHA = Image.fromarray(pixels(2), "LA")
ENCODED = {
    "baseline JPEG": encode(RGB, "JPEG", quality=90),
    "progressive JPEG": encode(RGB, "JPEG", quality=90, progressive=True),
    "JPEG without chroma subsampling": encode(RGB, "JPEG", quality=90, subsampling=0),
    "grayscale JPEG": encode(RGB.convert("L"), "JPEG", quality=90),
    "CMYK JPEG": encode(RGB.convert("CMYK"), "JPEG", quality=90),
    "PNG": encode(RGB, "PNG"),
    "grayscale PNG": encode(RGB.convert("L"), "PNG"),
    "black and white PNG": encode(RGB.convert("1"), "PNG"),
    "palette PNG": encode(RGB.quantize(64), "PNG"),
    "RGBA PNG": encode(RGBA, "PNG"),
    "grayscale PNG with alpha": encode(GRAY_ALPHA, "PNG"),
    "GIF": encode(RGB, "GIF"),
    "animated GIF": encode(
        RGB, "GIF", save_all=True, append_images=[RGB.rotate(180), RGB.rotate(90)]
    ),
    "BMP": encode(RGB, "BMP"),
    "grayscale BMP": encode(RGB.convert("L"), "BMP"),
    "RGBA BMP": encode(RGBA, "BMP"),
    "WebP": encode(RGB, "WEBP", lossless=True),
}
in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("function", [decode, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED.keys())
def test_pixels_are_those_of_pil(encoded, function):
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    image = function(tf.constant(encoded))
    assert image.dtype == tf.uint8
    assert image.shape == expected.shape
    difference = np.abs(image.numpy().astype(int) - expected)
    # Two libraries may round the same transform in different ways, but no more.
    assert difference.max() <= (1 if image_format(encoded) == "JPEG" else 0)


def test_sixteen_bits_keep_the_upper_eight():
    # PIL clips when it makes RGB of 16 bits, so it is no reference here.
    values = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    image = decode(tf.constant(encode(Image.fromarray(values), "PNG"))).numpy()
    for channel in range(3):
        error = np.abs(image[..., channel].astype(int) - np.round(values / 257))
        assert error.max() <= 1


def test_static_shape_is_known_in_graphs():
    shape = in_graph.get_concrete_function().output_shapes
    assert shape.as_list() == [None, None, 3]


def test_photographs_are_decoded_as_by_pil(shared_data):
    for path in sorted((shared_data / "imagenet_sample").glob("*/*"))[::25]:
        expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
        image = decode(tf.io.read_file(str(path))).numpy()
        assert np.abs(image - expected).max() <= 1


BAD = {
    "empty": b"",
    "text": b"not an image at all\n",
    "one byte": b"\xff",
    "only a JPEG's mark": b"\xff\xd8\xff",
    "only a PNG's mark": b"\x89PNG\r\n\x1a\n",
    "only a GIF's mark": b"GIF89a",
    "only a BMP's mark": b"BM" + bytes(10),
} | {
    f"{share:.0%} of a {kind}": ENCODED[kind][: int(len(ENCODED[kind]) * share)]
    for kind in ("baseline JPEG", "progressive JPEG", "PNG", "BMP")
    for share in (0.1, 0.5, 0.98)
}


@pytest.mark.parametrize("function", [decode, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("encoded", BAD.values(), ids=BAD.keys())
def test_what_is_no_whole_image_is_refused(encoded, function):
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(tf.constant(encoded))


def test_problem_says_in_a_few_words_what_is_wrong():
    assert problem(ENCODED["PNG"]) is None
    assert problem(b"") == "empty file"
    assert problem(b"hello") == "not a JPEG, PNG, GIF or BMP image"
    truncated = ENCODED["baseline JPEG"][:-100]
    assert problem(truncated) == "damaged or unsupported JPEG"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_format_is_told_by_the_bytes(kind):
    assert image_format(encode(RGB, kind)) == kind


def test_no_format_for_other_bytes():
    assert image_format(b"hello") is None
    assert image_format(b"") is None
