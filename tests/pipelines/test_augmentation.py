"""What views are functions of, and the views that augmentations begin with."""

import io
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training.augmentation import OPERATIONS, View
from pipelines.data.augmentation import KERNELS, Augmentation
from pipelines.data.preprocessing import prepare

CIFAR = Preprocessing(crop=32, resize=32)
# Fixed seeds: these tests cannot fail by chance, only by a change.
SIGNIFICANCE = 1e-3


def _encoded(pixels, kind="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, "uint8")).save(buffer, kind, **options)
    return tf.constant(buffer.getvalue())


def _coordinates(size):
    """An image whose red grows with the row and whose green grows with the column."""
    ramp = np.round(np.linspace(0, 255, size))
    rows, columns = np.meshgrid(ramp, ramp, indexing="ij")
    return np.stack([rows, columns, np.full_like(rows, 77)], axis=-1)


def _seeds(count, first=0):
    indices = np.arange(first, first + count, dtype="int64")
    return tf.constant(np.stack([np.full_like(indices, 3), indices], axis=1))


def _windows(text, height, width, count=4000, size=224):
    view = Augmentation.parse(text).operations[0]
    draw = KERNELS[type(view)].draw_window
    image = tf.constant([height, width])
    windows = tf.function(
        lambda seeds: tf.map_fn(
            lambda seed: draw(view, image, seed, size),
            seeds,
            fn_output_signature=tf.int32,
        )
    )
    return windows(_seeds(count)).numpy()


def _views(text, encoded, preprocessing, count):
    augmentation = Augmentation.parse(text)
    views = tf.function(
        lambda seeds: tf.map_fn(
            lambda seed: augmentation.view(encoded, preprocessing, seed),
            seeds,
            fn_output_signature=tf.uint8,
        )
    )
    return views(_seeds(count)).numpy()


def _on_batch(text, images, preprocessing=CIFAR):
    count = len(images)
    images = Augmentation.parse(text).on_chunk(
        tf.constant(images, tf.uint8), _seeds(count), preprocessing
    )
    return images.numpy()


@pytest.fixture(scope="module")
def transforms(torchvision):
    return torchvision.transforms


# Compositions


def _every_text():
    for name, kind in OPERATIONS.items():
        parameters = "(3)" if name == "repeat" else ""
        yield f"{'' if issubclass(kind, View) else 'center|'}{name}{parameters}"


@pytest.mark.parametrize("text", _every_text())
def test_an_image_depends_on_its_seed_alone(text):
    """Whatever the other images of its batch, and its place in it."""
    augmentation = Augmentation.parse(text)
    encoded = _encoded(_coordinates(20), "jpeg")
    preprocessing = Preprocessing(crop=16, resize=16)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.int64),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def augmented(seeds, labels):
        views = tf.map_fn(
            lambda seed: augmentation.view(encoded, preprocessing, seed),
            seeds,
            fn_output_signature=tf.uint8,
        )
        views = augmentation.on_chunk(views, seeds, preprocessing)
        return augmentation.on_batch(views, labels, seeds, preprocessing, 12)

    seeds = _seeds(12, first=5 * 2**40)
    labels = tf.range(12, dtype=tf.int64)
    images, given_labels = augmented(seeds, labels)
    assert images.dtype == tf.uint8
    assert images.shape == (12, 16, 16, 3)
    again = augmented(seeds, labels)
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_array_equal(again[1], given_labels)
    assert augmentation.mixes_labels == ("mix" in text)
    if augmentation.mixes_labels:
        assert given_labels.shape == (12, 12)
        return
    np.testing.assert_array_equal(given_labels, labels)
    for part in (slice(0, 5), slice(5, 12), slice(None, None, -1)):
        np.testing.assert_array_equal(
            augmented(seeds[part], labels[part])[0], images[part]
        )


def test_equal_operations_draw_differently():
    images = np.tile(_coordinates(32), (400, 1, 1, 1))
    share = (_on_batch("center|flip|flip", images)[:, 0, 0, 1] > 128).mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(400)


# Views


def test_center_is_the_evaluation_view():
    encoded = _encoded(_coordinates(50))
    np.testing.assert_array_equal(
        _views("center", encoded, CIFAR, 1)[0], prepare(encoded, CIFAR)
    )


def test_padded_crop_is_the_papers():
    """Section 4.2: all 81 positions of a 32x32 crop in the image padded by 4."""
    image = _coordinates(32)
    padded = np.empty((40, 40, 3), "uint8")
    padded[:] = (124, 116, 104)
    padded[4:36, 4:36] = image
    positions = {
        padded[top : top + 32, left : left + 32].tobytes(): (top, left)
        for top in range(9)
        for left in range(9)
    }
    views = _on_batch("pad_crop(4)", np.tile(image, (4050, 1, 1, 1)))
    drawn = np.array([positions[view.tobytes()] for view in views])
    counts, _, _ = np.histogram2d(*drawn.T, bins=9)
    assert stats.chisquare(counts.ravel()).pvalue > SIGNIFICANCE


def test_scale_jitter_is_the_papers():
    """Section 3.4: the shorter side is drawn uniformly from 256 to 480."""
    windows = _windows("scale_jitter_crop(256,480)", 3000, 4000)
    assert (windows[:, 2] == windows[:, 3]).all()
    lengths = 224 * 3000 / windows[:, 2]
    assert stats.kstest(lengths, "uniform", (255.5, 225)).pvalue > SIGNIFICANCE
    for axis, side in ((0, 3000), (1, 4000)):
        places = windows[:, axis] / (side - windows[:, 2])
        assert stats.kstest(places, "uniform").pvalue > SIGNIFICANCE
    smaller = _windows("scale_jitter_crop(256,480)", 3000, 4000, size=112)
    lengths = 112 * 3000 / smaller[:, 2]
    assert stats.kstest(lengths, "uniform", (127.5, 113)).pvalue > SIGNIFICANCE


