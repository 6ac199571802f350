"""Inline SVG, drawn with the colours of the page around it."""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import Locator, LogLocator, MaxNLocator

_WIDTH, _HEIGHT, _FLOOR, _TOP = 480, 250, 222, 20
_LEFT, _RIGHT = 56, _WIDTH - 12


class Bucket(NamedTuple):
    """A bar of a histogram.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        share: Of the values that lie in it.
    """

    low: float
    high: float
    share: float


def histogram(label: str, series: Mapping[str, Sequence[Bucket]]) -> str:
    """Draws distributions over one another, as densities.

    Args:
        label: What a screen reader says.
        series: The buckets of each, by the class of its outline in the style sheet.

    Returns:
        An `<svg>` element.

    Example:

    >>> histogram("heights", {"train": [Bucket(1, 2, 0.5), Bucket(2, 3, 0.5)]})
    """
    buckets = [bucket for one in series.values() for bucket in one]
    low = min(bucket.low for bucket in buckets)
    high = max(bucket.high for bucket in buckets)
    # A single value has no width; it is drawn as the middle of the picture.
    width = (high - low) or 1.0
    slim = width / 60
    wide = {
        name: [
            bucket
            if bucket.high - bucket.low > slim
            else Bucket(bucket.low - slim / 2, bucket.low + slim / 2, bucket.share)
            for bucket in one
        ]
        for name, one in series.items()
    }
    densest = max(_density(bucket) for one in wide.values() for bucket in one)
    paths = []
    for name, one in wide.items():
        points = []
        for bucket in one:
            y = _FLOOR - (_FLOOR - _TOP) * _density(bucket) / (densest or 1)
            points += [f"{_x(value, low, high)},{y:.1f}" for value in bucket[:2]]
        first = f"{_x(one[0].low, low, high)},{_FLOOR}"
        last = f"{_x(one[-1].high, low, high)},{_FLOOR}"
        outline = " L".join([first, *points, last])
        paths.append(f'<path class="area {name}" d="M{outline}"/>')
    return _svg(label, [*paths, *_x_ticks(low, high)])


def ranked(label: str, values: Sequence[float], unit: str = "images") -> str:
    """Draws descending values, the first at the left.

    Args:
        label: What a screen reader says.
        values: At least two; the first is positive.
        unit: Stands behind the first.

    Returns:
        An `<svg>` element.
    """
    last = len(values)

    def height(value: float) -> float:
        return _FLOOR - (_FLOOR - _TOP) * value / values[0]

    points = [
        f"{_x(rank, 1, last)},{height(value):.1f}"
        for rank, value in enumerate(values, 1)
    ]
    outline = " L".join([f"{_LEFT},{_FLOOR}", *points, f"{_RIGHT},{_FLOOR}"])
    ticks = MaxNLocator(nbins=5).tick_values(0, values[0])
    return _svg(
        label,
        [
            f'<path class="area ranked" d="M{outline}"/>',
            *_y_ticks((tick, height(tick)) for tick in ticks),
            *_x_ticks(1, last),
            _scale_name(f"{unit}, linear scale"),
        ],
    )


Points = Sequence[tuple[float, float]]

_MANY_POINTS = 60
_WIDE_RANGE = 30


def lines(label: str, series: Mapping[str, Points]) -> str:
    """Draws values over one another, left to right.

    The scale is logarithmic where positive values reach over more than a factor of 30;
    which it is stands at its top. A line has a gap where a value is not a number.

    Args:
        label: What a screen reader says.
        series: Points `(x, y)` of each, x rising, by the class of its line in the style
            sheet; at least one y is finite.

    Returns:
        An `<svg>` element.

    Example:

    >>> lines("loss", {"train": [(1, 2.3), (2, 1.1)], "validation": [(2, 1.4)]})
    """
    finite = [y for points in series.values() for _, y in points if math.isfinite(y)]
    xs = [x for points in series.values() for x, _ in points]
    is_log = min(finite) > 0 and max(finite) > _WIDE_RANGE * min(finite)
    locator: Locator = MaxNLocator(nbins=6)
    if is_log:
        is_wide = max(finite) > _WIDE_RANGE**2 * min(finite)
        locator = LogLocator(subs=(1,) if is_wide else (1, 2, 5), numticks=6)
    ticks = [finite[0]]
    if min(finite) < max(finite):
        ticks = list(locator.tick_values(min(finite), max(finite)))
    scale = math.log10 if is_log else float
    low, high = (scale(limit(finite)) for limit in (min, max))
    if not is_log:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    bottom, top = low - (high == low), high + (high == low)

    def place(x: float, y: float) -> tuple[str, float]:
        up = (scale(y) - bottom) / (top - bottom)
        return _x(x, min(xs), max(xs)), _FLOOR - (_FLOOR - _TOP) * up

    parts = [
        _scale_name("logarithmic scale" if is_log else "linear scale"),
        *_y_ticks((tick, place(xs[0], tick)[1]) for tick in ticks),
        *_x_ticks(min(xs), max(xs)),
    ]
    for name, points in series.items():
        for run in _finite_runs(points):
            places = [place(*point) for point in run]
            if len(run) > 1:
                outline = " L".join(f"{x},{y:.1f}" for x, y in places)
                parts.append(f'<path class="curve {name}" d="M{outline}"/>')
            if len(run) == 1 or len(points) <= _MANY_POINTS:
                parts += [
                    f'<circle class="dot {name}" cx="{x}" cy="{y:.1f}" r="2.5">'
                    f"<title>{short(point[0])}: {point[1]:.4g}</title></circle>"
                    for point, (x, y) in zip(run, places, strict=True)
                ]
    return _svg(label, parts)


def _finite_runs(points: Points) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def short(value: float) -> str:
    """Returns a number as people read it, such as `"1,234"` or `"0.75"`."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _x(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5 + (value - low)
    return f"{_LEFT + (_RIGHT - _LEFT) * min(max(share, 0.0), 1.0):.1f}"


def _density(bucket: Bucket) -> float:
    return bucket.share / (bucket.high - bucket.low)


def _x_ticks(low: float, high: float) -> Iterator[str]:
    ticks: Iterable[float] = [low]
    if low < high:
        whole = high - low > 1 and all(float(x).is_integer() for x in (low, high))
        locator = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=whole)
        ticks = (t for t in locator.tick_values(low, high) if low <= t <= high)
    for tick in ticks:
        x = _x(tick, low, high)
        yield (
            f'<line class="axis" x1="{x}" x2="{x}" y1="{_FLOOR}" y2="{_FLOOR + 5}"/>'
            f'<text x="{x}" y="{_FLOOR + 19}" text-anchor="middle">{short(tick)}</text>'
        )


def _y_ticks(ticks: Iterable[tuple[float, float]]) -> Iterator[str]:
    """Yields lines across the chart, given as values and their heights."""
    for tick, y in ticks:
        if _TOP - 1 <= y <= _FLOOR + 1:
            yield (
                f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" '
                f'text-anchor="end">{tick:.4g}</text>'
            )


def _scale_name(name: str) -> str:
    return f'<text x="{_LEFT}" y="{_TOP - 8}">{html.escape(name)}</text>'


def _svg(label: str, parts: Iterable[str]) -> str:
    floor = (
        f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{_FLOOR}" y2="{_FLOOR}"/>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}{floor}</svg>'
    )
