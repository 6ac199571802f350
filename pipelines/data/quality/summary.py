"""What a set of records holds, feature by feature; summaries can be merged."""

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from pipelines.data.quality.accumulators import Numbers, Pixels, Strings
from pipelines.data.quality.pixels import GRID, measure
from pipelines.data.records import FRAME_BYTES

IMAGE = "image/encoded"
CLASS = "image/class/text"
LABEL = "image/class/label"
FORMAT = "image/format"
SHA256 = "image/sha256"
HEIGHT = "image/height"
WIDTH = "image/width"
BYTES = "image/bytes"
ASPECT_RATIO = "image/aspect_ratio"
CHANNEL_MEANS = ("image/mean/red", "image/mean/green", "image/mean/blue")
DERIVED = (BYTES, ASPECT_RATIO, *CHANNEL_MEANS)
"""Features that records do not have, computed from those that they have."""

SAMPLES_PER_CLASS = 8

_STANDARD = {
    IMAGE: tf.string,
    FORMAT: tf.string,
    "image/filename": tf.string,
    CLASS: tf.string,
    SHA256: tf.string,
    HEIGHT: tf.int64,
    WIDTH: tf.int64,
    LABEL: tf.int64,
}
_DIGEST_DIGITS = 16


class Sample(NamedTuple):
    """Where a record lies.

    Attributes:
        shard: Index of its file in the split.
        offset: Of the record itself in the file, in bytes.
        size: Of the record, in bytes.
    """

    shard: int
    offset: int
    size: int


class Record(NamedTuple):
    """A record and where it lies."""

    where: Sample
    serialized: bytes
    is_decoded: bool


class Looks(NamedTuple):
    """What tells decoded images that look alike.

    Attributes:
        places: Where they lie, as `Sample` has it, int64 `(images, 3)`.
        digests: First 16 hexadecimal digits of their SHA-256, bytes `(images,)`.
        greys: See `pipelines.data.quality.pixels.measure`.
    """

    places: np.ndarray
    digests: np.ndarray
    greys: np.ndarray

    @classmethod
    def of(cls, parts: Iterable["Looks"]) -> "Looks":
        """Returns those of all parts, one after the other."""
        none = cls(
            np.zeros((0, 3), np.int64),
            np.zeros(0, f"S{_DIGEST_DIGITS}"),
            np.zeros((0, *GRID), np.uint8),
        )
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))


class Feature:
    """What is known of one feature of the records.

    Attributes:
        present: Number of records that have it.
        lengths: How many values it has in these.
        kinds: The values, by the kind of list they are in: `"int64_list"`,
            `"float_list"` or `"bytes_list"`. Of an image the values are its sizes.
    """

    def __init__(self) -> None:
        self.present = 0
        self.lengths = Numbers()
        self.kinds: dict[str, Numbers | Strings] = {}

    def add(
        self,
        kind: str,
        values: Iterable[Any],
        lengths: Sequence[int],
        make: Callable[[], Any],
    ) -> None:
        """Takes the values of more records in, and how many each of them has."""
        self.present += len(lengths)
        self.lengths.add(lengths)
        accumulator = self.kinds.get(kind) or self.kinds.setdefault(kind, make())
        accumulator.add(values)

    def merge(self, other: "Feature") -> None:
        """Takes all records of `other` in, which is used up."""
        self.present += other.present
        self.lengths.merge(other.lengths)
        for kind, values in other.kinds.items():
            if kind in self.kinds:
                self.kinds[kind].merge(values)  # type: ignore[arg-type]
            else:
                self.kinds[kind] = values