def test_inception_crops_area_is_uniform():
    """1409.4842: 8% to 100% of the area.

    In a square, every crop of less than 3/4 of the area fits, at any aspect ratio.
    """
    windows = _windows("inception_crop(0.08,1)", 2000, 2000)
    areas = windows[:, 2] * windows[:, 3] / 2000**2
    assert areas.min() > 0.0799 and areas.max() <= 1
    fitting = areas[areas < 0.75]
    assert stats.kstest(fitting, "uniform", (0.08, 0.67)).pvalue > SIGNIFICANCE
    ratios = np.log(windows[:, 3] / windows[:, 2])[areas < 0.75]
    limit = math.log(4 / 3)
    assert stats.kstest(ratios, "uniform", (-limit, 2 * limit)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (1000, 1000), (300, 900), (900, 300)]
)
def test_inception_crops_are_torchvisions(transforms, height, width):
    import torch

    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(
                image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)
            )
            for _ in range(2000)
        ]
    )
    ours = _windows("inception_crop(0.08,1)", height, width, count=2000)
    for one, other in zip(ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(one, other).pvalue > SIGNIFICANCE
    areas = [windows[:, 2] * windows[:, 3] for windows in (ours, theirs)]
    assert stats.ks_2samp(*areas).pvalue > SIGNIFICANCE


def test_inception_crop_falls_back_to_the_centre():
    """Where nothing fits, torchvision takes the largest centred crop."""
    windows = _windows("inception_crop(1,1)", 100, 1000, count=20)
    np.testing.assert_array_equal(windows, [[0, 433, 100, 133]] * 20)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["inception_crop(0.08,1)", "scale_jitter_crop(256,480)"]),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.integers(0, 2**62),
)
def test_windows_lie_in_the_image(text, height, width, index):
    seed = tf.constant([0, index], tf.int64)
    view = Augmentation.parse(text).operations[0]
    draw = KERNELS[type(view)].draw_window
    top, left, rows, columns = draw(view, tf.constant([height, width]), seed, 224)
    assert 0 <= top < top + rows <= height
    assert 0 <= left < left + columns <= width


@pytest.mark.parametrize("text", ["inception_crop(0.08,1)", "scale_jitter_crop"])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_views_show_their_windows(text, kind):
    """Read back from pixels that hold their own coordinates."""
    side = 256
    encoded = _encoded(_coordinates(side), kind, quality=100, subsampling=0)
    views = _views(text, encoded, CIFAR, 40).astype(float)
    windows = _windows(text, side, side, count=40, size=32)
    for axis in (0, 1):
        # The middles of the first and the last pixel of the view. Windows that are
        # decoded at a fraction may be off by a pixel of the view.
        step = windows[:, 2 + axis] / 32
        first = windows[:, axis] + step / 2 - 0.5
        last = windows[:, axis] + windows[:, 2 + axis] - step / 2 - 0.5
        np.testing.assert_allclose(views[:, 0, 0, axis], first, atol=9)
        np.testing.assert_allclose(views[:, -1, -1, axis], last, atol=9)


def _photograph(height, width):
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (20, 20, 3), "uint8"))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
    return np.clip(soft + random.integers(-9, 10, soft.shape), 0, 255)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_fused_views_are_cut_from_the_whole_image(options):
    encoded = _encoded(_photograph(60, 75), "jpeg", **options)
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    views = _views(
        "inception_crop(0.08,1)", encoded, Preprocessing(crop=40, resize=40), 20
    )
    for view, window in zip(
        views, _windows("inception_crop(0.08,1)", 60, 75, 20, 40), strict=True
    ):
        top, left, height, width = window
        crop = image[top : top + height, left : left + width]
        expected = tf.image.resize(crop, [40, 40]).numpy()
        # At its border a window of a JPEG lacks the neighbours' colour.
        difference = np.abs(view - expected)[6:-6, 6:-6]
        assert difference.max() <= 3
        assert difference.mean() < 0.45


def test_shrunk_views_are_antialiased():
    """Nearer to Pillow's antialiased crop than pixels picked from the image."""
    encoded = _encoded(_photograph(700, 900), "jpeg", quality=95)
    picture = Image.open(io.BytesIO(encoded.numpy()))
    size = 32
    views = _views(
        "inception_crop(0.3,1)", encoded, Preprocessing(crop=size, resize=size), 6
    )
    windows = _windows("inception_crop(0.3,1)", 700, 900, 6, size)
    for view, (top, left, height, width) in zip(views, windows, strict=True):
        ratio = max(r for r in (1, 2, 4, 8) if r * size <= min(height, width))
        left, top, width, height = (
            int(n) // ratio * ratio for n in (left, top, width, height)
        )
        box = (left, top, left + width, top + height)
        expected = picture.resize((size, size), Image.Resampling.BILINEAR, box)
        difference = np.abs(view.astype(float) - np.asarray(expected))
        aliased = picture.resize((size, size), Image.Resampling.NEAREST, box)
        aliasing = np.abs(aliased - np.asarray(expected, float))
        assert difference.mean() < 0.6 * aliasing.mean()


def test_gray_and_cmyk_photographs_have_views():
    gray = _encoded(_photograph(50, 60)[..., 0], "jpeg")
    buffer = io.BytesIO()
    Image.fromarray(_photograph(50, 60).astype("uint8")).convert("CMYK").save(
        buffer, "jpeg"
    )
    for encoded in (gray, tf.constant(buffer.getvalue())):
        assert _views("inception_crop", encoded, CIFAR, 2).shape == (2, 32, 32, 3)
