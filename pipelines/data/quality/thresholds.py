"""From where on a difference is told, and from where on it stops the pipeline."""

import dataclasses
import math
from typing import NamedTuple


class Limit(NamedTuple):
    """A value above `warning` is told; one above `error` stops the pipeline.

    Attributes:
        warning: Greatest value that is not told.
        error: Greatest value that does not stop the pipeline; infinity for none.
    """

    warning: float
    error: float = math.inf


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The limits of what may differ.

    The warnings of the first three are what a new schema is inferred with; an existing
    schema's own values go before them.

    Args:
        class_skew: Between the classes' shares of training and of validation images,
            the greatest difference (L-infinity distance).
        class_drift: Likewise, between the previous and these training images.
        size_drift: Between heights, widths, aspect ratios or file sizes of the previous
            and of these training images: the Jensen-Shannon divergence, from 0 to 1.
        channel_drift: Between the mean of red, green or blue of the previous and of
            these training images: the difference in standard deviations.
        overlap: Share of the validation images that are training images, too.
        near_duplicates: Share of the validation images looked at that look like a
            training image.
        conflicts: Share of all images that are in more than one class, each counted
            once.
        duplicates: Share of a split's images that equal another one of it.
        missing_classes: Share of the schema's classes without a training image.
        undecodable: Share of the images looked at that cannot be decoded.

    Example:

    >>> Thresholds(overlap=Limit(0, 0.05))
    """

    class_skew: Limit = Limit(0.1, 0.5)
    class_drift: Limit = Limit(0.1, 0.5)
    size_drift: Limit = Limit(0.1, 0.7)
    channel_drift: Limit = Limit(0.25, 1.0)
    overlap: Limit = Limit(0.0, 0.01)
    near_duplicates: Limit = Limit(0.0)
    conflicts: Limit = Limit(0.0, 0.01)
    duplicates: Limit = Limit(0.01)
    missing_classes: Limit = Limit(0.0, 0.05)
    undecodable: Limit = Limit(0.0, 0.01)


DEFAULT_THRESHOLDS = Thresholds()
