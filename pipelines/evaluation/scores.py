"""What every score of a classifier follows from, image by image, and the scores."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from keras_resnet.analysis import mistakes


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """How a classifier did on each image; each field is `(images,)`.

    Args:
        labels: The classes, int64.
        predictions: What the images are taken for, int64; another class in a tie.
        ranks: How many other classes are as probable as the own or more, int64.
        losses: Cross-entropies in nats, float64.
        confidences: Probabilities of the predictions, float64.
    """

    labels: np.ndarray
    predictions: np.ndarray
    ranks: np.ndarray
    losses: np.ndarray
    confidences: np.ndarray

    @classmethod
    def of(cls, chunks: Iterable[tuple[np.ndarray, np.ndarray]]) -> "Outcomes":
        """Returns the outcomes of logarithms and labels, see `Predictions.chunks`."""
        columns = []
        for logarithms, labels in chunks:
            predictions = mistakes.taken_for(logarithms, labels)
            rows = np.arange(len(labels))
            columns.append(
                (
                    labels,
                    predictions,
                    mistakes.ranks(logarithms, labels),
                    -logarithms[rows, labels],
                    np.exp(logarithms[rows, predictions]),
                )
            )
        return cls(*map(np.concatenate, zip(*columns, strict=True)))

    @property
    def right(self) -> np.ndarray:
        """Whether each image is recognised, bool `(images,)`."""
        return self.ranks == 0

    def of_rows(self, rows: np.ndarray) -> "Outcomes":
        """Returns the outcomes of some images: indices, or bool `(images,)`."""
        return Outcomes(*(values[rows] for values in vars(self).values()))


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """How a classifier did on each class; each field is `(classes,)`.

    Args:
        images: Number of images of the class.
        predicted: Number of images that were taken for it.
        precision: Share of the latter that are of the class; 0 where there are none.
        recall: Share of the former that were recognised; 0 where there are none.
        f1: Their harmonic mean; 0 where both are.
    """

    images: np.ndarray
    predicted: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def macro(self) -> dict[str, float]:
        """Returns the means over the classes that have images or were predicted.

        These are scikit-learn's, `average="macro"` and `zero_division=0`.
        """
        counted = self.images + self.predicted > 0
        return {
            f"macro_{name}": float(getattr(self, name)[counted].mean())
            for name in ("precision", "recall", "f1")
        }


def class_scores(
    outcomes: Outcomes, classes: int, times: np.ndarray | None = None
) -> ClassScores:
    """Counts class by class.

    Args:
        outcomes: How a classifier did.
        classes: Number of classes.
        times: How often each image counts, `(images,)`. Defaults to once.
    """
    times = np.ones(len(outcomes.labels)) if times is None else times
    right = outcomes.right

    def count(labels: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.bincount(labels, times, minlength=classes)

    images = count(outcomes.labels, times)
    predicted = count(outcomes.predictions, times)
    recognised = count(outcomes.labels[right], times[right])
    return ClassScores(
        images=images.astype(np.int64),
        predicted=predicted.astype(np.int64),
        precision=recognised / np.maximum(predicted, 1),
        recall=recognised / np.maximum(images, 1),
        f1=2 * recognised / np.maximum(images + predicted, 1),
    )


def scores(
    outcomes: Outcomes, classes: int, times: np.ndarray | None = None
) -> dict[str, float]:
    """Returns the scores of a classifier by name.

    Args:
        outcomes: How it did.
        classes: Number of classes.
        times: How often each image counts, `(images,)`. Defaults to once.

    Returns:
        `"top1_error"`, `"top5_error"`, `"loss"`, and `ClassScores.macro`.

    Example:

    >>> scores(outcomes, 10)["top1_error"]
    0.0871
    """
    times = np.ones(len(outcomes.labels)) if times is None else times
    total = times.sum()
    return {
        "top1_error": float(times @ (outcomes.ranks > 0) / total),
        "top5_error": float(times @ (outcomes.ranks > 4) / total),
        "loss": float(times @ outcomes.losses / total),
        **class_scores(outcomes, classes, times).macro(),
    }
