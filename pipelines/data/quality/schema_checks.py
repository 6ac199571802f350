"""Whether records are as their schema says.

Types of anomalies and when they arise are those of TensorFlow Data Validation.
"""

from collections.abc import Iterator
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines.data.quality.anomalies import (
    ERROR,
    WARNING,
    Anomaly,
    AnomalyInfo,
    severity_of,
    told,
)
from pipelines.data.quality.schema import SCHEMA_TYPES
from pipelines.data.quality.statistics import (
    common_statistics,
    custom_number,
    feature_statistics,
    value_counts,
)
from pipelines.data.quality.summary import CLASS, FORMAT, IMAGE
from pipelines.data.quality.thresholds import Limit, Thresholds

_Split: TypeAlias = statistics_pb2.DatasetFeatureStatistics
_Statistics: TypeAlias = statistics_pb2.FeatureNameStatistics

_UNUSED_STAGES = {
    schema_pb2.PLANNED,
    schema_pb2.ALPHA,
    schema_pb2.DEPRECATED,
    schema_pb2.DEBUG_ONLY,
    schema_pb2.DISABLED,
}


def find_in_split(
    split: statistics_pb2.DatasetFeatureStatistics,
    schema: schema_pb2.Schema,
    thresholds: Thresholds,
) -> Iterator[Anomaly]:
    """Compares a split with the schema.

    Args:
        split: Its statistics.
        schema: What is expected.
        thresholds: The limits.
    """
    yield from _check_number_of_records(split, schema.dataset_constraints)
    expected = {feature.name: feature for feature in schema.feature}
    for statistics in split.features:
        name = statistics.path.step[0]
        if name not in expected:
            yield Anomaly(
                name,
                AnomalyInfo.SCHEMA_NEW_COLUMN,
                WARNING,
                "Unexpected feature",
                f"{split.name} records have a feature {name} that the schema does not "
                "know",
                "add it to the schema, or leave it out of the records",
            )
    for name, feature in expected.items():
        if feature.lifecycle_stage in _UNUSED_STAGES or feature.deprecated:
            continue
        found = feature_statistics(split, name)
        for check in _CHECKS if found else (_check_missing,):
            yield from check(split, feature, found)
        if found:
            yield from _check_unique(split, feature, found, thresholds.missing_classes)
    image = feature_statistics(split, IMAGE)
    if image is not None:
        yield from _check_decoding(split, image, thresholds.undecodable)


def _check_number_of_records(
    split: _Split, wanted: schema_pb2.DatasetConstraints
) -> Iterator[Anomaly]:
    for type_, is_out, bound in (
        (
            AnomalyInfo.DATASET_LOW_NUM_EXAMPLES,
            split.num_examples < wanted.min_examples_count,
            f"fewer than the schema's {wanted.min_examples_count}",
        ),
        (
            AnomalyInfo.DATASET_HIGH_NUM_EXAMPLES,
            0 < wanted.max_examples_count < split.num_examples,
            f"more than the schema's {wanted.max_examples_count}",
        ),
    ):
        if is_out:
            yield Anomaly(
                "",
                type_,
                ERROR,
                "Wrong number of records",
                f"there are {split.num_examples} {split.name} records, {bound}",
                "add or remove images, or change dataset_constraints in the schema",
            )


def _check_missing(
    split: _Split, feature: schema_pb2.Feature, _: None
) -> Iterator[Anomaly]:
    presence = feature.presence
    if presence.min_count or presence.min_fraction:
        yield Anomaly(
            feature.name,
            AnomalyInfo.SCHEMA_MISSING_COLUMN,
            ERROR,
            "Missing feature",
            f"no {split.name} record has the feature {feature.name}",
            "write it to the records, or remove its presence from the schema",
        )


