"""Inline SVG, drawn with the colours of the page around it."""

import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def points(label: str, series: Mapping[str, Points]) -> str:
    """Draws points, those of the series `"front"` with a line through them.

    Args:
        label: What a screen reader says.
        series: Points `(x, y)` of each, by the class of its dots in the style sheet.

    Returns:
        An `<svg>` element.

    Example:

    >>> points("error", {"trial": [(1, 0.3), (2, 0.2)], "front": [(2, 0.2)]})
    """
    xs, ys = zip(*(point for one in series.values() for point in one), strict=True)
    bottom, top = min(ys), max(ys) + (min(ys) == max(ys))

    def height(y: float) -> float:
        return _FLOOR - (_FLOOR - _TOP) * (y - bottom) / (top - bottom)

    ticks = MaxNLocator(nbins=5).tick_values(bottom, top)
    parts = [
        *_y_ticks((tick, height(tick)) for tick in ticks if bottom <= tick <= top),
        *_x_ticks(min(xs), max(xs)),
    ]
    for name, one in series.items():
        places = [(_x(x, min(xs), max(xs)), f"{height(y):.1f}") for x, y in one]
        if name == "front" and len(places) > 1:
            outline = " L".join(f"{x},{y}" for x, y in places)
            parts.append(f'<path class="curve {name}" d="M{outline}"/>')
        parts += [
            f'<circle class="dot {name}" cx="{x}" cy="{y}" r="3.5">'
            f"<title>{short(point[0])}: {point[1]:.4g}</title></circle>"
            for point, (x, y) in zip(one, places, strict=True)
        ]
    return _svg(label, parts)


class Axis(NamedTuple):
    """One of parallel coordinates.

    Attributes:
        name: Stands below it.
        values: Of each line; numbers, or texts, which get places of their own; None
            where a line has none.
    """

    name: str
    values: Sequence[object]


def parallel(label: str, axes: Sequence[Axis]) -> str:
    """Draws parallel coordinates: a line over all axes for each of their values.

    Args:
        label: What a screen reader says.
        axes: Each with as many values. The last one's are numbers; the less, the more
            of a line is seen.

    Returns:
        An `<svg>` element.

    Example:

    >>> parallel("trials", [Axis("depth", [8, 20]), Axis("error", [0.4, 0.3])])
    """
    width = (_RIGHT - _LEFT) / max(len(axes) - 1, 1)
    lines_of: list[list[str]] = [[] for _ in axes[0].values]
    parts: list[str] = []
    for number, axis in enumerate(axes):
        x = _LEFT + number * width
        is_last = number == len(axes) - 1
        places, ticks = _along(axis.values)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_FLOOR}"/>'
            f'<text x="{x:.1f}" y="{_FLOOR + (14 if number % 2 else 26)}" '
            f'text-anchor="{"end" if is_last else "middle"}">'
            f"{html.escape(axis.name)}</text>"
        )
        parts += [
            f'<text x="{x - 3 if is_last else x + 3:.1f}" y="{y - 2:.1f}" '
            f'text-anchor="{"end" if is_last else "start"}">{html.escape(tick)}</text>'
            for tick, y in ticks.items()
        ]
        for line, y in zip(lines_of, places, strict=True):
            if y is not None:
                line.append(f"{x:.1f},{y:.1f}")
    order = sorted(
        range(len(lines_of)), key=lambda one: float(str(axes[-1].values[one]))
    )
    for rank, one in reversed(list(enumerate(order))):
        opacity = 1 - 0.85 * rank / max(len(order) - 1, 1)
        parts.insert(
            0,
            f'<path class="curve {"front" if rank == 0 else "trial"}" '
            f'style="opacity:{opacity:.2f}" d="M{" L".join(lines_of[one])}"/>',
        )
    return _svg(label, parts)


def _along(values: Sequence[object]) -> tuple[list[float | None], dict[str, float]]:
    """Returns heights on an axis, and the texts beside it with theirs."""
    there = [value for value in values if value is not None]
    numbers = [float(value) for value in there if isinstance(value, (int, float))]
    if len(numbers) == len(there):
        low, high = min(numbers), max(numbers)
        is_log = low > 0 and high > _WIDE_RANGE * low
        scale: Callable[[float], float] = math.log10 if is_log else float
        span = (scale(high) - scale(low)) or 1.0

        def share(value: object) -> float:
            return (scale(float(str(value))) - scale(low)) / span

        texts: dict[str, object] = {short(low): low, short(high): high}
    else:
        names = list(dict.fromkeys(map(str, there)))

        def share(value: object) -> float:
            return names.index(str(value)) / max(len(names) - 1, 1)

        texts = {name: name for name in names}

    def height(value: object) -> float:
        return _FLOOR - (_FLOOR - _TOP) * share(value)

    places = [None if value is None else height(value) for value in values]
    return places, {told: height(value) for told, value in texts.items()}


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
