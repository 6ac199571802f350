"""Views of an image, read back from pixels that hold their own coordinates."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.data import drawings
from pipelines.data.augmentation import AUGMENTATIONS
from pipelines.data.preprocessing import Preprocessing, normalize, prepare

CIFAR = Preprocessing(size=32, resize=32)
IMAGENET = Preprocessing(size=224, resize=256)


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(buffer, "png")
    return buffer.getvalue()


def _coordinates(size):
    """An image whose red grows with the row and whose green grows with the column."""
    ramp = np.round(np.linspace(0, 255, size))
    rows, columns = np.meshgrid(ramp, ramp, indexing="ij")
    return np.stack([rows, columns, np.full_like(rows, 77)], axis=-1)


def _views(name, image, preprocessing, count):
    augment = AUGMENTATIONS[name]

    @tf.function
    def view(index):
        seed = tf.stack([tf.constant(3, tf.int64), index])
        return augment(tf.constant(_png(image)), preprocessing, seed)

    return np.stack([view(tf.constant(n, tf.int64)) for n in range(count)])


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"none"}))
def test_flips_half_and_depends_on_the_seed_alone(name):
    views = _views(name, _coordinates(64), CIFAR, 300)
    rising = views[:, 16, -8, 1] > views[:, 16, 8, 1]
    # Four standard deviations of a fair coin.
    assert abs(rising.mean() - 0.5) < 4 * 0.5 / np.sqrt(300)
    np.testing.assert_array_equal(views[:5], _views(name, _coordinates(64), CIFAR, 5))


def test_padded_crop_is_the_papers():
    """Section 4.2: all 81 positions of a 32x32 crop in the image padded by 4."""
    image = _coordinates(32)
    padded = np.empty((40, 40, 3))
    padded[:] = CIFAR.mean
    padded[4:36, 4:36] = image
    positions = {}
    for top in range(9):
        for left in range(9):
            crop = padded[top : top + 32, left : left + 32]
            for flipped in (crop, crop[:, ::-1]):
                positions[np.round(flipped).astype(int).tobytes()] = (top, left)
    seen = {
        positions[np.round(view).astype(int).tobytes()]
        for view in _views("pad_crop_flip", image, CIFAR, 800)
    }
    assert len(seen) == 81


def test_scale_jitter_is_the_papers():
    """Section 3.4: the shorter side is drawn from 256 to 480."""
    views = _views("scale_jitter_crop_flip", _coordinates(448), IMAGENET, 80)
    assert views.shape[1:] == (224, 224, 3)
    # A crop of 224 spans 223 of the scaled image's pixels.
    span = views[:, -2, 0, 0] - views[:, 1, 0, 0]
    sides = 221 * 255 / span
    assert 250 < sides.min() < 275
    assert 455 < sides.max() < 490


def test_inception_crop_keeps_its_ranges():
    """1409.4842: 8% to 100% of the area, aspect ratio 3:4 to 4:3."""
    views = _views("resized_crop_flip", _coordinates(256), CIFAR, 200)
    height = (views[:, -1, 0, 0] - views[:, 0, 0, 0]) / 255 * 32 / 31
    width = np.abs(views[:, 0, -1, 1] - views[:, 0, 0, 1]) / 255 * 32 / 31
    area = height * width
    assert 0.07 < area.min() < 0.2
    assert 0.8 < area.max() < 1.05
    assert (width / height).min() > 0.7
    assert (width / height).max() < 1.45


def test_evaluation_view_is_pils():
    """Antialiased bilinear to the shorter side, then the centre."""
    preprocessing = Preprocessing(size=28, resize=32)
    for drawing in drawings.draw(12, seed=5):
        picture = Image.open(io.BytesIO(drawing.image)).convert("RGB")
        scale = 32 / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - 28) // 2, (height - 28) // 2
        expected = np.asarray(picture.crop((left, top, left + 28, top + 28)), float)
        ours = prepare(tf.constant(drawing.image), preprocessing).numpy()
        # PIL rounds after each of its two passes.
        assert np.abs(ours - expected).max() < 1.6


def test_normalisation_in_float64():
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        normalize(tf.constant(images, tf.float32), CIFAR),
        (images / 255 - mean) / std,
        atol=1e-5,
    )
