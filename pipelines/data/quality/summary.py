"""What a set of records holds, feature by feature; summaries can be merged."""

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.data.quality.accumulators import Numbers, Pixels, Strings
from pipelines.data.quality.pixels import pixel_sums
from pipelines.data.records import FRAME_BYTES

IMAGE = "image/encoded"
CLASS = "image/class/text"
LABEL = "image/class/label"
FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
BYTES = "image/bytes"
ASPECT_RATIO = "image/aspect_ratio"
CHANNEL_MEANS = ("image/mean/red", "image/mean/green", "image/mean/blue")
DERIVED = (BYTES, ASPECT_RATIO, *CHANNEL_MEANS)
"""Features that records do not have, computed from those that they have."""

SAMPLES_PER_CLASS = 8


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
        self, kind: str, records: Sequence[Sequence[Any]], make: Callable[[], Any]
    ) -> None:
        """Takes the values of more records in."""
        self.present += len(records)
        self.lengths.add(map(len, records))
        accumulator = self.kinds.get(kind) or self.kinds.setdefault(kind, make())
        accumulator.add(itertools.chain.from_iterable(records))

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

    Memory does not grow with their number but with the number of classes alone.

    Attributes:
        records: Number of records.
        features: By name, those of the records and `DERIVED` ones.
        unreadable: Number of records that are missing here because they cannot be read.
        pixels: Sums over the pixels of the images that were decoded.
        samples: For each class, where its first records lie.

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

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Summary":
        """Summarizes records, decoding those that say so.

        Raises:
            google.protobuf.message.DecodeError: If one is no `tf.train.Example`.
        """
        summary = cls()
        summary.records = len(records)
        columns: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        images = []
        for record in records:
            features = tf.train.Example.FromString(record.serialized).features.feature
            for name, feature in features.items():
                if kind := feature.WhichOneof("kind"):
                    columns[name, kind].append(getattr(feature, kind).value)
            encoded = features[IMAGE].bytes_list.value
            if encoded:
                columns[BYTES, "int64_list"].append([len(encoded[0])])
            height = features[HEIGHT].int64_list.value
            width = features[WIDTH].int64_list.value
            if height and width and height[0] > 0:
                columns[ASPECT_RATIO, "float_list"].append([width[0] / height[0]])
            if record.is_decoded and encoded:
                images.append(encoded[0])
            for name in features[CLASS].bytes_list.value[:1]:
                text = name.decode("utf-8", "backslashreplace")
                summary._keep(text, [record.where])
        for (name, kind), values in columns.items():
            summary._add(name, kind, values)
        summary._add_pixels(pixel_sums(images))
        return summary

    def merge(self, other: "Summary") -> None:
        """Takes all records of `other` in."""
        self.records += other.records
        self.unreadable += other.unreadable
        self.pixels.merge(other.pixels)
        for name, feature in other.features.items():
            self.features[name].merge(feature)
        for name, places in other.samples.items():
            self._keep(name, places)

    def _add(self, name: str, kind: str, records: Sequence[Sequence[Any]]) -> None:
        make: Callable[[], Any] = Numbers
        if name == IMAGE and kind == "bytes_list":
            records = [[len(value) for value in values] for values in records]
        elif kind == "bytes_list":
            # Each class matters, however many there are.
            make = partial(Strings, math.inf) if name == CLASS else Strings
        self.features[name].add(kind, records, make)

    def _add_pixels(self, images: Sequence[tuple[int, ...]]) -> None:
        decoded = [sums for sums in images if sums[0]]
        self.pixels.undecodable += len(images) - len(decoded)
        for count, *sums in decoded:
            self.pixels.add(count, tuple(sums[:3]), tuple(sums[3:]))
        for channel, name in enumerate(CHANNEL_MEANS, start=1):
            means = [[sums[channel] / sums[0]] for sums in decoded]
            if means:
                self._add(name, "float_list", means)

    def _keep(self, class_name: str, places: Sequence[Sample]) -> None:
        kept = self.samples[class_name]
        for place in places:
            bisect.insort(kept, place)
        del kept[SAMPLES_PER_CLASS:]


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
