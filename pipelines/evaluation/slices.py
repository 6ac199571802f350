"""Images that have something in common, and how a classifier does on them."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines.data.examples import Examples
from pipelines.data.reading import Blocks, read_in_order
from pipelines.errors import unknown

MOST_VALUES = 12
"""How many values of a feature are told apart; the rarer ones are taken together."""

_PARTS = 4
FILENAME = "image/filename"
"""The feature with the name of the file."""

_Example = Mapping[str, str | float]


def _sides(example: _Example) -> tuple[float, float]:
    return float(example["image/height"]), float(example["image/width"])


def _aspect_ratio(example: _Example) -> float:
    height, width = _sides(example)
    return round(width / height, 2)


_MADE: dict[str, Callable[[_Example], str | float]] = {
    "size": lambda example: min(_sides(example)),
    "aspect_ratio": _aspect_ratio,
    "folder": lambda example: os.path.dirname(str(example[FILENAME])) or ".",
}
BRIGHTNESS = "brightness"
DEFAULTS = ("size", "aspect_ratio", BRIGHTNESS)
"""What images are told apart by when nothing else is asked for."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Images with a value of a feature.

    Args:
        feature: What it is called, such as `"size"`.
        value: The value, or the range, as text.
        rows: Which images have it, bool `(images,)`.
    """

    feature: str
    value: str
    rows: np.ndarray


def read_columns(
    examples: Examples, split: str, features: Sequence[str]
) -> dict[str, list[str | float]]:
    """Reads features of every record of a split.

    Args:
        examples: The records.
        split: `"train"` or `"validation"`.
        features: What to read: `"size"`, the shorter side in pixels; `"aspect_ratio"`,
            width by height; `"folder"`, where the file was; or a feature in the records
            by its name, such as `"image/format"`.

    Returns:
        A value for each record by the feature's name, and the files' names as
        `"image/filename"`. What a record lacks, or a damaged one has, is an empty text.

    Raises:
        UserError: If no record has the feature.
    """
    columns: dict[str, list[str | float]] = {name: [] for name in (*features, FILENAME)}
    known = set(_MADE)
    for _, serialized in read_in_order(Blocks.of(examples, split)):
        for record in serialized:
            example = _parsed(record)
            known |= example.keys()
            for name, values in columns.items():
                make = _MADE.get(name)
                values.append(
                    make(example) if make and example else example.get(name, "")
                )
    for name in features:
        if name not in known:
            raise unknown("feature of the records", name, sorted({*known, BRIGHTNESS}))
    return columns


def slices(feature: str, values: Sequence[str | float]) -> Iterable[Slice]:
    """Yields the images by a feature: a quarter at a time where there are many numbers.

    Args:
        feature: What it is called.
        values: Of each image.

    Example:

    >>> [one.value for one in slices("size", [32, 32, 64])]
    ['32', '64']
    """
    distinct = set(values)
    if len(distinct) > MOST_VALUES and not any(isinstance(v, str) for v in distinct):
        yield from _quarters(feature, np.array(values, np.float64))
        return
    numbers = {value: number for number, value in enumerate(sorted(distinct, key=str))}
    codes = np.array([numbers[value] for value in values])
    counts = np.bincount(codes)
    names = [f"{v:g}" if not isinstance(v, str) else v or "none" for v in numbers]
    shown = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
    for code in shown:
        yield Slice(feature, names[code], codes == code)
    others = ~np.isin(codes, shown)
    if others.any():
        yield Slice(feature, "others", others)


def _quarters(feature: str, values: np.ndarray) -> Iterable[Slice]:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _PARTS + 1)))
    parts = np.searchsorted(edges[1:-1], values, side="right")
    for part in range(len(edges) - 1):
        rows = parts == part
        if rows.any():
            low, high = values[rows].min(), values[rows].max()
            yield Slice(feature, f"{low:.4g} to {high:.4g}", rows)


def _parsed(record: bytes) -> dict[str, str | float]:
    """Returns the features of a record that have one value."""
    found: dict[str, str | float] = {}
    for name, feature in tf.train.Example.FromString(record).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else []
        if len(values) == 1 and name != "image/encoded":
            value = values[0]
            is_text = isinstance(value, bytes)
            found[name] = (
                value.decode("utf-8", "backslashreplace") if is_text else value
            )
    return found
