"""Statistics that grow one value at a time and can be merged in any order.

All sums are Python integers and so exact: the same values give the same statistics to
the last bit, whatever the number of threads and the order in which their parts come
together. Nothing cancels, as it does where a float holds a sum of squares.
"""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

EXACT_NUMBERS = 4096
"""With more different numbers than these, the histogram keeps rounded ones."""

EXACT_STRINGS = 100_000
"""With more different strings than these, they are no longer counted one by one."""

_UNIT = 2**32  # A fraction is kept to 32 binary places.
_SIGNIFICANT_BITS = 7


class Numbers:
    """Count, mean, deviation, range and distribution of numbers.

    The distribution is exact up to `EXACT_NUMBERS` different values; then values are
    rounded to seven significant bits, by 0.8% at most, and so memory is bounded.
    Infinite values and those that are no numbers are only counted.

    Attributes:
        count: Number of finite values.
        not_finite: Number of others.
        minimum: The smallest, infinity if there is none.
        maximum: The greatest, minus infinity if there is none.
        counts: How often each value was seen, maybe rounded.

    Example:

    >>> numbers = Numbers()
    >>> numbers.add([224, 256, 224])
    >>> numbers.mean
    234.66666666666666
    """

    def __init__(self) -> None:
        self.count = 0
        self.not_finite = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.counts: Counter[float] = Counter()
        self._rounded = False
        self._sum = 0
        self._squares = 0

    def add(self, values: Iterable[float]) -> None:
        """Takes more values in."""
        for value, count in Counter(values).items():
            if not math.isfinite(value):
                self.not_finite += count
                continue
            units = round(value * _UNIT)
            self.count += count
            self.minimum = min(self.minimum, value)
            self.maximum = max(self.maximum, value)
            self._sum += count * units
            self._squares += count * units * units
            self.counts[_rounded(value) if self._rounded else value] += count
        self._bound()

    def merge(self, other: "Numbers") -> None:
        """Takes all values of `other` in."""
        self.count += other.count
        self.not_finite += other.not_finite
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self._sum += other._sum
        self._squares += other._squares
        if other._rounded and not self._rounded:
            self._round()
        for value, count in other.counts.items():
            self.counts[_rounded(value) if self._rounded else value] += count
        self._bound()

    @property
    def mean(self) -> float:
        """The mean, 0 if there is no value."""
        return self._sum / (self.count * _UNIT) if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation of the values themselves (not an estimate)."""
        if not self.count:
            return 0.0
        numerator = self.count * self._squares - self._sum**2
        return math.sqrt(numerator / (self.count * _UNIT) ** 2)

    def _bound(self) -> None:
        if len(self.counts) > EXACT_NUMBERS and not self._rounded:
            self._round()

    def _round(self) -> None:
        exact, self.counts, self._rounded = self.counts, Counter(), True
        for value, count in exact.items():
            self.counts[_rounded(value)] += count


def _rounded(value: float) -> float:
    mantissa, exponent = math.frexp(value)
    scaled = round(math.ldexp(mantissa, _SIGNIFICANT_BITS))
    return math.ldexp(scaled, exponent - _SIGNIFICANT_BITS)


class Strings:
    """Lengths of strings, and how often each was seen.

    Attributes:
        count: Number of strings.
        total_bytes: Sum of their lengths.
        not_utf8: Number of strings that are not UTF-8.
        counts: How often each string was seen; None if there are more different ones
            than `limit`. What is not UTF-8 is escaped.

    Args:
        limit: How many different strings are counted; `EXACT_STRINGS` if None.

    Example:

    >>> strings = Strings()
    >>> strings.add([b"cat"])
    >>> strings.counts
    Counter({'cat': 1})
    """

    def __init__(self, limit: float | None = None) -> None:
        self._limit = EXACT_STRINGS if limit is None else limit
        self.count = 0
        self.total_bytes = 0
        self.not_utf8 = 0
        self.counts: Counter[str] | None = Counter()

    def add(self, values: Iterable[bytes]) -> None:
        """Takes more strings in."""
        for value, count in Counter(values).items():
            self.count += count
            self.total_bytes += count * len(value)
            try:
                text = value.decode()
            except UnicodeDecodeError:
                self.not_utf8 += count
                text = value.decode("utf-8", "backslashreplace")
            if self.counts is not None:
                self.counts[text] += count
        self._bound()

    def merge(self, other: "Strings") -> None:
        """Takes all strings of `other` in."""
        self.count += other.count
        self.total_bytes += other.total_bytes
        self.not_utf8 += other.not_utf8
        if self.counts is None or other.counts is None:
            self.counts = None
        else:
            self.counts.update(other.counts)
            self._bound()

    def _bound(self) -> None:
        if self.counts is not None and len(self.counts) > self._limit:
            self.counts = None


class Pixels:
    """Sums of the three channels over the pixels of all images.

    Attributes:
        images: Number of images.
        undecodable: Number of images that were to be decoded and could not be.
        pixels: Number of pixels.

    Example:

    >>> pixels = Pixels()
    >>> pixels.add(np.array([[2, 0, 10, 20, 0, 100, 400]]))
    >>> pixels.means
    (0.0, 5.0, 10.0)
    """

    def __init__(self) -> None:
        self.images = 0
        self.undecodable = 0
        self.pixels = 0
        self._sums = [0, 0, 0]
        self._squares = [0, 0, 0]

    def add(self, sums: np.ndarray) -> None:
        """Takes more images in.

        Args:
            sums: Of each image the number of its pixels, the sums of their red, green
                and blue (0 to 255), and those of their squares, int64 `(images, 7)`.
        """
        self.images += len(sums)
        pixels, *total = (sum(column) for column in sums.T.tolist())
        self._add(pixels, total[:3], total[3:])

    def merge(self, other: "Pixels") -> None:
        """Takes all images of `other` in."""
        self.images += other.images
        self.undecodable += other.undecodable
        self._add(other.pixels, other._sums, other._squares)

    @property
    def means(self) -> tuple[float, ...]:
        """Mean of red, green and blue, 0 to 255."""
        return tuple(value / max(self.pixels, 1) for value in self._sums)

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of red, green and blue."""
        return tuple(
            math.sqrt((self.pixels * squares - value**2) / max(self.pixels, 1) ** 2)
            for value, squares in zip(self._sums, self._squares, strict=True)
        )

    def _add(self, pixels: int, sums: list[int], squares: list[int]) -> None:
        self.pixels += pixels
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
        self._squares = [a + b for a, b in zip(self._squares, squares, strict=True)]
