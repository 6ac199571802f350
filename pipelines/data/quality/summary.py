"""What a set of records holds, feature by feature; summaries can be merged."""

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.data.quality.accumulators import Numbers, Pixels, Strings
from pipelines.data.quality.pixels import pixel_sums
from pipelines.data.records import FRAME_BYTES, read
from pipelines.errors import UserError

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

    def add(self, kind: str, values: Sequence[Any], make: type[Any]) -> None:
        """Takes the values of one more record in."""
        self.present += 1
        self.lengths.add(len(values))
        accumulator = self.kinds.setdefault(kind, make())
        for value in values:
            accumulator.add(value)

    def merge(self, other: "Feature") -> None:
        """Takes all records of `other` in."""
        self.present += other.present
        self.lengths.merge(other.lengths)
        for kind, values in other.kinds.items():
            self.kinds.setdefault(kind, type(values)()).merge(values)  # type: ignore[arg-type]


class Summary:
    """What is known of a set of records.

    Memory does not grow with their number but with the number of classes alone.

    Attributes:
        records: Number of records.
        features: By name, those of the records and `DERIVED` ones.
        pixels: Sums over the pixels of the images that were decoded.
        samples: For each class, where its first records lie.

    Example:

    >>> summary = Summary.of(records)
    >>> summary.features["image/height"].kinds["int64_list"].maximum
    512
    """

    def __init__(self) -> None:
        self.records = 0
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
        images = []
        for record in records:
            summary.records += 1
            features = tf.train.Example.FromString(record.serialized).features.feature
            for name, feature in features.items():
                if kind := feature.WhichOneof("kind"):
                    summary._add(name, kind, getattr(feature, kind).value)
            summary._derive(features)
            encoded = features[IMAGE].bytes_list.value
            if record.is_decoded and encoded:
                images.append(encoded[0])
            for name in features[CLASS].bytes_list.value[:1]:
                text = name.decode("utf-8", "backslashreplace")
                summary._keep(text, [record.where])
        for sums in pixel_sums(images):
            summary._add_pixels(*sums)
        return summary

    def merge(self, other: "Summary") -> None:
        """Takes all records of `other` in."""
        self.records += other.records
        self.pixels.merge(other.pixels)
        for name, feature in other.features.items():
            self.features[name].merge(feature)
        for name, places in other.samples.items():
            self._keep(name, places)

    def _add(self, name: str, kind: str, values: Sequence[Any]) -> None:
        if name == IMAGE and kind == "bytes_list":
            self.features[name].add(kind, [len(value) for value in values], Numbers)
        else:
            make = Strings if kind == "bytes_list" else Numbers
            self.features[name].add(kind, values, make)

    def _derive(self, features: Any) -> None:
        if encoded := features[IMAGE].bytes_list.value:
            self._add(BYTES, "int64_list", [len(encoded[0])])
        height = features[HEIGHT].int64_list.value
        width = features[WIDTH].int64_list.value
        if height and width and height[0] > 0:
            self._add(ASPECT_RATIO, "float_list", [width[0] / height[0]])

    def _add_pixels(self, count: int, *sums: int) -> None:
        if not count:
            self.pixels.undecodable += 1
            return
        self.pixels.add(count, sums[:3], sums[3:])
        for name, channel in zip(CHANNEL_MEANS, sums[:3], strict=True):
            self._add(name, "float_list", [channel / count])

    def _keep(self, class_name: str, places: Sequence[Sample]) -> None:
        kept = self.samples[class_name]
        for place in places:
            bisect.insort(kept, place)
        del kept[SAMPLES_PER_CLASS:]


def read_records(
    files: Sequence[str], is_decoded: Callable[[int], bool]
) -> Iterator[Record]:
    """Gives the records of a split in order.

    Args:
        files: The shards.
        is_decoded: Tells from a record's index in the split whether its image is to be
            decoded.

    Raises:
        UserError: If a shard is damaged.
    """
    index = 0
    for shard, path in enumerate(files):
        offset = 12  # Behind the length of the record and its checksum.
        try:
            for serialized in read(path):
                where = Sample(shard, offset, len(serialized))
                yield Record(where, serialized, is_decoded(index))
                offset += len(serialized) + FRAME_BYTES
                index += 1
        except tf.errors.DataLossError as error:
            raise UserError(
                f"{path} is damaged behind byte {offset - 12}; remove the examples' "
                "folder and run again"
            ) from error
