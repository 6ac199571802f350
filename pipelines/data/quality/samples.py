"""Which images a report shows, and reading them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.data.quality.summary import CLASS, Sample, Summary

MOST_CLASSES = 24


@dataclasses.dataclass(frozen=True)
class Samples:
    """Training images of some classes.

    Args:
        places: For each class, the most frequent first, where its images lie.
        classes: How many classes there are in all.

    Example:

    >>> samples.places
    {'cat': (Sample(shard=0, offset=12, size=1890),)}
    """

    places: dict[str, tuple[Sample, ...]]
    classes: int

    def to_json(self) -> dict[str, Any]:
        """Returns the values as JSON has them."""
        return {"classes": self.classes, "places": self.places}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Samples":
        """Returns the samples that `to_json` gave `values` for."""
        places = {
            name: tuple(Sample(*place) for place in places)
            for name, places in values.get("places", {}).items()
        }
        return cls(places=places, classes=values.get("classes", 0))


def choose_samples(summary: Summary) -> Samples:
    """Chooses the images to show.

    Args:
        summary: Of the training images.

    Returns:
        Images of all classes or, if there are more than `MOST_CLASSES`, of the most and
        the least frequent ones, half of each.
    """
    counts: dict[str, int] = {}
    if CLASS in summary.features:
        strings = summary.features[CLASS].kinds.get("bytes_list")
        counts = getattr(strings, "counts", None) or {}
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    half = MOST_CLASSES // 2
    shown = ranked if len(ranked) <= MOST_CLASSES else ranked[:half] + ranked[-half:]
    return Samples(
        places={name: tuple(summary.samples[name]) for name in shown},
        classes=len(ranked),
    )


def read_features(files: Sequence[str], place: Sample) -> Any:
    """Returns the features of a record by their names.

    Args:
        files: The split's shards.
        place: Where the record lies.

    Raises:
        OSError: If the shard cannot be read, or
            `google.protobuf.message.DecodeError` if there is something else.
    """
    with open(files[place.shard], "rb") as file:
        file.seek(place.offset)
        serialized = file.read(place.size)
    return tf.train.Example.FromString(serialized).features.feature
