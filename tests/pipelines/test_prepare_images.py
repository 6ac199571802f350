"""The evaluation views beside Pillow's."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from keras_resnet.preprocessing import Preprocessing
from pipelines.data import drawings
from pipelines.data.images import decode
from pipelines.data.orientation import read_orientation
from pipelines.data.preprocessing import prepare, resize_and_crop
from pipelines.evaluation.views import multi_scale, ten_crop

SMALL = Preprocessing(crop=28, resize=32)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, "uint8")).save(buffer, "png")
    return buffer.getvalue()


def _pils(picture, preprocessing):
    """Torchvision's Resize and CenterCrop of a Pillow image, by hand."""
    width, height = picture.size
    length, size = preprocessing.resize, preprocessing.crop
    short = min(width, height)
    sides = (int(length * width / short), int(length * height / short))
    picture = picture.resize(sides, FILTERS[preprocessing.interpolation])
    left, top = (round((side - size) / 2) for side in sides)
    return np.asarray(picture.crop((left, top, left + size, top + size)), int)


@pytest.mark.parametrize(("interpolation", "levels"), [("bilinear", 1), ("bicubic", 2)])
def test_evaluation_view_is_pils(interpolation, levels):
    preprocessing = dataclasses.replace(SMALL, interpolation=interpolation)
    for drawing in drawings.draw(8, seed=5):
        picture = Image.open(io.BytesIO(drawing.image)).convert("RGB")
        ours = prepare(tf.constant(drawing.image), preprocessing).numpy()
        assert ours.dtype == np.uint8
        difference = np.abs(ours.astype(int) - _pils(picture, preprocessing))
        # Pillow rounds after each of its two passes.
        assert difference.max() <= levels
        assert difference.mean() < 0.3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(8, 40), st.booleans())
def test_any_size_gives_the_size_asked_for(height, width, resize, is_float):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    preprocessing = Preprocessing(crop=8, resize=resize)
    images = tf.constant(image, tf.float32 if is_float else tf.uint8)
    ours = resize_and_crop(images, preprocessing).numpy().astype(int)
    assert ours.shape == (8, 8, 3)
    expected = _pils(Image.fromarray(image.astype("uint8")), preprocessing)
    assert np.abs(ours - expected).max() <= 2


def test_a_crop_of_an_unscaled_image_has_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), "uint8")
    ours = prepare(tf.constant(_png(image)), SMALL)
    np.testing.assert_array_equal(ours, image[2:30, 6:34])
    # Of the network's size, but to be scaled all the same.
    ours = prepare(tf.constant(_png(image[:28, :28])), SMALL)
    assert (ours.numpy() != image[:28, :28]).any()


def test_an_image_of_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    same = Preprocessing(crop=32, resize=32)
    np.testing.assert_array_equal(prepare(tf.constant(_png(image)), same), image)


def test_decoded_images_give_the_same_levels():
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 61, 3), "uint8")
    batch = resize_and_crop(tf.constant(images, tf.float32), SMALL)
    assert batch.dtype == tf.uint8
    for image, row in zip(images, batch, strict=True):
        np.testing.assert_array_equal(prepare(tf.constant(_png(image)), SMALL), row)


def test_floats_are_rounded_and_clipped():
    images = tf.fill([32, 32, 3], 1.0) * [-3.0, 100.6, 300.0]
    assert resize_and_crop(images, SMALL)[0, 0].numpy().tolist() == [0, 101, 255]


@pytest.mark.parametrize("orientation", [None, *range(1, 10)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_in_a_graph_as_pil_does(kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    (drawing,) = drawings.draw(1, seed=5)
    picture = Image.open(io.BytesIO(drawing.image)).convert("RGB").resize((40, 33))
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif, **_OPTIONS[kind])
    encoded = tf.constant(buffer.getvalue())
    turning = dataclasses.replace(SMALL, orientation="apply")
    expected = _pils(ImageOps.exif_transpose(Image.open(buffer)).convert("RGB"), SMALL)
    ours = tf.function(prepare)(encoded, turning).numpy().astype(int)
    assert np.abs(ours - expected).max() <= 2
    as_it_is = _pils(Image.open(buffer).convert("RGB"), SMALL)
    assert np.abs(prepare(encoded, SMALL).numpy() - as_it_is).max() <= 2


_OPTIONS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}


def test_orientation_of_other_files():
    def orientation(encoded):
        return int(read_orientation(tf.constant(encoded)))

    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    behind = b"\xff\xd8\xff\xe0\0\x04ab%b\xff\xe1\0\x22" + exif
    assert orientation(behind % b"") == orientation(behind % b"\xff\xff") == 6
    # Only what stands before the scan is a header.
    assert orientation(behind % b"\xff\xda\0\x02") == 1
    for length in range(len(behind)):  # Whatever is missing, nothing is read beyond it.
        assert orientation((behind % b"")[:length]) in (1, 6)
    endless = b"\x89PNG\r\n\x1a\n" + bytes(12 * 20_000)
    for other in (b"", b"GIF89a", endless, b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xff"):
        assert orientation(other) == 1


def test_ten_crops_are_the_corners_the_centre_and_their_mirrors():
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), "uint8")
    crops = ten_crop(tf.constant(image)[None], size=8).numpy()[0]
    starts = [(0, 0), (0, 5), (3, 0), (3, 5), (2, 2)]
    for crop, mirror, (top, left) in zip(crops[:5], crops[5:], starts, strict=True):
        expected = image[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(crop, expected)
        np.testing.assert_array_equal(mirror, expected[:, ::-1])


def test_multi_scale_gives_whole_images_at_the_papers_scales():
    drawing = next(iter(drawings.draw(1, seed=5)))
    picture = Image.open(io.BytesIO(drawing.image)).convert("RGB")
    sides = (24, 32, 48)
    for side, scaled in zip(
        sides, multi_scale(decode(tf.constant(drawing.image)), sides), strict=True
    ):
        shape = tuple(int(side * n / min(picture.size)) for n in picture.size)
        expected = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR), int)
        assert scaled.dtype == tf.uint8
        assert np.abs(scaled.numpy().astype(int) - expected).max() <= 2
