"""How well a classifier's probabilities rank the images of a class above the others."""

import dataclasses
from collections.abc import Sequence

import numpy as np

GRID = np.linspace(0, 1, 101)
"""Where curves are kept: false positive rates, and recalls."""


@dataclasses.dataclass(frozen=True)
class Curves:
    """One class against the others, by its probability.

    A class of which there are no images, or no others, has no curves and is not a
    number.

    Args:
        auroc: Area under the receiver operating characteristic, `(classes,)`.
        average_precision: Mean of the precision over the recall, `(classes,)`.
        roc: True positive rates at the false positive rates of `GRID`, `(classes,
            101)`.
        precision: Precisions at the recalls of `GRID`, `(classes, 101)`.
    """

    auroc: np.ndarray
    average_precision: np.ndarray
    roc: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, logarithms: np.ndarray, labels: np.ndarray) -> "Curves":
        """Returns the curves of every class.

        Args:
            logarithms: Of probabilities, or what else ranks, `(images, classes)`.
            labels: int64 `(images,)`.
        """
        nothing = np.full(len(GRID), np.nan)
        rows = [
            _of_class(logarithms[:, label], labels == label)
            or (np.nan, np.nan, nothing, nothing)
            for label in range(logarithms.shape[1])
        ]
        return cls(*map(np.array, zip(*rows, strict=True)))

    def macro(self) -> dict[str, float]:
        """Returns the means over the classes that have curves, as scikit-learn's."""
        return {
            f"macro_{name}": float(mean_of(values))
            for name, values in (
                ("auroc", self.auroc),
                ("average_precision", self.average_precision),
            )
        }


def mean_of(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes that have curves; not a number of none."""
    known = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return values[known].mean(axis=0) if known.any() else values[0] * np.nan


def _of_class(
    scores: np.ndarray, is_own: np.ndarray
) -> tuple[float, float, Sequence[float], Sequence[float]] | None:
    if is_own.all() or not is_own.any():
        return None
    order = np.argsort(-scores, kind="stable")
    # Images that are equally probable come together.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    found = np.cumsum(is_own[order])[ends]
    taken = ends + 1
    recall, precision = found / is_own.sum(), found / taken
    false = np.append(0, (taken - found) / (~is_own).sum())
    true = np.append(0, recall)
    return (
        float(np.trapezoid(true, false)),
        float(np.diff(recall, prepend=0) @ precision),
        np.interp(GRID, false, true),
        precision[np.searchsorted(recall, GRID)],
    )
