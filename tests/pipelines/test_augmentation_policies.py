"""The policies' operations beside Pillow's, and their tables beside torchvision's."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training.augmentation import (
    IMAGENET_POLICY,
    INCREASING_STRENGTHS,
    STRENGTHS,
    WIDE_STRENGTHS,
)
from pipelines.data.augmentation import KERNELS, Augmentation
from pipelines.data.augmentation.pixel_operations import PIXEL_OPERATIONS, Canvas
from pipelines.data.augmentation.policies import _arguments

NAMES = list(PIXEL_OPERATIONS)
BLANK = (124, 116, 104)


@pytest.fixture(scope="module")
def transforms(torchvision):
    return torchvision.transforms


def _seeds(count):
    indices = np.arange(count, dtype="int64")
    return tf.constant(np.stack([np.full_like(indices, 3), indices], axis=1))


def _images():
    """Soft shapes with noise: not square, dark, flat, and of one colour."""
    random = np.random.default_rng(0)
    for height, width, low, high in (
        (47, 61, 0, 256),
        (64, 40, 30, 120),
        (33, 33, 9, 10),
    ):
        coarse = random.integers(low, high, (5, 6, 3), "uint8")
        soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = random.integers(-6, 7, (height, width, 3)) * (high - low > 1)
        yield np.clip(np.asarray(soft, int) + noise, 0, 255).astype("uint8")


def _affine(picture, matrix, filter):
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, filter, fillcolor=BLANK
    )


PILLOWS = {
    "identity": lambda picture, x: picture,
    "shear_x": lambda picture, x, by: _affine(picture, (1, x, 0, 0, 1, 0), by),
    "shear_y": lambda picture, x, by: _affine(picture, (1, 0, 0, x, 1, 0), by),
    "translate_x": lambda picture, x, by: _affine(picture, (1, 0, -x, 0, 1, 0), by),
    "translate_y": lambda picture, x, by: _affine(picture, (1, 0, 0, 0, 1, -x), by),
    "rotate": lambda picture, x, by: picture.rotate(x, by, fillcolor=BLANK),
    "brightness": lambda picture, x: ImageEnhance.Brightness(picture).enhance(1 + x),
    "color": lambda picture, x: ImageEnhance.Color(picture).enhance(1 + x),
    "contrast": lambda picture, x: ImageEnhance.Contrast(picture).enhance(1 + x),
    "sharpness": lambda picture, x: ImageEnhance.Sharpness(picture).enhance(1 + x),
    "posterize": lambda picture, x: ImageOps.posterize(picture, int(x)),
    "solarize": ImageOps.solarize,
    "auto_contrast": lambda picture, x: ImageOps.autocontrast(picture),
    "equalize": lambda picture, x: ImageOps.equalize(picture),
    "invert": lambda picture, x: ImageOps.invert(picture),
    "solarize_add": lambda picture, x: picture.point(
        [min(255, n + int(x)) if n < 128 else n for n in range(256)] * 3
    ),
}
ENHANCING = ("brightness", "color", "contrast", "sharpness")
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def _strengths(name):
    tables = (STRENGTHS, WIDE_STRENGTHS, INCREASING_STRENGTHS)
    for row in (table[name] for table in tables if name in table):
        # No round fractions, whose multiples lie in the middle between two pixels.
        values = row.weakest + (row.strongest - row.weakest) * np.array(
            [0, 0.317, 0.971]
        )
        values = np.round(values) if row.rounded else values
        values = values * 40 if row.is_relative else values
        yield from {*values, *-values} if row.is_signed else values


def _pillows(name, picture, strength, interpolation):
    """Returns what Pillow makes of a picture."""
    if name not in GEOMETRIC:
        return PILLOWS[name](picture, strength)
    return PILLOWS[name](picture, strength, Image.Resampling[interpolation.upper()])


@pytest.mark.parametrize(
    ("name", "interpolation"),
    [(name, "bilinear") for name in NAMES] + [(name, "bicubic") for name in GEOMETRIC],
)
def test_operation_is_pillows(name, interpolation):
    canvas = Canvas(BLANK, interpolation)
    operation = tf.function(
        lambda image, strength: PIXEL_OPERATIONS[name](image, strength, canvas),
        reduce_retracing=True,
    )
    for image in _images():
        for strength in set(_strengths(name)):
            ours = operation(tf.constant(image), tf.constant(strength, tf.float32))
            picture = Image.fromarray(image)
            expected = np.asarray(
                _pillows(name, picture, float(strength), interpolation)
            )
            difference = np.abs(ours.numpy().astype(int) - expected).max(axis=-1)
            # Pixels at the edge may lie within or without by rounding.
            allowed = 0.002 if name in GEOMETRIC else 0
            assert (difference > 1).mean() <= allowed, strength


def _chosen(text, count, size=224):
    operation = Augmentation.parse(f"center|{text}").operations[1]
    return KERNELS[type(operation)].draw(operation, _seeds(count), 8, size)


def _torchvision_name(name):
    return "".join(part.capitalize() for part in name.split("_"))


@pytest.mark.parametrize(
    ("strengths", "policy", "bins"),
    [
        (STRENGTHS, "RandAugment", 11),
        (STRENGTHS, "AutoAugment", 10),
        (WIDE_STRENGTHS, "TrivialAugmentWide", 31),
    ],
)
def test_strengths_are_torchvisions(transforms, strengths, policy, bins):
    make = getattr(transforms, policy)()
    size = 224
    space = (
        make._augmentation_space(bins)
        if policy == "TrivialAugmentWide"
        else make._augmentation_space(bins, (size, size))
    )
    for name, (magnitudes, is_signed) in space.items():
        ours = next(
            own for own in NAMES if _torchvision_name(own).lower() == name.lower()
        )
        assert strengths[ours].is_signed == is_signed
        indices = tf.fill([1, bins], NAMES.index(ours))
        share = tf.range(bins, dtype=tf.float32)[None] / (bins - 1)
        values = _arguments(strengths, indices, share, tf.ones([1, bins]), size)
        expected = np.broadcast_to(magnitudes.numpy(), [bins])
        if name.startswith("Translate"):
            # As `_apply_op` does, but for 15.999999.
            expected = np.trunc(expected + 1e-4)
        np.testing.assert_allclose(values[0], expected, rtol=1e-5, atol=1e-4)


def test_imagenet_policy_is_torchvisions(transforms):
    expected = transforms.AutoAugment()._get_policies(
        transforms.AutoAugmentPolicy.IMAGENET
    )
    ours = [
        tuple((_torchvision_name(name).lower(), p, m) for name, p, m in pair)
        for pair in IMAGENET_POLICY
    ]
    assert ours == [
        tuple((name.lower(), p, m or 0) for name, p, m in pair) for pair in expected
    ]


@pytest.mark.parametrize("text", ["randaugment(2,9)", "trivialaugment"])
def test_operations_and_signs_are_equally_likely(text):
    indices, arguments = _chosen(text, 14_000)
    for slot in range(indices.shape[1]):
        counts = np.bincount(indices[:, slot])
        assert len(counts) == 14
        np.testing.assert_allclose(counts, 1000, atol=4 * math.sqrt(1000))
    rotations = arguments.numpy()[indices.numpy() == NAMES.index("rotate")]
    negative = (rotations < 0).sum() / (rotations != 0).sum()
    assert abs(negative - 0.5) < 4 * 0.5 / math.sqrt(len(rotations))


def test_randaugments_magnitude_is_the_papers():
    """On the scale of 0 to 10, where 10 is AutoAugment's strongest."""
    indices, arguments = _chosen("randaugment(1,5)", 500)
    rotations = arguments.numpy()[indices.numpy() == NAMES.index("rotate")]
    assert set(np.abs(rotations)) == {15.0}


