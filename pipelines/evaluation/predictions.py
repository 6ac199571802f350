"""What classifiers make of images, one after the other or together."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.evaluation.views import Views

_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier, or an ensemble, makes of images.

    Args:
        records: Index of each image's record in the split, int64 `(images,)`, rising.
        labels: Its class, int64 `(images,)`.
        logarithms: Of the classes' probabilities, float32 `(images, classes)`; the
            array may lie on the disk.
        brightness: Mean level of what was looked at, float64 `(images,)`, 0..255.
    """

    records: np.ndarray
    labels: np.ndarray
    logarithms: np.ndarray
    brightness: np.ndarray

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields some images' logarithms, float64, and labels at a time."""
        for start in range(0, len(self.labels), _CHUNK):
            rows = slice(start, start + _CHUNK)
            yield self.logarithms[rows].astype(np.float64), self.labels[rows]


def predict(
    network: keras.Model,
    batches: tf.data.Dataset,
    views: Views,
    preprocessing: Preprocessing,
    images: int,
    path: Path,
) -> Predictions:
    """Asks a classifier about every image of `batches` once.

    Args:
        network: Gives logits `(batch, classes)` for uint8 images of any size.
        batches: Gives what `views.prepare` made of images, and labels.
        views: How to look at an image.
        preprocessing: The sizes.
        images: How many there are at most.
        path: Gets the logarithms, an `.npy` of as many rows as `images`.

    Returns:
        The predictions, their records counted from 0. Memory holds one batch of them.
    """
    logits = functools.partial(network, training=False)

    # Whole images differ in shape, and each shape would be traced anew.
    @tf.function(input_signature=[batches.element_spec[0]])
    def look(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        levels = tf.cast(images, tf.float32)
        brightness = tf.reduce_mean(levels, range(1, len(images.shape)))
        return views.logarithms(logits, images, preprocessing), brightness

    logarithms = np.lib.format.open_memmap(
        path, "w+", np.float32, (images, network.output_shape[-1])
    )
    labels, brightness, done = [], [], 0
    for batch, batch_labels in batches:
        if not len(batch_labels):  # All of them are damaged.
            continue
        values, levels = look(batch)
        logarithms[done : done + len(values)] = values.numpy()
        labels.append(batch_labels.numpy())
        brightness.append(levels.numpy())
        done += len(values)
    if not done:
        raise ValueError("there are no images to evaluate on")
    return Predictions(
        np.arange(done),
        np.concatenate(labels),
        logarithms[:done],
        np.concatenate(brightness).astype(np.float64),
    )


def ensemble(members: Sequence[Predictions], path: Path) -> Predictions:
    """Averages the probabilities of several classifiers, as the paper's Table 5 does.

    Args:
        members: Their predictions of the same images, in one order of classes.
        path: Gets the logarithms, an `.npy`.

    Returns:
        The predictions of all together.

    Raises:
        ValueError: If they are of other images.
    """
    first, *others = members
    if not others:
        return first
    if any(not np.array_equal(first.records, one.records) for one in others):
        raise ValueError("the members of an ensemble must see the same images")
    logarithms = np.lib.format.open_memmap(
        path, "w+", np.float32, first.logarithms.shape
    )
    done = 0
    for chunks in zip(*(one.chunks() for one in members), strict=True):
        mean = np.logaddexp.reduce([chunk for chunk, _ in chunks]) - math.log(
            len(members)
        )
        logarithms[done : done + len(mean)] = mean
        done += len(mean)
    return dataclasses.replace(first, logarithms=logarithms)