class Summary:
    """What is known of a set of records.

    Memory does not grow with their number but with the number of classes, and with
    that of decoded images by 112 bytes for each.

    Attributes:
        records: Number of records.
        features: By name, those of the records and `DERIVED` ones.
        unreadable: Number of records that are missing here because they cannot be read.
        pixels: Sums over the pixels of the images that were decoded.
        samples: For each class, where its first records lie.
        looked_at: Parts of what tells whether decoded images look alike.

    Example:

    >>> summary = Summary.of(records)
    >>> summary.features["image/height"].kinds["int64_list"].maximum
    512
    """

    def __init__(self) -> None:
        self.records = 0
        self.unreadable = 0
        self.features: defaultdict[str, Feature] = defaultdict(Feature)
        self.pixels = Pixels()
        self.samples: defaultdict[str, list[Sample]] = defaultdict(list)
        self.looked_at: list[Looks] = []

    @property
    def looks(self) -> Looks:
        """What tells whether decoded images look alike."""
        return Looks.of(self.looked_at)

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Summary":
        """Summarizes records, decoding those that say so.

        Raises:
            google.protobuf.message.DecodeError: If one is no `tf.train.Example`.
        """
        summary = cls()
        summary.records = len(records)
        if not records:
            return summary
        columns, images = _standard_columns(records) or _any_columns(records)
        for (name, kind), column in columns.items():
            summary._add(name, kind, column)
        sizes = _firsts(columns, IMAGE)
        summary._add_derived(BYTES, "int64_list", list(sizes.values()))
        heights, widths = _firsts(columns, HEIGHT), _firsts(columns, WIDTH)
        ratios = [
            widths[row] / height
            for row, height in heights.items()
            if row in widths and height > 0
        ]
        summary._add_derived(ASPECT_RATIO, "float_list", ratios)
        for row, name in _firsts(columns, CLASS).items():
            text = name.decode("utf-8", "backslashreplace")
            if len(summary.samples[text]) < SAMPLES_PER_CLASS:
                summary._keep(text, [records[row].where])
        chosen = [row for row in sizes if records[row].is_decoded]
        if chosen:
            digests = _firsts(columns, SHA256)
            summary._look_at(
                np.array([records[row].where for row in chosen]),
                np.array([digests.get(row, b"")[:_DIGEST_DIGITS] for row in chosen]),
                tf.gather(images, chosen),
            )
        return summary

    def merge(self, other: "Summary") -> None:
        """Takes all records of `other` in."""
        self.records += other.records
        self.unreadable += other.unreadable
        self.pixels.merge(other.pixels)
        self.looked_at += other.looked_at
        for name, feature in other.features.items():
            self.features[name].merge(feature)
        for name, places in other.samples.items():
            self._keep(name, places)

    def _add(self, name: str, kind: str, column: "_Column") -> None:
        make: Callable[[], Any] = Numbers
        if kind == "bytes_list" and name != IMAGE:
            # Each class matters, however many there are.
            make = partial(Strings, math.inf) if name == CLASS else Strings
        self.features[name].add(kind, column.values, column.lengths, make)

    def _add_derived(self, name: str, kind: str, values: list[Any]) -> None:
        if values:
            self._add(name, kind, _Column(values, [1] * len(values), []))

    def _look_at(
        self, places: np.ndarray, digests: np.ndarray, images: tf.Tensor
    ) -> None:
        sums, greys = measure(images)
        is_decoded = sums[:, 0] > 0
        self.pixels.undecodable += int((~is_decoded).sum())
        sums = sums[is_decoded]
        self.pixels.add(sums)
        means = sums[:, 1:4] / sums[:, :1]
        for name, values in zip(CHANNEL_MEANS, means.T.tolist(), strict=True):
            self._add_derived(name, "float_list", values)
        self.looked_at.append(
            Looks(*(one[is_decoded] for one in (places, digests, greys)))
        )

    def _keep(self, class_name: str, places: Sequence[Sample]) -> None:
        kept = self.samples[class_name]
        for place in places:
            bisect.insort(kept, place)
        del kept[SAMPLES_PER_CLASS:]


class _Column(NamedTuple):
    """The values of a feature, of images their sizes.

    Attributes:
        values: Of all records that have the feature, one after the other.
        lengths: How many are of each of these records.
        rows: Which records these are.
    """

    values: list[Any]
    lengths: list[int]
    rows: list[int]


_Columns: TypeAlias = dict[tuple[str, str], _Column]


