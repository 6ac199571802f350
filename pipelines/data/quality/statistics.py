"""Statistics of records as the standard protocol buffers."""

from collections import Counter

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines.data.ingest.executors import Threads
from pipelines.data.quality import histograms
from pipelines.data.quality.accumulators import EXACT_STRINGS, Numbers, Strings
from pipelines.data.quality.summary import (
    CLASS,
    FORMAT,
    IMAGE,
    Feature,
    Summary,
    records_of,
)
from pipelines.data.reading import Blocks, read_in_order
from pipelines.errors import UserError

CHANNELS = ("red", "green", "blue")

_TOP_VALUES = 10
_TYPES = {
    "int64_list": statistics_pb2.FeatureNameStatistics.INT,
    "float_list": statistics_pb2.FeatureNameStatistics.FLOAT,
    "bytes_list": statistics_pb2.FeatureNameStatistics.STRING,
}


def summarize(blocks: Blocks, max_decoded: int, max_bad_share: float = 0.0) -> Summary:
    """Reads all records of a split once and summarizes them, on all processors.

    Args:
        blocks: All blocks of the split.
        max_decoded: Greatest number of images to decode. If there are more, those that
            are decoded lie evenly between the others.
        max_bad_share: Greatest share of records that may be unreadable; never all.

    Returns:
        The summary, the same whatever the number of processors.

    Raises:
        UserError: If more records cannot be read, or one is something else.
    """
    count = blocks.records

    def is_decoded(index: int) -> bool:
        if count <= max_decoded:
            return True
        return (index + 1) * max_decoded // count > index * max_decoded // count

    def of_block(block: tuple[np.ndarray, np.ndarray]) -> tuple[str, Summary]:
        row, serialized = block
        file = blocks.files[row[0]]
        records = records_of(row, serialized, is_decoded)
        try:
            summary = Summary.of(records)
        except DecodeError as error:
            raise UserError(
                f"{file} has a record that is no tf.train.Example; remove the folder "
                "and run again"
            ) from error
        summary.unreadable = len(serialized) - len(records)
        return file, summary

    total = Summary()
    unreadable: Counter[str] = Counter()
    for file, summary in Threads().map(of_block, read_in_order(blocks)):
        unreadable[file] += summary.unreadable
        total.merge(summary)
    if total.unreadable > max_bad_share * count or not total.records:
        file, worst = unreadable.most_common(1)[0]
        raise UserError(
            f"{total.unreadable} of {count} records cannot be read, {worst} of them in "
            f"{file}; make the examples again, or raise --max_bad_share={max_bad_share}"
        )
    return total


def to_proto(name: str, summary: Summary) -> statistics_pb2.DatasetFeatureStatistics:
    """Returns a split's statistics as TensorFlow Data Validation and Facets read them.

    The feature `image/encoded` has custom statistics of its pixels: `images_decoded`,
    `images_undecodable`, and for each channel such as `channel_mean/red` and
    `channel_deviation/red`, from 0 to 255. A feature that has values of several kinds
    is described by the most frequent, with `values_of_other_type` beside it.
    `records_unreadable` counts records that are in the examples and not here.

    Args:
        name: Name of the split.
        summary: Its records.
    """
    proto = statistics_pb2.DatasetFeatureStatistics(
        name=name, num_examples=summary.records
    )
    for feature_name, feature in sorted(summary.features.items()):
        statistics = proto.features.add()
        statistics.path.step.append(feature_name)
        _fill(statistics, feature_name, feature, summary.records)
        if feature_name == IMAGE:
            pixels = summary.pixels
            _custom(statistics, "images_decoded", pixels.images)
            _custom(statistics, "images_undecodable", pixels.undecodable)
            if summary.unreadable:
                _custom(statistics, "records_unreadable", summary.unreadable)
            for kind, values in (
                ("mean", pixels.means),
                ("deviation", pixels.deviations),
            ):
                for channel, value in zip(CHANNELS, values, strict=True):
                    _custom(statistics, f"channel_{kind}/{channel}", value)
    return proto


def feature_statistics(
    split: statistics_pb2.DatasetFeatureStatistics, name: str
) -> statistics_pb2.FeatureNameStatistics | None:
    """Returns the statistics of a feature, None if no record has it."""
    for feature in split.features:
        if (feature.path.step[0] if feature.path.step else feature.name) == name:
            return feature
    return None


