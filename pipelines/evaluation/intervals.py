"""How far what was measured may be from the truth."""

import math
import statistics
from collections.abc import Callable, Mapping

import numpy as np

CONFIDENCE = 0.95
"""Of intervals, where nothing else is said."""

Interval = tuple[float, float]


def wilson(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Returns the score interval of a share (Wilson, JASA 22, 1927).

    Unlike the share and its standard error it is right for small counts too: none of
    five may still be four of ten.

    Args:
        count: How many of them.
        total: How many there are; of none nothing is known.
        confidence: How often such an interval holds the true share.

    Returns:
        The lowest and the highest share that the counts are likely under.

    Example:

    >>> wilson(0, 5)
    (0.0, 0.4344...)
    """
    if not total:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = count / total, z**2 / total
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / total + (spread / total) / 4)
    low, high = ((middle + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def bootstrap(
    statistic: Callable[[np.ndarray], Mapping[str, float]],
    images: int,
    *,
    samples: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """Returns percentile intervals of statistics (Efron, Annals of Statistics 7, 1979).

    Args:
        statistic: Gives numbers by name, of images that count as often as it is told:
            int64 `(images,)`.
        images: How many images there are.
        samples: How often as many images are drawn from them.
        seed: Decides what is drawn: two classifiers with one seed are drawn the same
            images, so that the interval of their difference is a paired one.
        confidence: Share of the samples within the interval.

    Returns:
        The lowest and the highest value by name.

    Example:

    >>> wrong = np.array([0, 1, 0, 0])
    >>> bootstrap(lambda times: {"error": float(times @ wrong / 4)}, 4)["error"]
    (0.0, 0.75)
    """
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(
            np.bincount(generator.integers(images, size=images), minlength=images)
        )
        for _ in range(samples)
    ]
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    return {
        name: tuple(np.quantile([one[name] for one in drawn], tails).tolist())
        for name in drawn[0]
    }