def _check_presence(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics
) -> Iterator[Anomaly]:
    common = common_statistics(found)
    share = common.num_non_missing / max(split.num_examples, 1)
    too_few = common.num_non_missing < feature.presence.min_count
    if too_few or share < feature.presence.min_fraction:
        yield Anomaly(
            feature.name,
            AnomalyInfo.FEATURE_TYPE_LOW_NUMBER_PRESENT
            if too_few
            else AnomalyInfo.FEATURE_TYPE_LOW_FRACTION_PRESENT,
            ERROR,
            "Feature missing in some records",
            f"{common.num_missing} of {split.num_examples} {split.name} records have "
            f"no {feature.name}",
            "write it to all records, or lower its presence in the schema",
        )


def _check_type(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics
) -> Iterator[Anomaly]:
    expected = schema_pb2.FeatureType.Name(feature.type)
    others = int(custom_number(found, "values_of_other_type"))
    if SCHEMA_TYPES[found.type] != feature.type:
        here = schema_pb2.FeatureType.Name(SCHEMA_TYPES[found.type])
        what = f"{feature.name} is {here} in {split.name} records, not {expected}"
    elif others:
        what = f"{others} values of {feature.name} in {split.name} are not {expected}"
    else:
        return
    yield Anomaly(
        feature.name,
        AnomalyInfo.UNEXPECTED_DATA_TYPE,
        ERROR,
        "Wrong type",
        what,
        "write the feature with the type that the schema gives",
    )


def _check_number_of_values(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics
) -> Iterator[Anomaly]:
    common = common_statistics(found)
    fewest, most = common.min_num_values, common.max_num_values
    low, high = feature.value_count.min, feature.value_count.max or most
    type_ = (
        AnomalyInfo.FEATURE_TYPE_LOW_NUMBER_VALUES
        if fewest < low
        else AnomalyInfo.FEATURE_TYPE_HIGH_NUMBER_VALUES
    )
    if feature.HasField("shape"):
        low = high = 1
        for dim in feature.shape.dim:
            low = high = low * dim.size
        type_ = AnomalyInfo.INVALID_FEATURE_SHAPE
    if fewest < low or most > high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        yield Anomaly(
            feature.name,
            type_,
            ERROR,
            "Wrong number of values",
            f"{split.name} records have {fewest} to {most} values of {feature.name}, "
            f"not {wanted}",
            "write as many as the schema says, or change the schema",
        )


def _check_numeric_domain(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics
) -> Iterator[Anomaly]:
    numbers = found.num_stats
    if not found.HasField("num_stats"):
        return
    for kind, small, big in _NUMERIC_DOMAINS:
        if feature.HasField(kind):
            yield from _check_range(
                split, feature.name, numbers, getattr(feature, kind), small, big
            )
    not_finite = max((one.num_nan for one in numbers.histograms), default=0)
    refused = feature.float_domain.disallow_nan or feature.float_domain.disallow_inf
    if not_finite and refused:
        yield Anomaly(
            feature.name,
            AnomalyInfo.FLOAT_TYPE_HAS_NAN,
            ERROR,
            "Not finite",
            f"{not_finite:.0f} values of {feature.name} in {split.name} records are no "
            "numbers or infinite",
            "mend the records, or allow it in the schema",
        )


_NUMERIC_DOMAINS = (
    ("int_domain", AnomalyInfo.INT_TYPE_SMALL_INT, AnomalyInfo.INT_TYPE_BIG_INT),
    (
        "float_domain",
        AnomalyInfo.FLOAT_TYPE_SMALL_FLOAT,
        AnomalyInfo.FLOAT_TYPE_BIG_FLOAT,
    ),
)


def _check_range(
    split: _Split,
    name: str,
    numbers: statistics_pb2.NumericStatistics,
    domain: schema_pb2.IntDomain | schema_pb2.FloatDomain,
    small: int,
    big: int,
) -> Iterator[Anomaly]:
    for is_out, type_, value, bound in (
        (
            domain.HasField("min") and numbers.min < domain.min,
            small,
            numbers.min,
            f"below the schema's least, {domain.min:g}",
        ),
        (
            domain.HasField("max") and numbers.max > domain.max,
            big,
            numbers.max,
            f"above the schema's greatest, {domain.max:g}",
        ),
    ):
        if is_out:
            yield Anomaly(
                name,
                type_,
                ERROR,
                "Out of the domain",
                f"{name} is {value:g} in a {split.name} record, {bound}",
                "mend the records, or widen the domain in the schema",
            )


