"""Inline SVG, drawn with the colours of the page around it."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import LogLocator, MaxNLocator

_WIDTH, _HEIGHT, _FLOOR, _TOP = 320, 130, 108, 6


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
            points += [f"{_x(value, low, high):.1f},{y:.1f}" for value in bucket[:2]]
        first = f"{_x(one[0].low, low, high):.1f},{_FLOOR}"
        last = f"{_x(one[-1].high, low, high):.1f},{_FLOOR}"
        outline = " L".join([first, *points, last])
        paths.append(f'<path class="area {name}" d="M{outline}"/>')
    ends = [(8, low, "start"), (_WIDTH - 8, high, "end")]
    if low == high:
        ends = [(_WIDTH // 2, low, "middle")]
    return _svg(label, [*paths, *(_tick(*end) for end in ends)])


def ranked(label: str, values: Sequence[float], unit: str = "images") -> str:
    """Draws descending values, the first at the left.

    Args:
        label: What a screen reader says.
        values: At least two; the first is positive.
        unit: Stands behind the first.

    Returns:
        An `<svg>` element.
    """
    step = (_WIDTH - 16) / (len(values) - 1)
    points = [
        f"{8 + index * step:.1f},{_FLOOR - (_FLOOR - _TOP) * value / values[0]:.1f}"
        for index, value in enumerate(values)
    ]
    outline = " L".join([f"8,{_FLOOR}", *points, f"{_WIDTH - 8},{_FLOOR}"])
    return _svg(
        label,
        [
            f'<path class="area ranked" d="M{outline}"/>',
            f'<text x="12" y="{_TOP + 10}">{short(values[0])} {unit}</text>',
            _tick(_WIDTH - 8, values[-1], "end"),
        ],
    )


Points = Sequence[tuple[float, float]]

_LEFT = 46
_MANY_POINTS = 60
_WIDE_RANGE = 30


def lines(label: str, series: Mapping[str, Points]) -> str:
    """Draws values over one another, left to right.

    The scale is logarithmic where positive values reach over more than a factor of 30.
    A line has a gap where a value is not a number.

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
    locator = LogLocator(numticks=4) if is_log else MaxNLocator(nbins=4)
    ticks = [finite[0]]
    if min(finite) < max(finite):
        ticks = list(locator.tick_values(min(finite), max(finite)))
    scale = math.log10 if is_log else float
    low, high = (scale(limit(finite)) for limit in (min, max))
    if not is_log:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    bottom, top = low - (high == low), high + (high == low)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - min(xs)) / (max(xs) - min(xs)) if len(set(xs)) > 1 else 0.5
        up = (scale(y) - bottom) / (top - bottom)
        return (
            _LEFT + (_WIDTH - 8 - _LEFT) * across,
            _FLOOR - (_FLOOR - _TOP) * up,
        )

    parts = []
    for tick in ticks:
        y = place(xs[0], tick)[1]
        if _TOP - 1 <= y <= _FLOOR + 1:
            parts.append(
                f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" '
                f'text-anchor="end">{tick:.4g}</text>'
            )
    for name, points in series.items():
        for run in _finite_runs(points):
            places = [place(*point) for point in run]
            if len(run) > 1:
                outline = " L".join(f"{x:.1f},{y:.1f}" for x, y in places)
                parts.append(f'<path class="curve {name}" d="M{outline}"/>')
            if len(run) == 1 or len(points) <= _MANY_POINTS:
                parts += [
                    f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">'
                    f"<title>{short(point[0])}: {point[1]:.4g}</title></circle>"
                    for point, (x, y) in zip(run, places, strict=True)
                ]
    ends = [(_LEFT, min(xs), "start"), (_WIDTH - 8, max(xs), "end")]
    if len(set(xs)) == 1:
        ends = [((_LEFT + _WIDTH - 8) // 2, xs[0], "middle")]
    return _svg(label, [*parts, *(_tick(*end) for end in ends)], _LEFT)


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


def _x(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5 + (value - low)
    return 8 + (_WIDTH - 16) * min(max(share, 0.0), 1.0)


def _density(bucket: Bucket) -> float:
    return bucket.share / (bucket.high - bucket.low)


def _tick(x: int, value: float, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{_FLOOR + 16}" text-anchor="{anchor}">{short(value)}</text>'
    )


def _svg(label: str, parts: Sequence[str], left: int = 8) -> str:
    floor = (
        f'<line class="axis" x1="{left}" x2="{_WIDTH - 8}" y1="{_FLOOR}" '
        f'y2="{_FLOOR}"/>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}{floor}</svg>'
    )
