"""Which images a classifier gets wrong, and what it takes them for.

Scores are logits, probabilities or their logarithms, float `(images, classes)`; labels
are integers `(images,)`. A class that another one ties with is not recognised: whoever
gives all classes the same is always wrong, and so is who gives no numbers.
"""

import numpy as np


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how many other classes score as high as an image's own or higher.

    Returns:
        Integers `(images,)`, 0 where the class is recognised.

    Example:

    >>> ranks(np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]), np.array([0, 0]))
    array([0, 1])
    """
    return (~(scores < _own(scores, labels))).sum(axis=1) - 1


def taken_for(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the class that each image is taken for, another one in a tie.

    Returns:
        Integers `(images,)`.

    Example:

    >>> taken_for(np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]), np.array([0, 0]))
    array([0, 1])
    """
    others = np.nan_to_num(scores, nan=np.finfo(scores.dtype).min)
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return np.where(ranks(scores, labels) > 0, others.argmax(axis=1), labels)


def hardest(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the indices of the mistakes, that of the lowest score of its class first.

    Example:

    >>> hardest(np.array([[0.2, 0.8], [0.9, 0.1], [0.1, 0.9]]), np.array([0, 0, 0]))
    array([2, 0])
    """
    wrong = np.flatnonzero(ranks(scores, labels) > 0)
    own = np.nan_to_num(_own(scores, labels)[wrong, 0], nan=-np.inf, neginf=-np.inf)
    return wrong[np.argsort(own, kind="stable")]


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts the images by their class (row) and what they are taken for (column).

    Returns:
        int64 `(classes, classes)`.
    """
    classes = scores.shape[1]
    cells = labels * classes + taken_for(scores, labels)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _own(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, labels[:, None], axis=1)
