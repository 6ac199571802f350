"""Whether one classifier is better than another on the same images."""

import dataclasses
import math

import numpy as np

from pipelines.evaluation.intervals import CONFIDENCE, Interval, bootstrap
from pipelines.evaluation.scores import Outcomes, scores


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images.

    Args:
        only_first: How many images only the first recognises.
        only_second: How many only the second.
        p_value: Of McNemar's exact test that both are as often right.
        differences: The first's scores less the second's, by name.
        intervals: Their 95% intervals, of the paired bootstrap.
    """

    only_first: int
    only_second: int
    p_value: float
    differences: dict[str, float]
    intervals: dict[str, Interval]


def compare(
    first: Outcomes,
    second: Outcomes,
    classes: int,
    *,
    samples: int = 1000,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compares two classifiers.

    Args:
        first: How one did.
        second: How the other did, image by image the same images.
        classes: Number of classes.
        samples: See `bootstrap`.
        confidence: See `bootstrap`.
    """

    def differences(times: np.ndarray | None = None) -> dict[str, float]:
        theirs = scores(second, classes, times)
        ours = scores(first, classes, times)
        return {name: value - theirs[name] for name, value in ours.items()}

    only_first = int((first.right & ~second.right).sum())
    only_second = int((second.right & ~first.right).sum())
    return Comparison(
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        differences=differences(),
        intervals=bootstrap(
            differences, len(first.labels), samples=samples, confidence=confidence
        ),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the p-value of McNemar's test (Psychometrika 12, 1947), exact.

    Args:
        only_first: How many images only one classifier recognises.
        only_second: How many only the other.

    Returns:
        How likely counts as unequal as these, or more so, are of a fair coin.

    Example:

    >>> mcnemar(1, 7)
    0.0703125
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = math.fsum(
        math.exp(
            math.lgamma(total + 1)
            - math.lgamma(count + 1)
            - math.lgamma(total - count + 1)
            - total * math.log(2)
        )
        for count in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
