"""The decoder against PIL, and what is told of images before they are decoded."""

import io
import warnings

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import encode, mutants, resized, whole_images
from PIL import Image

from pipelines.data import image_header
from pipelines.data.images import MAX_PIXELS, ImageFacts, decode, inspect
from pipelines.data.pixel_limit import limited

WHOLE = whole_images(48, 64)
UNDECODABLE = ("animated WebP",)
DECODABLE = {kind: WHOLE[kind] for kind in WHOLE if kind not in UNDECODABLE}
in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])


def by_pil(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)


@pytest.mark.parametrize("function", [decode, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", [kind for kind in DECODABLE if kind != "16-bit PNG"])
def test_pixels_are_those_of_pil(kind, function):
    image = function(tf.constant(WHOLE[kind]))
    assert image.dtype == tf.uint8
    # Two libraries may round the same transform in different ways, but no more.
    tolerance = 1 if "JPEG" in kind or kind == "WebP" else 0
    assert np.abs(image.numpy() - by_pil(WHOLE[kind])).max() <= tolerance


def test_static_shape_is_known_in_graphs():
    shape = in_graph.get_concrete_function().output_shapes
    assert shape.as_list() == [None, None, 3]


def test_photographs_are_decoded_as_by_pil(shared_data):
    for path in sorted((shared_data / "imagenet_sample").glob("*/*"))[::25]:
        encoded = path.read_bytes()
        image = decode(tf.constant(encoded)).numpy()
        assert np.abs(image - by_pil(encoded)).max() <= 1
        assert inspect([encoded], check="header") == inspect([encoded])


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"not an image\n", "not a JPEG, PNG, GIF, BMP or WebP image"),
    "one byte": (b"\xff", "not a JPEG, PNG, GIF, BMP or WebP image"),
    "sound": (b"RIFF\4\0\0\0WAVE", "not a JPEG, PNG, GIF, BMP or WebP image"),
    "only a JPEG's mark": (b"\xff\xd8\xff", "truncated JPEG"),
    "only a PNG's mark": (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
    "only a GIF's mark": (b"GIF89a", "truncated GIF"),
    "only a BMP's mark": (b"BM" + bytes(10), "truncated BMP"),
    "only a WebP's mark": (b"RIFF\4\0\0\0WEBP", "truncated WEBP"),
} | {
    f"{share:.0%} of a {kind}": (
        WHOLE[kind][: int(len(WHOLE[kind]) * share)],
        f"truncated {kind.split()[-1].upper()}",
    )
    for kind in ("baseline JPEG", "progressive JPEG", "PNG", "GIF", "BMP", "WebP")
    for share in (0.1, 0.5, 0.98)
}


@pytest.mark.parametrize("check", ["full", "header"])
@pytest.mark.parametrize(("encoded", "problem"), BAD.values(), ids=BAD.keys())
def test_problem_says_in_a_few_words_what_is_wrong(encoded, problem, check):
    (facts,) = inspect([encoded], check=check)
    assert facts[1:] == (0, 0, problem)


@pytest.mark.parametrize("function", [decode, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", [kind for kind in BAD if "GIF" not in kind])
def test_what_is_no_whole_image_is_not_decoded(kind, function):
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(tf.constant(BAD[kind][0]))


@pytest.mark.parametrize("check", ["full", "header"])
def test_facts_of_many_are_those_of_each(check):
    images = [*DECODABLE.values(), *(encoded for encoded, _ in BAD.values())]
    facts = inspect(images, check=check)
    assert facts == [inspect([image], check=check)[0] for image in images]
    for kind, fact in zip(DECODABLE, facts, strict=False):
        assert fact == ImageFacts(kind.split()[-1].upper(), 48, 64, None)
    assert inspect([], check=check) == []


def test_only_a_full_check_finds_damage_within():
    encoded = bytearray(WHOLE["PNG"])
    encoded[len(encoded) // 2] ^= 255
    assert inspect([bytes(encoded)], check="header")[0].problem is None
    assert inspect([bytes(encoded)])[0].problem == "damaged or unsupported PNG"


@pytest.mark.parametrize("check", ["full", "header"])
@pytest.mark.parametrize("kind", [kind for kind in DECODABLE if "BMP" not in kind])
def test_small_files_of_huge_images_are_not_decoded(kind, check):
    bomb = resized(WHOLE[kind], 16_000, 16_001)
    assert 0 < len(bomb) < 20_000
    with warnings.catch_warnings(action="error"):
        (facts,) = inspect([bomb], check=check)
    assert facts[1:3] == (0, 0)
    assert facts.problem.endswith(f" pixels, more than the limit of {MAX_PIXELS:,}")
    # The second frame of the animation is still small.
    pixels = 16_000 * 16_001 + (48 * 64 if kind == "animated GIF" else 0)
    assert facts.problem.startswith(f"{pixels:,} pixels")


@pytest.mark.parametrize("kind", DECODABLE)
def test_limit_is_the_number_of_pixels(kind):
    frames = 2 if kind == "animated GIF" else 1
    limit = 48 * 64 * frames
    assert inspect([WHOLE[kind]], max_pixels=limit)[0].problem is None
    (facts,) = inspect([WHOLE[kind]], max_pixels=limit - 1)
    assert facts.problem == f"{limit:,} pixels, more than the limit of {limit - 1:,}"


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WebP"])
def test_header_without_a_pixel_is_reported(kind):
    (facts,) = inspect([resized(WHOLE[kind], 48, 0)], check="header")
    assert facts[1:] == (0, 0, f"{kind.upper()} without a pixel")


def test_gif_of_many_frames_counts_them_all():
    frames = [Image.new("L", (200, 200), 10 * index) for index in range(20)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    (facts,) = inspect([encoded], max_pixels=50_000)
    assert "more than the limit" in facts.problem
    assert inspect([encoded])[0][1:] == (200, 200, None)


def test_graph_refuses_by_the_header_what_ingest_refuses():
    """An exported model would take GiB for a small file."""
    check = tf.function(
        limited,
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)],
    )

    def is_refused(image, max_pixels):
        try:
            assert check(tf.constant(image), max_pixels).numpy() == image
        except tf.errors.InvalidArgumentError as error:
            assert "more pixels than the limit of" in str(error)
            return True
        return False

    for kind, image in DECODABLE.items():
        pixels = image_header.read(image)[2] or 48 * 64
        assert not is_refused(image, pixels), kind
        assert is_refused(image, pixels - 1), kind
        assert is_refused(resized(image, 9_000, 9_000), 10**7), kind
    assert not is_refused(b"hello", 0)
    assert not is_refused(b"", 0)


def test_jpeg_of_a_thousand_scans_is_not_decoded():
    encoded = WHOLE["progressive JPEG"]
    last = encoded.rfind(b"\xff\xda")
    scans = encoded[:last] + encoded[last:-2] * 1000 + encoded[-2:]
    assert inspect([scans])[0].problem == "JPEG of more than 500 scans"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_damaged_images_are_decoded_or_reported(seed):
    images = list(mutants(20, seed))
    by_header = inspect(images, check="header")
    for image, header, facts in zip(images, by_header, inspect(images), strict=True):
        assert (header.problem is None) == (header.height * header.width > 0)
        assert header.height >= 0
        if facts.problem is None:
            assert header == facts or facts.format == "GIF"
            shape = decode(tf.constant(image)).shape
            assert shape == (facts.height, facts.width, 3)
        else:
            assert facts[1:3] == (0, 0)
            assert len(facts.problem) < 80
