"""What happens to batches: flips, colours, erased and mixed images."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.augmentation import Augmentation

MEAN_COLOUR = np.array([124, 116, 104])
SIGNIFICANCE = 1e-3


def _seeds(count):
    indices = np.arange(count, dtype="int64")
    return tf.constant(np.stack([np.full_like(indices, 3), indices], axis=1))


def _batch(text, images, classes=10, labels=None):
    count, size = images.shape[:2]
    labels = np.arange(count) % classes if labels is None else labels
    augmentation = Augmentation.parse(f"center|{text}")
    preprocessing = Preprocessing(crop=size, resize=size)

    @tf.function
    def augment(images, labels, seeds):
        images = augmentation.on_chunk(images, seeds, preprocessing)
        return augmentation.on_batch(images, labels, seeds, preprocessing, classes)

    images, labels = augment(
        tf.constant(images, tf.uint8), tf.constant(labels, tf.int64), _seeds(count)
    )
    assert images.dtype == tf.uint8
    return images.numpy(), labels.numpy()


def _noise(count, size, low=0):
    return np.random.default_rng(0).integers(low, 256, (count, size, size, 3), "uint8")


def test_flips_half():
    images = _noise(2000, 4)
    flipped, _ = _batch("flip", images)
    is_mirror = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    is_same = (flipped == images).all(axis=(1, 2, 3))
    assert (is_mirror ^ is_same).all()
    assert abs(is_mirror.mean() - 0.5) < 4 * 0.5 / math.sqrt(2000)


def test_pca_colour_has_alexnets_covariance():
    """Of Krizhevsky et al.: components times eigenvalues times N(0, 0.1)."""
    eigenvalues = np.array([0.2175, 0.0188, 0.0045]) * 255
    eigenvectors = np.array(
        [
            [-0.5675, 0.7192, 0.4009],
            [-0.5808, -0.0045, -0.8140],
            [-0.5836, -0.6948, 0.4203],
        ]
    )
    np.testing.assert_allclose(eigenvectors @ eigenvectors.T, np.eye(3), atol=1e-3)
    # Ten times as strong as usual, so that rounding to levels hardly counts.
    shifts = _batch("pca_colour(1)", np.full((20_000, 2, 2, 3), 128))[0].astype(int)
    assert (shifts == shifts[:, :1, :1]).all()
    shifts = shifts[(shifts.min((1, 2, 3)) > 0) & (shifts.max((1, 2, 3)) < 255), 0, 0]
    expected = eigenvectors @ np.diag(eigenvalues**2) @ eigenvectors.T
    ours = np.linalg.eigvalsh(np.cov(shifts.T))[::-1]
    np.testing.assert_allclose(ours, eigenvalues**2 + 1 / 12, rtol=0.08)
    np.testing.assert_allclose(np.cov(shifts.T), expected, rtol=0.08, atol=3)
    assert np.abs(shifts.mean(axis=0) - 128).max() < 4 * 32 / math.sqrt(20_000)


def _erased(images, changed):
    """The erased pixels, and the height and width of their bounding box."""
    mask = (images != changed).any(axis=-1)
    rows, columns = mask.any(axis=2).sum(axis=1), mask.any(axis=1).sum(axis=1)
    return mask, rows, columns


def test_random_erasing_is_the_papers():
    """1708.04896: 2% to 33% of the area, aspect ratio 0.3 to 1/0.3, one rectangle."""
    count = 4000
    images = np.full((count, 64, 64, 3), 7, "uint8")
    changed, _ = _batch("random_erasing(0.25)", images)
    mask, rows, columns = _erased(images, changed)
    erased = mask.any(axis=(1, 2))
    assert abs(erased.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / count)
    np.testing.assert_array_equal(mask.sum(axis=(1, 2)), rows * columns)
    assert (changed[mask] == MEAN_COLOUR).all()


def test_erased_areas_and_aspect_ratios():
    # One size is enough of a grid to make the areas all but continuous.
    count, size = 1500, 160
    images = np.full((count, size, size, 3), 7, "uint8")
    mask, rows, columns = _erased(images, _batch("random_erasing(1)", images)[0])
    areas = rows * columns / size**2
    assert 0.019 < areas.min() < 0.022
    assert 0.32 < areas.max() < 0.335
    # Whatever its aspect ratio, a rectangle of less than 0.3 of a square fits in it.
    areas, ratios = areas[areas < 0.29], np.log(rows / columns)[areas < 0.29]
    assert stats.kstest(areas, "uniform", (0.02, 0.27)).pvalue > SIGNIFICANCE
    limit = math.log(1 / 0.3)
    assert stats.kstest(ratios, "uniform", (-limit, 2 * limit)).pvalue > SIGNIFICANCE
    tops = mask.any(axis=2).argmax(axis=1) / (size - rows)
    lefts = mask.any(axis=1).argmax(axis=1) / (size - columns)
    for places in (tops, lefts):
        assert stats.kstest(places[rows * columns > 0], "uniform").pvalue > SIGNIFICANCE


@pytest.mark.parametrize("text", ["mixup(0.2)", "cutmix(1)", "mixup_or_cutmix(0.2,1)"])
def test_label_weights_sum_to_one(text):
    _, labels = _batch(text, _noise(500, 8))
    assert labels.dtype == np.float32
    assert labels.shape == (500, 10)
    assert labels.min() >= 0
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=2e-7)
    assert ((labels > 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize("text", ["mixup(1)", "cutmix(1)", "mixup_or_cutmix(1,1)"])
def test_images_of_one_class_keep_their_label(text):
    _, labels = _batch(text, _noise(50, 8), labels=np.full(50, 3))
    np.testing.assert_allclose(labels, np.eye(10)[[3] * 50], atol=1e-7)


def test_mixup_averages_images_as_it_averages_labels():
    images = _noise(200, 8)
    mixed, labels = _batch("mixup(1)", images)
    share = labels[np.arange(200), np.arange(200) % 10][:, None, None, None]
    expected = share * images + (1 - share) * np.roll(images, 1, axis=0)
    assert np.abs(mixed - expected).max() <= 0.51


@pytest.mark.parametrize("repeats", [1, 3, 4])
@pytest.mark.parametrize("text", ["mixup(1)", "cutmix(1)", "mixup_or_cutmix(1,1)"])
def test_repeated_views_are_mixed_with_other_images(text, repeats):
    """Also where a batch begins and ends amid an image's views."""
    count, first = 50, 2
    numbers = (np.arange(count) + first) // repeats
    _, labels = _batch(
        f"{text}|repeat({repeats})", _noise(count, 16), count, labels=numbers
    )
    for number, row in zip(numbers, labels, strict=True):
        others = set(np.flatnonzero(row)) - {number}
        assert len(others) <= 1
    # A share of exactly 1 is rare: where its rectangle has no pixels.
    assert (labels.max(axis=1) < 1).mean() > 0.8