def _check_string_domain(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics
) -> Iterator[Anomaly]:
    if not feature.HasField("string_domain") or not found.HasField("string_stats"):
        return
    known = set(feature.string_domain.value)
    counts = value_counts(split, feature.name)
    new = [value for value in counts if value not in known]
    share = sum(counts[value] for value in new) / max(sum(counts.values()), 1)
    mass = feature.distribution_constraints
    least = mass.min_domain_mass if mass.HasField("min_domain_mass") else 1.0
    if new and (least == 1 or share > 1 - least):
        what = {CLASS: "classes", FORMAT: "formats"}.get(feature.name, "values")
        yield Anomaly(
            feature.name,
            AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
            WARNING if feature.name == FORMAT else ERROR,
            f"New {what}",
            f"{len(new)} {what} in {split.name}, {share:.2%} of its images, are not in "
            f"the schema{told(new)}",
            "add them to the schema, or take these images out of the data",
        )


_CHECKS = (
    _check_presence,
    _check_type,
    _check_number_of_values,
    _check_numeric_domain,
    _check_string_domain,
)


def _check_unique(
    split: _Split, feature: schema_pb2.Feature, found: _Statistics, limit: Limit
) -> Iterator[Anomaly]:
    wanted, most = feature.unique_constraints.min, feature.unique_constraints.max
    unique = found.string_stats.unique or int(
        custom_number(found, "different_values_at_least")
    )
    counts = value_counts(split, feature.name)
    known = set(feature.string_domain.value)
    # Too many that the domain tells of are not told twice.
    if 0 < most < unique and not (known and counts.keys() - known):
        yield Anomaly(
            feature.name,
            AnomalyInfo.FEATURE_TYPE_HIGH_UNIQUE,
            ERROR,
            "Too many different values",
            f"{feature.name} has {unique} different values in {split.name} records, "
            f"more than the schema's {most}",
            "mend the records, or raise unique_constraints.max in the schema",
        )
    if unique >= wanted:
        return
    missing = [value for value in feature.string_domain.value if value not in counts]
    share = (wanted - unique) / wanted
    what = "classes" if feature.name == CLASS else f"values of {feature.name}"
    yield Anomaly(
        feature.name,
        AnomalyInfo.FEATURE_TYPE_LOW_UNIQUE,
        ERROR if split.name == "train" and share > limit.error else WARNING,
        f"Missing {what}",
        f"{wanted - unique} of {wanted} {what} have no {split.name} image"
        f"{told(missing)}",
        "add images of them, or take them out of the schema",
    )


def _check_decoding(
    split: _Split, image: _Statistics, limit: Limit
) -> Iterator[Anomaly]:
    if unreadable := int(custom_number(image, "records_unreadable")):
        yield Anomaly(
            IMAGE,
            AnomalyInfo.CUSTOM_VALIDATION,
            WARNING,
            "Unreadable records",
            f"{unreadable} {split.name} records cannot be read",
            "python -m pipelines.verify names the shards; make the examples again",
        )
    bad = int(custom_number(image, "images_undecodable"))
    tried = bad + int(custom_number(image, "images_decoded"))
    share = bad / max(tried, 1)
    if severity := severity_of(share, limit):
        yield Anomaly(
            IMAGE,
            AnomalyInfo.CUSTOM_VALIDATION,
            severity,
            "Undecodable images",
            f"{bad} of {tried} {split.name} images that were looked at ({share:.2%}) "
            "cannot be decoded",
            "make the examples again, checking every image",
        )
