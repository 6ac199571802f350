"""What records should look like, inferred from statistics."""

import math
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines.data.quality import histograms
from pipelines.data.quality.statistics import (
    common_statistics,
    feature_statistics,
    value_counts,
)
from pipelines.data.quality.summary import (
    ASPECT_RATIO,
    BYTES,
    CHANNEL_MEANS,
    CLASS,
    DERIVED,
    FORMAT,
    HEIGHT,
    IMAGE,
    LABEL,
    WIDTH,
)
from pipelines.data.quality.thresholds import Thresholds
from pipelines.errors import UserError

SIZES = (HEIGHT, WIDTH, ASPECT_RATIO, BYTES)
"""The features whose distribution may drift."""

_BY_CHANCE = 1e-3

SCHEMA_TYPES = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    statistics_pb2.FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.BYTES: schema_pb2.BYTES,
}

_INT_DOMAINS = {
    HEIGHT: schema_pb2.IntDomain(min=1),
    WIDTH: schema_pb2.IntDomain(min=1),
    BYTES: schema_pb2.IntDomain(min=1),
}


_CHECKED: dict[str, set[str]] = {
    "name": set(),
    "type": set(),
    "deprecated": set(),
    "lifecycle_stage": set(),
    "annotation": set(),
    "domain": set(),
    "presence": {"min_fraction", "min_count"},
    "shape": {"dim"},
    "value_count": {"min", "max"},
    "int_domain": {"name", "min", "max", "is_categorical"},
    "float_domain": {"name", "min", "max", "disallow_nan", "disallow_inf"},
    "string_domain": {"name", "value", "is_categorical"},
    "image_domain": set(),
    "distribution_constraints": {"min_domain_mass"},
    "skew_comparator": {"infinity_norm", "jensen_shannon_divergence"},
    "drift_comparator": {"infinity_norm", "jensen_shannon_divergence"},
    "unique_constraints": {"min", "max"},
}
"""What is checked of a feature: its fields, and theirs where they are messages."""

_CHECKED_OF_ALL: dict[str, set[str] | None] = {
    "feature": None,
    "string_domain": None,
    "int_domain": None,
    "float_domain": None,
    "annotation": None,
    "dataset_constraints": {"min_examples_count", "max_examples_count"},
}
_DOMAINS = ("string_domain", "int_domain", "float_domain")