@pytest.fixture(scope="module")
def timms(torch_operators):
    """timm's operations of `rand-m7-mstd0.5-inc1` at 224 pixels, by our names."""
    auto_augment = pytest.importorskip("timm.data.auto_augment")
    theirs = auto_augment.rand_augment_transform("rand-m7-mstd0.5-inc1", {})
    return {
        re.sub("(?<=.)([A-Z])", r"_\1", name).lower(): operation
        for operation in theirs.ops
        for name in [re.sub("Increasing|Rel", "", operation.name)]
    }


@pytest.mark.parametrize("magnitude", [0, 0.3, 2.5, 5.9, 7, 7.6, 10])
def test_increasing_strengths_are_timms(timms, magnitude):
    assert set(timms) == set(INCREASING_STRENGTHS)
    for name, operation in timms.items():
        theirs = operation.level_fn(magnitude, {}) if operation.level_fn else (0,)
        expected = abs(theirs[0] - (name in ENHANCING))
        if name.startswith("translate"):
            expected *= 224
        indices = tf.constant([[NAMES.index(name)]])
        share = tf.constant([[magnitude / 10]])
        ours = _arguments(INCREASING_STRENGTHS, indices, share, tf.ones([1, 1]), 224)
        assert float(ours[0, 0]) == pytest.approx(expected, rel=1e-5, abs=1e-6), name