def common_statistics(
    feature: statistics_pb2.FeatureNameStatistics,
) -> statistics_pb2.CommonStatistics:
    """Returns how often a feature is there, whatever its type."""
    common: statistics_pb2.CommonStatistics = getattr(
        feature, feature.WhichOneof("stats")
    ).common_stats
    return common


def value_counts(
    split: statistics_pb2.DatasetFeatureStatistics, name: str
) -> dict[str, int]:
    """Returns how often each value of a string feature was seen."""
    feature = feature_statistics(split, name)
    buckets = feature.string_stats.rank_histogram.buckets if feature else ()
    return {bucket.label: round(bucket.sample_count) for bucket in buckets}


def custom_number(feature: statistics_pb2.FeatureNameStatistics, name: str) -> float:
    """Returns a number among a feature's custom statistics, 0 if it is not there."""
    return next((stat.num for stat in feature.custom_stats if stat.name == name), 0.0)


def _fill(
    statistics: statistics_pb2.FeatureNameStatistics,
    name: str,
    feature: Feature,
    records: int,
) -> None:
    kind, values = max(sorted(feature.kinds.items()), key=lambda item: item[1].count)
    statistics.type = _TYPES[kind]
    if isinstance(values, Strings):
        common = statistics.string_stats.common_stats
        _fill_strings(statistics, name, values)
    elif kind == "bytes_list":
        statistics.type = statistics_pb2.FeatureNameStatistics.BYTES
        common = statistics.bytes_stats.common_stats
        _fill_sizes(statistics.bytes_stats, values)
    else:
        common = statistics.num_stats.common_stats
        _fill_numbers(statistics.num_stats, values)
    common.num_non_missing = feature.present
    common.num_missing = records - feature.present
    common.min_num_values = int(feature.lengths.minimum)
    common.max_num_values = int(feature.lengths.maximum)
    common.avg_num_values = feature.lengths.mean
    common.tot_num_values = sum(item.count for item in feature.kinds.values())
    others = common.tot_num_values - values.count
    if others:
        _custom(statistics, "values_of_other_type", others)


def _fill_strings(
    statistics: statistics_pb2.FeatureNameStatistics, name: str, values: Strings
) -> None:
    proto = statistics.string_stats
    proto.avg_length = values.total_bytes / max(values.count, 1)
    proto.invalid_utf8_count = values.not_utf8
    if values.counts is None:
        _custom(statistics, "different_values_at_least", EXACT_STRINGS + 1)
        return
    proto.unique = len(values.counts)
    ranked = sorted(values.counts.items(), key=lambda item: (-item[1], item[0]))
    for value, count in ranked[:_TOP_VALUES]:
        proto.top_values.add(value=value, frequency=count)
    # A rank histogram of names that are all different would only repeat them.
    if name in (CLASS, FORMAT) or 2 * len(values.counts) <= values.count:
        for rank, (value, count) in enumerate(ranked):
            proto.rank_histogram.buckets.add(
                low_rank=rank, high_rank=rank, label=value, sample_count=count
            )


def _fill_sizes(proto: statistics_pb2.BytesStatistics, values: Numbers) -> None:
    if values.count:
        proto.avg_num_bytes = values.mean
        proto.min_num_bytes = values.minimum
        proto.max_num_bytes = values.maximum
        proto.max_num_bytes_int = int(values.maximum)


def _fill_numbers(proto: statistics_pb2.NumericStatistics, values: Numbers) -> None:
    if not values.count:
        return
    distribution = (values.counts, values.minimum, values.maximum)
    proto.mean = values.mean
    proto.std_dev = values.deviation
    proto.num_zeros = values.counts[0]
    proto.min = values.minimum
    proto.median = histograms.median(*distribution)
    proto.max = values.maximum
    for make in (histograms.equal_width, histograms.equal_mass):
        histogram = proto.histograms.add()
        histogram.CopyFrom(make(*distribution))
        histogram.num_nan = values.not_finite


def _custom(
    statistics: statistics_pb2.FeatureNameStatistics, name: str, value: float
) -> None:
    statistics.custom_stats.add(name=name, num=value)
