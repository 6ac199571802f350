"""All that can be said against the records."""

import dataclasses

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from pipelines.data.examples import Examples
from pipelines.data.quality.anomalies import (
    ERROR,
    WARNING,
    Anomaly,
    Measured,
    to_proto,
)
from pipelines.data.quality.copies import find_copies
from pipelines.data.quality.distances import compare, find_channel_drift
from pipelines.data.quality.likeness import NONE_ALIKE, Alike
from pipelines.data.quality.schema_checks import find_in_split
from pipelines.data.quality.thresholds import Thresholds


@dataclasses.dataclass(frozen=True)
class Validation:
    """What came of comparing records with their schema and with earlier ones.

    Args:
        anomalies: Errors first.
        measured: All distances that were compared with a threshold.
        schema: What was expected.
    """

    anomalies: tuple[Anomaly, ...]
    measured: tuple[Measured, ...]
    schema: schema_pb2.Schema

    @property
    def errors(self) -> tuple[Anomaly, ...]:
        """The anomalies that stop the pipeline."""
        return tuple(one for one in self.anomalies if one.severity == ERROR)

    @property
    def warnings(self) -> tuple[Anomaly, ...]:
        """The anomalies that are only told."""
        return tuple(one for one in self.anomalies if one.severity == WARNING)

    def to_proto(self) -> anomalies_pb2.Anomalies:
        """Returns all of it as TensorFlow Data Validation reads it."""
        return to_proto(self.anomalies, self.measured, self.schema)


def validate(
    examples: Examples,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    previous: statistics_pb2.DatasetFeatureStatisticsList | None,
    thresholds: Thresholds,
    alike: Alike = NONE_ALIKE,
) -> Validation:
    """Looks for anomalies.

    Args:
        examples: The records; their manifest tells of copies.
        statistics: Of the records.
        schema: What they should be like.
        previous: Statistics of the data used before, None for no comparison.
        thresholds: The limits.
        alike: Which of the records look alike.
    """
    splits = {split.name: split for split in statistics.datasets}
    found = [
        anomaly
        for split in statistics.datasets
        for anomaly in find_in_split(split, schema, thresholds)
    ]
    compared: list[tuple[Measured, Anomaly | None]] = []
    if "validation" in splits:
        compared += compare(
            splits["train"], splits["validation"], schema, "skew", thresholds
        )
    for before in previous.datasets if previous else ():
        if before.name == "train":
            compared += compare(splits["train"], before, schema, "drift", thresholds)
            found += find_channel_drift(
                splits["train"], before, thresholds.channel_drift
            )
    found += [anomaly for _, anomaly in compared if anomaly]
    found += find_copies(examples, alike, thresholds)
    return Validation(
        anomalies=tuple(sorted(found, key=lambda anomaly: -anomaly.severity)),
        measured=tuple(measured for measured, _ in compared),
        schema=schema,
    )
