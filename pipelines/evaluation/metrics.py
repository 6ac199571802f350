"""Errors of a classifier, and which mistakes it makes."""

import dataclasses
import functools
import heapq
import math
import time
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.analysis import mistakes
from keras_resnet.training.losses import mirrored

MOST_CONFUSABLE = 1000
"""Greatest number of classes for which a confusion matrix is made: 8 MB."""

HARDEST = 32
"""How many mistakes are kept."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image that was taken for another class.

    Args:
        index: Number of the image among those that were evaluated, from 0.
        label: Its class.
        prediction: The class that was ranked highest, or as high as its own.
        label_probability: What the network gave its class.
        prediction_probability: What it gave the other.
    """

    index: int
    label: int
    prediction: int
    label_probability: float
    prediction_probability: float


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What an evaluation found.

    Args:
        images: Number of images.
        top1_error: Share of images whose highest-ranked class is wrong.
        top5_error: Share of images whose class is not among the highest five.
        loss: Mean cross-entropy in nats.
        class_errors: Top-1 error of each class; None for classes without images.
        class_images: Number of images of each class.
        images_per_second: Rate, reading and decoding included.
        hardest: The mistakes of greatest loss, the greatest first, at most `HARDEST`.
        confusion: Number of images by their class and the predicted one, int64
            `(classes, classes)`; None for more than `MOST_CONFUSABLE` classes.
    """

    images: int
    top1_error: float
    top5_error: float
    loss: float
    class_errors: tuple[float | None, ...]
    class_images: tuple[int, ...]
    images_per_second: float
    hardest: tuple[Mistake, ...] = ()
    confusion: np.ndarray | None = dataclasses.field(default=None, compare=False)


def evaluate(
    model: keras.Model, batches: tf.data.Dataset, *, test_flip: bool = False
) -> Metrics:
    """Evaluates a classifier on every image of `batches` once.

    A class that another one ties with is not recognised: a network that gives all
    classes the same is always wrong, and so is one that gives no numbers.

    Args:
        model: Gives logits `(batch, classes)` for the images of `batches`.
        batches: Gives `(images, labels)`, images `(batch, height, width, channels)`,
            labels int64 `(batch,)`.
        test_flip: Whether the logits of each image are averaged with those of its
            mirror image, left to right.

    Returns:
        The metrics. Memory does not grow with the number of images.

    Raises:
        ValueError: If there are no images.

    Example:

    >>> evaluate(model, batches.dataset, test_flip=True).top1_error
    0.0871
    """
    network = functools.partial(model, training=False)

    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> tf.Tensor:
        logits = mirrored(network, images) if test_flip else network(images)
        return tf.nn.log_softmax(tf.cast(logits, tf.float64))

    return tallied(
        ((predict(images).numpy(), labels.numpy()) for images, labels in batches),
        model.output_shape[-1],
    )


def tallied(
    predictions: Iterable[tuple[np.ndarray, np.ndarray]], classes: int
) -> Metrics:
    """Counts what was predicted.

    Args:
        predictions: Logarithms of probabilities, float64 `(batch, classes)`, and
            labels, int64 `(batch,)`, batch by batch.
        classes: Number of classes.

    Returns:
        The metrics; their rate is that at which predictions came.

    Raises:
        ValueError: If there are no images.
    """
    tally = _Tally(classes)
    begin = time.perf_counter()
    for logarithms, labels in predictions:
        tally.add(logarithms, labels)
    return tally.metrics(time.perf_counter() - begin)


class _Tally:
    """Counts that all metrics follow from."""

    def __init__(self, classes: int) -> None:
        self.images = self.top5_wrong = 0
        self.loss = 0.0
        self.class_images = np.zeros(classes, np.int64)
        self.class_wrong = np.zeros(classes, np.int64)
        self.hardest: list[Mistake] = []
        self.confusion = None
        if classes <= MOST_CONFUSABLE:
            self.confusion = np.zeros((classes, classes), np.int64)

    def add(self, logarithms: np.ndarray, labels: np.ndarray) -> None:
        """Takes a batch in."""
        ranks = mistakes.ranks(logarithms, labels)
        predictions = mistakes.taken_for(logarithms, labels)
        wrong = ranks > 0
        self.class_images += np.bincount(labels, minlength=len(self.class_images))
        self.class_wrong += np.bincount(labels[wrong], minlength=len(self.class_images))
        self.top5_wrong += int((ranks > 4).sum())
        self.loss -= float(logarithms[np.arange(len(labels)), labels].sum())
        if self.confusion is not None:
            np.add.at(self.confusion, (labels, predictions), 1)
        new = [
            Mistake(
                index=self.images + int(image),
                label=int(labels[image]),
                prediction=int(predictions[image]),
                label_probability=math.exp(logarithms[image, labels[image]]),
                prediction_probability=math.exp(logarithms[image, predictions[image]]),
            )
            for image in mistakes.hardest(logarithms, labels)[:HARDEST]
        ]
        self.hardest = heapq.nsmallest(HARDEST, [*self.hardest, *new], key=_hardness)
        self.images += len(labels)

    def metrics(self, seconds: float) -> Metrics:
        """Returns what follows from the counts."""
        if not self.images:
            raise ValueError("there are no images to evaluate on")
        return Metrics(
            images=self.images,
            top1_error=float(self.class_wrong.sum() / self.images),
            top5_error=self.top5_wrong / self.images,
            loss=self.loss / self.images,
            class_errors=tuple(
                float(wrong / count) if count else None
                for wrong, count in zip(
                    self.class_wrong, self.class_images, strict=True
                )
            ),
            class_images=tuple(self.class_images.tolist()),
            images_per_second=self.images / seconds,
            hardest=tuple(self.hardest),
            confusion=self.confusion,
        )


def _hardness(mistake: Mistake) -> tuple[float, int]:
    probability = mistake.label_probability
    return (-1.0 if np.isnan(probability) else probability, mistake.index)
