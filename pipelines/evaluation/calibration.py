"""Whether probabilities are how often a classifier is right."""

import dataclasses
from typing import NamedTuple

import numpy as np

BINS = 15
"""As in Guo et al. (ICML 2017, 1706.04599)."""

_COLDEST, _HOTTEST = 0.02, 50.0


class Bin(NamedTuple):
    """The images of which a classifier is about as sure.

    Attributes:
        images: How many there are.
        confidence: Mean probability of what it took them for.
        accuracy: Share that it recognised.
    """

    images: int
    confidence: float
    accuracy: float


def reliability(confidences: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Returns the images in `BINS` bins of equal width, those without images left out.

    Args:
        confidences: Probabilities of the predictions, `(images,)`; what is not a number
            is in no bin.
        right: Whether each was right, bool `(images,)`.
    """
    right, confidences = (
        values[np.isfinite(confidences)] for values in (right, confidences)
    )
    numbers = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        Bin(int(own.sum()), float(confidences[own].mean()), float(right[own].mean()))
        for own in (numbers == number for number in range(BINS))
        if own.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Returns the expected calibration error: the mean gap, image by image.

    It is not a number if there are no images.
    """
    images = sum(one.images for one in bins) or float("nan")
    gaps = (one.images * abs(one.confidence - one.accuracy) for one in bins)
    return sum(gaps) / images


def fit_temperature(logarithms: np.ndarray, labels: np.ndarray) -> float:
    """Returns what to divide logits by for the least cross-entropy (1706.04599).

    Args:
        logarithms: Of probabilities, which are logits, `(images, classes)`.
        labels: int64 `(images,)`.

    Returns:
        Between 0.02 and 50; above 1 if the classifier is too sure.
    """
    # The most probable class becomes exp(0), so that not all of a row vanish.
    logarithms = logarithms - logarithms.max(axis=1, keepdims=True)
    own = np.take_along_axis(logarithms, labels[:, None], axis=1).mean()

    def slope(inverse: float) -> float:
        """Returns the derivative of the cross-entropy, which is convex in 1 / T."""
        powers = np.exp(inverse * logarithms)
        means = (powers * np.maximum(logarithms, _LEAST)).sum(1) / powers.sum(1)
        return float(means.mean() - own)

    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


_LEAST = -1e30  # Times a power of 0, the logarithm of 0 is no number.


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How a classifier is calibrated, and could be.

    The temperature is fitted on the images of even records; all else is of the others,
    so that it is not what was fitted on.

    Args:
        temperature: What to divide logits by.
        images: How many images the rest is of.
        before: The bins as it is.
        after: The bins with the temperature.
        loss_before: Mean cross-entropy in nats as it is.
        loss_after: The same with the temperature.
    """

    temperature: float
    images: int
    before: list[Bin]
    after: list[Bin]
    loss_before: float
    loss_after: float

    @classmethod
    def of(
        cls, logarithms: np.ndarray, labels: np.ndarray, records: np.ndarray
    ) -> "Calibration | None":
        """Returns the calibration; None without images on both sides.

        Args:
            logarithms: Of probabilities, `(images, classes)`.
            labels: int64 `(images,)`.
            records: Indices of the images' records, int64 `(images,)`.
        """
        is_shown = records % 2 == 1
        if is_shown.all() or not is_shown.any():
            return None
        temperature = fit_temperature(logarithms[~is_shown], labels[~is_shown])
        shown, own = logarithms[is_shown], labels[is_shown]

        def judged(temperature: float) -> tuple[list[Bin], float]:
            scaled = shown / temperature
            with np.errstate(invalid="ignore"):  # Some networks give no numbers.
                scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
            right = scaled.argmax(axis=1) == own
            bins = reliability(np.exp(scaled.max(axis=1)), right)
            return bins, -float(scaled[np.arange(len(own)), own].mean())

        before, loss_before = judged(1.0)
        after, loss_after = judged(temperature)
        return cls(temperature, len(own), before, after, loss_before, loss_after)

    @property
    def errors(self) -> tuple[float, float]:
        """The expected calibration errors as it is and with the temperature."""
        return calibration_error(self.before), calibration_error(self.after)
