"""The evaluation views beside Pillow's, and normalisation."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.data import drawings
from pipelines.data.preprocessing import (
    Preprocessing,
    normalize,
    prepare,
    resize_and_crop,
)
from pipelines.errors import UserError
from pipelines.evaluation.views import multi_scale, ten_crop

SMALL = Preprocessing(size=28, resize=32)
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, "uint8")).save(buffer, "png")
    return buffer.getvalue()


def _pils(picture, preprocessing):
    """Torchvision's Resize and CenterCrop of a Pillow image, by hand."""
    width, height = picture.size
    length, size = preprocessing.resize, preprocessing.size
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
    preprocessing = Preprocessing(size=8, resize=resize)
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
    same = Preprocessing(size=32, resize=32)
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


def test_normalisation_in_float64():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    ours = normalize(tf.constant(images), SMALL)
    assert ours.dtype == tf.float32
    np.testing.assert_allclose(ours, (images / 255 - mean) / std, atol=1e-5)


def test_interpolation_is_checked_and_kept_in_json():
    with pytest.raises(UserError, match="did you mean 'bicubic'"):
        Preprocessing(size=28, resize=32, interpolation="bicubik")
    bicubic = dataclasses.replace(SMALL, interpolation="bicubic")
    assert Preprocessing.from_json(dataclasses.asdict(bicubic)) == bicubic
    old = dataclasses.asdict(SMALL)
    del old["interpolation"]
    assert Preprocessing.from_json(old) == SMALL


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
        sides, multi_scale(tf.constant(drawing.image), sides), strict=True
    ):
        shape = tuple(int(side * n / min(picture.size)) for n in picture.size)
        expected = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR), int)
        assert scaled.dtype == tf.uint8
        assert np.abs(scaled.numpy().astype(int) - expected).max() <= 2