def test_mixups_shares_are_betas():
    _, labels = _batch("mixup(0.5)", _noise(8000, 1))
    shares = labels[np.arange(8000), np.arange(8000) % 10]
    half = stats.beta(0.5, 0.5).cdf
    small = shares[shares < 0.5].astype(float)
    assert stats.kstest(small, lambda x: 2 * half(x)).pvalue > SIGNIFICANCE


def test_cutmixs_weight_is_the_pasted_area_exactly():
    count = 300
    images = np.zeros((count, 20, 20, 3), "uint8")
    images[:] = (1 + np.arange(count) % 200)[:, None, None, None]
    mixed, labels = _batch("cutmix(1)", images)
    before = np.roll(images, 1, axis=0)
    own = (mixed == images).all(axis=-1)
    pasted = (mixed == before).all(axis=-1)
    assert (own ^ pasted).all()
    weights = labels[np.arange(count), np.arange(count) % 10]
    np.testing.assert_allclose(weights, own.mean(axis=(1, 2)), atol=1e-7)
    rows, columns = pasted.any(axis=2).sum(axis=1), pasted.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(pasted.sum(axis=(1, 2)), rows * columns)


def test_cutmixs_boxes_are_the_papers():
    """1905.04899: as a draw of numpy's from section 3.1 and the authors' code."""
    count, size = 1500, 48
    images = (
        np.arange(count)[:, None, None, None] % 2 * np.ones((size, size, 3), "uint8")
    )
    _, labels = _batch("cutmix(1)", images)
    ours = labels[np.arange(count), np.arange(count) % 10]
    random = np.random.default_rng(0)
    cut = (size * np.sqrt(1 - random.beta(1, 1, count))).astype(int)
    area = np.ones(count)
    for _ in range(2):
        centre = random.integers(0, size, count)
        begin = np.clip(centre - cut // 2, 0, size)
        area *= np.clip(centre - cut // 2 + cut, 0, size) - begin
    assert stats.ks_2samp(ours, 1 - area / size**2).pvalue > SIGNIFICANCE


def test_mixup_or_cutmix_does_each_to_half():
    count = 1000
    images = np.zeros((count, 8, 8, 3), "uint8")
    images[::2] = 200
    mixed, labels = _batch("mixup_or_cutmix(1,1)", images)
    blended = ((mixed > 0) & (mixed < 200)).any(axis=(1, 2, 3))
    assert abs(blended.mean() - 0.5) < 4 * 0.5 / math.sqrt(count)
    # Pasted or blended, the mean level tells the label's weight.
    weights = labels[np.arange(count), np.arange(count) % 10]
    share = np.where(np.arange(count) % 2, 1 - weights, weights)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)) / 200, share, atol=0.003)