def _firsts(columns: _Columns, name: str) -> dict[int, Any]:
    """Returns the first value of a feature in each record that has one."""
    kind = "int64_list" if name in (HEIGHT, WIDTH) else "bytes_list"
    column = columns.get((name, kind), _Column([], [], []))
    starts = itertools.accumulate(column.lengths, initial=0)
    return {
        row: column.values[start]
        for row, start, length in zip(column.rows, starts, column.lengths, strict=False)
        if length
    }


def _any_columns(records: Sequence[Record]) -> tuple[_Columns, list[bytes]]:
    """Returns the features that records have, and the first image of each."""
    columns: _Columns = {}
    images = [b""] * len(records)
    for row, record in enumerate(records):
        features = tf.train.Example.FromString(record.serialized).features.feature
        for name, feature in features.items():
            if kind := feature.WhichOneof("kind"):
                values = getattr(feature, kind).value
                if (name, kind) == (IMAGE, "bytes_list"):
                    images[row] = b"".join(values[:1])
                    values = [len(value) for value in values]
                column = columns.setdefault((name, kind), _Column([], [], []))
                column.values.extend(values)
                column.lengths.append(len(values))
                column.rows.append(row)
    return columns, images


def _standard_columns(
    records: Sequence[Record],
) -> tuple[_Columns, tf.Tensor] | None:
    """Does what `_any_columns` does, many times faster, for what `to_example` makes.

    Returns:
        None if a record has other features than those, or not one value of each.
    """
    serialized = [record.serialized for record in records]
    try:
        parsed = _parse(tf.constant(serialized, tf.string))
    except tf.errors.InvalidArgumentError:
        return None
    images = parsed[IMAGE]
    parsed[IMAGE] = tf.strings.length(images)
    columns: _Columns = {}
    size = np.zeros(len(records), np.int64)
    rows = list(range(len(records)))
    for name, tensor in parsed.items():
        values = tensor.numpy().tolist()
        is_text = _STANDARD[name] == tf.string
        if name == IMAGE:
            sizes = np.array(values, np.int64)
        elif is_text:
            sizes = np.array([len(value) for value in values], np.int64)
        else:
            sizes = _varint_bytes(tensor.numpy())
        # A map's entry with the name and, in a feature, a list of the one value.
        value = _field_bytes(_field_bytes(_field_bytes(sizes)))
        size += _field_bytes(_field_bytes(np.array(len(name))) + value)
        kind = "bytes_list" if is_text else "int64_list"
        columns[name, kind] = _Column(values, [1] * len(values), rows)
    # A record has no other features if its size is that of these.
    if (_field_bytes(size) != [len(record) for record in serialized]).any():
        return None
    return columns, images


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    features = {
        name: tf.io.FixedLenFeature([], kind) for name, kind in _STANDARD.items()
    }
    return tf.io.parse_example(serialized, features)


def _field_bytes(size: np.ndarray) -> np.ndarray:
    """Returns the size of a protocol buffer's field: tag, length, content."""
    return 1 + _varint_bytes(size) + size


def _varint_bytes(numbers: np.ndarray) -> np.ndarray:
    """Returns how many bytes, of seven bits each, a protocol buffer's numbers take."""
    bits = np.where(numbers < 0, 64, np.maximum(np.frexp(numbers)[1], 1))
    return -(-bits // 7)


def records_of(
    row: np.ndarray, serialized: np.ndarray, is_decoded: Callable[[int], bool]
) -> list[Record]:
    """Returns the records of a block that can be read.

    Args:
        row: See `Blocks.table`.
        serialized: The block's records, bytes `(records,)`, empty where one cannot be
            read.
        is_decoded: Tells from a record's index in the split whether its image is to be
            decoded.
    """
    shard, offset, _, first = map(int, row)
    offset += 12  # Behind the length of the record and its checksum.
    records = []
    for index, record in enumerate(serialized, start=first):
        if record:
            where = Sample(shard, offset, len(record))
            records.append(Record(where, record, is_decoded(index)))
        offset += len(record) + FRAME_BYTES
    return records
