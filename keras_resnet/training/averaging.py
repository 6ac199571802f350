"""The moving average of weights over the steps of a run."""

from typing import Any

from keras import ops


def new_share(decay: float, number: Any) -> Any:
    """Returns how much of the average each of its updates replaces.

    The first ones replace more, as in TensorFlow's `ExponentialMovingAverage` with
    `num_updates`: the average keeps `min(decay, (1 + number) / (10 + number))`. So that
    of a run too short for `decay` is not one of untrained weights.

    Args:
        decay: Share of the average that is kept later on.
        number: Number of the update, an integer tensor, from 1.

    Returns:
        A scalar, float32.

    Example:

    >>> float(new_share(0.999, 8))
    0.5
    """
    return ops.maximum(1 - decay, 9 / (10 + ops.cast(number, "float32")))


def moved(average: Any, weight: Any, share: Any) -> Any:
    """Returns an average of which a weight replaces a share.

    In this form a weight that stands still keeps its value.

    Example:

    >>> moved(1.0, 2.0, 0.25)
    1.25
    """
    return average - (average - weight) * share
