"""The two kernels of each operation, on the same draws."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnet.arrays import views
from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import augmentation as values
from pipelines.data import augmentation as pipelines
from pipelines.data.augmentation.views import decode_window
from pipelines.data.preprocessing import prepare

SIZE = 24
COUNT = 32

# A new operation goes into one of these, or has two kernels that are compared below.
ONLY_IN_PIPELINES = {
    values.ColorJitter,
    values.RandAugment,
    values.TimmRandAugment,
    values.TrivialAugment,
    values.AutoAugment,
}
WITHOUT_KERNELS = {values.Repeat}


def pictures(count, height, width):
    """Soft shapes with noise, as photographs have it."""
    random = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), "uint8"))
        soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
        noise = random.integers(-20, 21, soft.shape)
        yield np.clip(soft + noise, 0, 255).astype("uint8")


def images(count=COUNT, height=SIZE, width=SIZE):
    return np.stack(list(pictures(count, height, width)))


def drawn(operation, shape, frame):
    draw = views.KERNELS[type(operation)].draw
    return draw(operation, np.random.default_rng(3), shape, frame)


def tensors(draws):
    return tf.nest.map_structure(
        lambda array: tf.constant(
            array, tf.float32 if array.dtype.kind == "f" else tf.int32
        ),
        draws,
    )


def test_every_operation_has_the_kernels_that_it_should():
    kinds = set(values.OPERATIONS.values())
    assert set(views.KERNELS) == kinds - ONLY_IN_PIPELINES - WITHOUT_KERNELS
    assert set(pipelines.KERNELS) == kinds
    assert pipelines.KERNELS[values.Repeat] == pipelines.KERNELS[values.Center]


@pytest.mark.parametrize(
    "operation",
    [
        values.PadCrop(5),
        values.Flip(),
        values.PcaColour(0.5),
        values.RandomErasing(0.8),
    ],
)
def test_images_are_changed_alike(operation):
    frame = views.Frame(SIZE, SIZE)
    preprocessing = Preprocessing(crop=SIZE, resize=SIZE)
    before = images()
    draws = drawn(operation, before.shape, frame)
    ours = views.KERNELS[type(operation)].apply(before, draws, frame)
    theirs = pipelines.KERNELS[type(operation)].apply(
        tf.constant(before), tensors(draws), preprocessing
    )
    assert (ours != before).any(axis=(1, 2, 3)).mean() > 0.3
    difference = np.abs(ours.astype(int) - theirs.numpy())
    # One rounds float64, one float32: a level in the middle between two may part.
    assert difference.max() <= (1 if isinstance(operation, values.PcaColour) else 0)
    assert difference.mean() < 1e-4


@pytest.mark.parametrize(
    "operation", [values.Mixup(1), values.Cutmix(1), values.MixupOrCutmix(1, 1)]
)
def test_images_and_labels_are_mixed_alike(operation):
    before = images()
    others = np.roll(before, 5, axis=0)
    draws = drawn(operation, before.shape, views.Frame(SIZE, SIZE))
    ours, kept = views.KERNELS[type(operation)].apply(before, others, draws)
    theirs, their_kept = pipelines.KERNELS[type(operation)].apply(
        tf.constant(before), tf.constant(others), tensors(draws)
    )
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(kept, their_kept, atol=1e-7)
    assert kept.dtype == their_kept.numpy().dtype == np.float32
    assert (ours != before).any(axis=(1, 2, 3)).mean() > 0.8


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return tf.constant(buffer.getvalue())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "operation", [values.Center(), values.ScaleJitterCrop(), values.InceptionCrop()]
)
def test_views_show_the_same(operation, interpolation):
    preprocessing = Preprocessing(crop=SIZE, resize=30, interpolation=interpolation)
    frame = views.Frame(SIZE, 30, interpolation)
    photographs = images(6, 75, 90)
    draws = drawn(operation, photographs.shape, frame)
    if isinstance(operation, values.Center):
        theirs = [prepare(encoded(image), preprocessing) for image in photographs]
    else:
        if isinstance(operation, values.ScaleJitterCrop):
            # The pipelines draw whole pixels of the photograph.
            draws = np.round(draws)
            windows = draws[:, [1, 0, 3, 2]].astype(int)
            windows[:, 2:] -= windows[:, :2]
        else:
            windows = draws
        theirs = [
            decode_window(
                encoded(image),
                lambda shape, window=window: tf.constant(window, tf.int32),
                preprocessing,
            )
            for image, window in zip(photographs, windows, strict=True)
        ]
    ours = views.KERNELS[type(operation)].apply(photographs, draws, frame)
    difference = np.abs(ours.astype(int) - np.stack(theirs))
    # Pillow rounds and clips between its two passes. A box, other than a window, shows
    # at its edges a little of the pixels around it.
    inner = (
        slice(2, -2) if isinstance(operation, values.ScaleJitterCrop) else slice(None)
    )
    assert difference[:, inner, inner].max() <= 3
    assert difference[:, inner, inner].mean() < 0.3
