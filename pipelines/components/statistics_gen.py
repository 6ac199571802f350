"""StatisticsGen: examples in, their statistics out."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines import files
from pipelines.data.examples import Examples
from pipelines.data.quality import protos
from pipelines.data.quality.likeness import Alike, find_alike
from pipelines.data.quality.samples import Samples, choose_samples
from pipelines.data.quality.statistics import summarize, to_proto
from pipelines.data.reading import Blocks

_VERSION = 3  # Changes when statistics made earlier must be made again.
_STATISTICS = "statistics.pb"
_SAMPLES = "samples.json"


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is in some examples.

    Args:
        directory: Holds `statistics.pb`, which TensorFlow Data Validation and Facets
            read, and `samples.json`, which says where some images lie.
        proto: The statistics of each split.
        samples: Where the images are that a report shows.
        alike: Which validation images look like training images.

    Example:

    >>> statistics = Statistics.load(Path("runs/demo/statistics"))
    >>> statistics.proto.datasets[0].num_examples
    5400
    """

    directory: Path
    proto: statistics_pb2.DatasetFeatureStatisticsList
    samples: Samples
    alike: Alike

    @classmethod
    def load(cls, directory: Path) -> "Statistics":
        """Returns the statistics in `directory`.

        Raises:
            UserError: If there are none that can be read.
        """
        kind = statistics_pb2.DatasetFeatureStatisticsList
        values = _read_manifest(directory)
        return cls(
            directory=directory,
            proto=protos.read_binary(directory / _STATISTICS, kind),
            samples=Samples.from_json(values.get("samples", {})),
            alike=Alike.from_json(values.get("alike", {})),
        )


def statistics_gen(
    examples: Examples,
    directory: Path,
    *,
    max_decoded: int = 50_000,
    max_bad_share: float = 0.0,
) -> Statistics:
    """Measures examples in one pass over their records.

    Statistics of these very examples that are in the directory already are read, not
    made again. Memory does not grow with the number of images, but with that of decoded
    ones by about 100 bytes for each.

    Args:
        examples: What to measure.
        directory: Where to write.
        max_decoded: Of each split, the greatest number of images whose pixels are
            looked at; the statistics say how many were. All else is of all records.
        max_bad_share: Greatest share of a split's records that may be unreadable.
            Statistics without them are made again each time.

    Returns:
        The statistics.

    Raises:
        UserError: If more records are unreadable.

    Example:

    >>> statistics_gen(examples, Path("runs/demo/statistics"))
    """
    made_from = {
        "version": _VERSION,
        "max_decoded": max_decoded,
        "examples": examples.fingerprint,
    }
    if _read_manifest(directory).get("made_from") == made_from:
        return Statistics.load(directory)
    summaries = {
        split: summarize(Blocks.of(examples, split), max_decoded, max_bad_share)
        for split in examples.counts
    }
    samples = choose_samples(summaries["train"])
    alike = Alike()
    if "validation" in summaries:
        alike = find_alike(summaries["train"].looks, summaries["validation"].looks)
    proto = statistics_pb2.DatasetFeatureStatisticsList(
        datasets=[to_proto(split, summary) for split, summary in summaries.items()]
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _SAMPLES).unlink(missing_ok=True)
    protos.write_binary(directory / _STATISTICS, proto)
    if any(summary.unreadable for summary in summaries.values()):
        made_from = {}
    manifest = {
        "made_from": made_from,
        "samples": samples.to_json(),
        "alike": alike.to_json(),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    files.write_text(directory / _SAMPLES, text + "\n")
    return Statistics(directory, proto, samples, alike)


def checked(examples: Examples, directory: Path) -> Examples:
    """Returns examples that know whether all of them could be read and were measured.

    Args:
        examples: The examples.
        directory: Of their statistics.

    Example:

    >>> checked(examples, Path("runs/demo/statistics")).are_checked
    True
    """
    measured = _read_manifest(directory).get("made_from", {}).get("examples")
    are_checked = measured == examples.fingerprint
    return dataclasses.replace(examples, are_checked=are_checked)


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(
            (directory / _SAMPLES).read_text(encoding="utf-8")
        )
        return values
    except (FileNotFoundError, ValueError):
        return {}