def resolve(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """Returns a schema of which all can be checked.

    Args:
        schema: As a person wrote it.

    Returns:
        The schema, with the domains that features name put in their place.

    Raises:
        UserError: If it asks for something that is not checked, or names a domain that
            it does not define.

    Example:

    >>> resolve(schema_pb2.Schema(default_environment=["SERVING"]))
    Traceback (most recent call last):
    UserError: the schema has default_environment, which is not checked; remove it
    """
    for field, value in schema.ListFields():
        if field.name not in _CHECKED_OF_ALL:
            raise _not_checked("the schema", field.name)
        if (known := _CHECKED_OF_ALL[field.name]) is not None:
            _refuse_others("the schema", field.name, value, known)
    domains = {
        domain.name: (kind, domain)
        for kind in _DOMAINS
        for domain in getattr(schema, kind)
    }
    resolved = schema_pb2.Schema()
    resolved.CopyFrom(schema)
    for feature in resolved.feature:
        what = f"the schema's feature {feature.name}"
        for field, value in feature.ListFields():
            if field.name not in _CHECKED:
                raise _not_checked(what, field.name)
            if field.message_type and field.name != "annotation":
                _refuse_others(what, field.name, value, _CHECKED[field.name])
        if feature.domain:
            if feature.domain not in domains:
                raise UserError(
                    f"{what} names the domain {feature.domain}, which the schema does "
                    f"not define (defined: {', '.join(domains) or 'none'}); define it, "
                    "or name another one"
                )
            kind, domain = domains[feature.domain]
            getattr(feature, kind).CopyFrom(domain)
    return resolved


def _refuse_others(what: str, name: str, value: Any, known: set[str]) -> None:
    for field, _ in value.ListFields():
        if field.name not in known:
            raise _not_checked(what, f"{name}.{field.name}")


def _not_checked(what: str, name: str) -> UserError:
    return UserError(f"{what} has {name}, which is not checked; remove it")


def infer_schema(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    classes: tuple[str, ...],
    thresholds: Thresholds,
) -> schema_pb2.Schema:
    """Describes records like those that were measured.

    A feature that every record has, with one value, is required so. The classes, the
    formats and the range of the labels are the ones there are. The comparators carry
    the thresholds for warnings, but none below what small samples differ by anyway.

    Args:
        statistics: Of the splits; the features are those of all.
        classes: The class names.
        thresholds: The limits.

    Returns:
        The schema, as TensorFlow Data Validation reads it.
    """
    schema = schema_pb2.Schema()
    splits = statistics.datasets
    names = {feature.path.step[0] for split in splits for feature in split.features}
    for name in sorted(names):
        found = [feature_statistics(split, name) for split in splits]
        schema.feature.append(
            _feature(name, [feature for feature in found if feature], len(splits))
        )
    by_name = {feature.name: feature for feature in schema.feature}
    if label := by_name.get(LABEL):
        label.int_domain.CopyFrom(
            schema_pb2.IntDomain(min=0, max=len(classes) - 1, is_categorical=True)
        )
    if image_class := by_name.get(CLASS):
        image_class.string_domain.name = CLASS
        image_class.string_domain.value.extend(classes)
        image_class.unique_constraints.min = len(classes)
        image_class.unique_constraints.max = len(classes)
        noise = _difference_by_chance(splits, len(classes))
        for comparator, limit in (
            (image_class.skew_comparator, thresholds.class_skew),
            (image_class.drift_comparator, thresholds.class_drift),
        ):
            threshold = min(max(limit.warning, noise), 1.0)
            comparator.infinity_norm.threshold = round(threshold, 4)
    if image_format := by_name.get(FORMAT):
        formats = {value for split in splits for value in value_counts(split, FORMAT)}
        image_format.string_domain.name = FORMAT
        image_format.string_domain.value.extend(sorted(formats))
    for name in SIZES:
        if name in by_name:
            divergence = by_name[name].drift_comparator.jensen_shannon_divergence
            threshold = max(
                thresholds.size_drift.warning, _divergence_by_chance(splits)
            )
            divergence.threshold = round(min(threshold, 1.0), 4)
            divergence.source.type = schema_pb2.HistogramSelection.QUANTILES
    return schema


def _feature(
    name: str,
    found: list[statistics_pb2.FeatureNameStatistics],
    splits: int,
) -> schema_pb2.Feature:
    feature = schema_pb2.Feature(name=name, type=SCHEMA_TYPES[found[0].type])
    if name == IMAGE:
        feature.image_domain.SetInParent()
    if name in _INT_DOMAINS:
        feature.int_domain.CopyFrom(_INT_DOMAINS[name])
    if name in CHANNEL_MEANS:
        return feature  # Of those images that were decoded.
    common = [common_statistics(statistics) for statistics in found]
    if len(found) == splits and not any(one.num_missing for one in common):
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
    if all(one.min_num_values == one.max_num_values == 1 for one in common):
        feature.shape.SetInParent()
    elif all(one.min_num_values > 0 for one in common):
        feature.value_count.min = 1
    if name in DERIVED:
        feature.lifecycle_stage = schema_pb2.VALIDATION_DERIVED
    return feature


def _difference_by_chance(
    splits: list[statistics_pb2.DatasetFeatureStatistics], classes: int
) -> float:
    """Returns what the class shares of random splits differ by once in a thousand.

    By Hoeffding's inequality for the difference of two means, over all classes.
    """
    inverse = sum(1 / max(split.num_examples, 1) for split in splits)
    return math.sqrt(math.log(2 * classes / _BY_CHANCE) / 2 * inverse)


def _divergence_by_chance(
    splits: list[statistics_pb2.DatasetFeatureStatistics],
) -> float:
    """Returns a divergence that samples as large as the first split rarely exceed.

    For samples of n from the same distribution, `4 n ln 2` times the divergence is
    distributed as chi-square; the tail beyond three times its mean is below 1e-4.
    """
    buckets = 2 * histograms.QUANTILES
    images = max(splits[0].num_examples, 1)
    return 3 * (buckets - 1) / (4 * math.log(2) * images)
