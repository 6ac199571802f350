"""Losses and accuracies per image, from logits, and logits of mirror images."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

PRESENT = 0.2
"""Smoothed share of an image above which `"sigmoid"` takes a class as present (timm's
`--bce-target-thresh` in runs by 2110.00476)."""


def softmax(shares: Any, logits: Any, smoothing: float) -> Any:
    """Cross-entropy; `smoothing` of the label goes to all classes equally (1512.00567).

    Args:
        shares: float32 `(batch, classes)`, which sum to 1.
        logits: float32 `(batch, classes)`.
        smoothing: Share of the label that is spread.

    Returns:
        float32 `(batch,)`.
    """
    return keras.losses.categorical_crossentropy(
        shares, logits, from_logits=True, label_smoothing=smoothing
    )


def sigmoid(shares: Any, logits: Any, smoothing: float) -> Any:
    """Binary cross-entropy, mean over the classes (2110.00476, section 3).

    A class whose share, smoothed, exceeds `PRESENT` has the target 1, any other 0, so
    that an image mixed of two has two labels. All that smoothing does, as in timm, is
    to ask for a larger share.

    Args:
        shares: float32 `(batch, classes)`.
        logits: float32 `(batch, classes)`.
        smoothing: Share of a label that is spread over all classes.

    Returns:
        float32 `(batch,)`.
    """
    smoothed = shares * (1 - smoothing) + smoothing / shares.shape[-1]
    targets = ops.cast(smoothed > PRESENT, "float32")
    return keras.losses.binary_crossentropy(targets, logits, from_logits=True)


LOSSES: dict[str, Callable[[Any, Any, float], Any]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
}
"""The losses by name."""


def top_k(labels: Any, logits: Any, k: int) -> Any:
    """Tells of each image whether its class is among the `k` with the highest logits.

    Ties count as wrong, so that a network that gives all classes the same logit has no
    accuracy; so does an image with a logit that is not a number.

    Args:
        labels: Class indices, integer `(batch,)`, or shares, float `(batch, classes)`,
            of which the greatest counts.
        logits: float `(batch, classes)`.
        k: Number of guesses.

    Returns:
        float32 `(batch,)`, 1.0 where it is and 0.0 where not.

    Example:

    >>> top_k(np.array([0, 1]), np.array([[0.5, 0.1], [0.5, 0.5]]), k=1)
    [1.0, 0.0]
    """
    if len(labels.shape) == 2:
        labels = ops.argmax(labels, axis=-1)
    indices = ops.expand_dims(ops.cast(labels, "int32"), -1)
    own = ops.take_along_axis(logits, indices, axis=-1)
    rank = ops.sum(ops.cast(ops.greater_equal(logits, own), "int32"), axis=-1)
    is_number = ops.logical_not(ops.any(ops.isnan(logits), axis=-1))
    return ops.cast(ops.logical_and(rank <= k, is_number), "float32")


def mirrored(logits: Callable[[Any], Any], images: Any) -> Any:
    """Averages a classifier's logits over each image and its mirror image.

    Args:
        logits: Gives the logits of images, float `(batch, classes)`.
        images: `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, classes)`.

    Example:

    >>> ops.softmax(mirrored(network, images))
    """
    views = (images, ops.flip(images, axis=2))
    own, mirror = (ops.cast(logits(x), "float32") for x in views)
    return (own + mirror) / 2