def test_timm_randaugment_draws_as_timm(timms):
    """What is applied how often, and how far it varies, with which signs."""
    count, deviation = 15_000, 0.05 * 30
    indices, arguments = _chosen("timm_randaugment(2,7,0.5)", count)
    shares = np.bincount(indices.numpy().ravel(), minlength=len(NAMES)) / (2 * count)
    expected = [timms[name].prob / len(timms) if name in timms else 0 for name in NAMES]
    expected[NAMES.index("identity")] = 1 - sum(expected)
    np.testing.assert_allclose(shares, expected, atol=5 * math.sqrt(0.25 / 2 / count))
    applied = indices.numpy() != NAMES.index("identity")
    both = applied.all(axis=1).mean()
    assert abs(both - 0.25) < 5 * math.sqrt(0.25 * 0.75 / count)
    turned = arguments.numpy()[indices.numpy() == NAMES.index("rotate")]
    assert abs((turned < 0).mean() - 0.5) < 5 * 0.5 / math.sqrt(len(turned))
    assert stats.kstest(np.abs(turned), "norm", (21, deviation)).pvalue > 1e-3


def test_autoaugment_draws_sub_policies_with_their_probabilities():
    count = 50_000
    indices, _ = _chosen("autoaugment", count)
    for slot in (0, 1):
        expected = np.zeros(len(NAMES))
        for pair in IMAGENET_POLICY:
            name, probability, _ = pair[slot]
            expected[NAMES.index(name)] += probability / len(IMAGENET_POLICY)
            expected[0] += (1 - probability) / len(IMAGENET_POLICY)
        shares = np.bincount(indices[:, slot], minlength=len(NAMES)) / count
        np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / math.sqrt(count))


def test_applies_what_it_chose():
    preprocessing = Preprocessing(crop=33, resize=33)
    images = np.random.default_rng(0).integers(0, 256, (40, 33, 33, 3), "uint8")
    augmentation = Augmentation.parse("center|randaugment(2,9)")
    seeds = _seeds(40)
    ours = augmentation.on_chunk(tf.constant(images), seeds, preprocessing)
    chosen = _chosen("randaugment(2,9)", 40, 33)
    for image, indices, arguments, own in zip(images, *chosen, ours, strict=True):
        picture = Image.fromarray(image)
        for index, argument in zip(indices.numpy(), arguments.numpy(), strict=True):
            picture = _pillows(NAMES[index], picture, float(argument), "bilinear")
        difference = np.abs(own.numpy().astype(int) - np.asarray(picture))
        # Noise is the hardest case: a level more may cross a threshold afterwards.
        assert (difference.max(axis=-1) > 2).mean() < 0.03


def test_color_jitter_is_torchvisions():
    """The factors' range, in each of the six orders equally often."""
    indices, arguments = _chosen("color_jitter(0.4,0.2,0.1)", 6000)
    orders, counts = np.unique(indices.numpy(), axis=0, return_counts=True)
    assert len(orders) == 6
    np.testing.assert_allclose(counts, 1000, atol=4 * math.sqrt(1000))
    for name, limit in (("brightness", 0.4), ("contrast", 0.2), ("color", 0.1)):
        drawn = arguments.numpy()[indices.numpy() == NAMES.index(name)]
        assert -limit <= drawn.min() < -0.99 * limit
        assert 0.99 * limit < drawn.max() <= limit
