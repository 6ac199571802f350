"""Images that are in the data more than once."""

from collections.abc import Iterator

from pipelines.data.examples import Examples
from pipelines.data.quality.anomalies import Anomaly, AnomalyInfo, severity_of, told
from pipelines.data.quality.likeness import Alike
from pipelines.data.quality.thresholds import Thresholds


def find_copies(
    examples: Examples, alike: Alike, thresholds: Thresholds
) -> Iterator[Anomaly]:
    """Tells of images that are in the data more than once.

    Args:
        examples: Their manifest counts and names those that are equal byte for byte.
        alike: Those that only look the same.
        thresholds: The limits.
    """
    counts = examples.counts
    total = max(sum(counts.values()), 1)
    if severity := severity_of(examples.conflicts / total, thresholds.conflicts):
        pairs = [f"{first} = {second}" for first, second in examples.conflicting]
        yield Anomaly(
            "",
            AnomalyInfo.CUSTOM_VALIDATION,
            severity,
            "Label conflicts",
            f"{examples.conflicts} images are in more than one class, byte for byte"
            f"{told(pairs)}",
            "keep each of them in its right class alone",
        )
    for split, count in counts.items():
        copies = examples.duplicates.get(split, 0)
        share = copies / max(count, 1)
        if severity := severity_of(share, thresholds.duplicates):
            yield Anomaly(
                "",
                AnomalyInfo.CUSTOM_VALIDATION,
                severity,
                f"Duplicates in {split}",
                f"{copies} of {count} {split} images ({share:.2%}) equal another one "
                "byte for byte",
                "remove the copies",
            )
    across = examples.duplicates.get("across", 0)
    share = across / max(counts.get("validation", 0), 1)
    if severity := severity_of(share, thresholds.overlap):
        pairs = [f"{first} = {second}" for first, second in examples.leaked]
        yield Anomaly(
            "",
            AnomalyInfo.CUSTOM_VALIDATION,
            severity,
            "Training and validation images overlap",
            f"{across} of {counts['validation']} validation images ({share:.2%}) are "
            f"training images, too{told(pairs)}",
            "remove them from one of the two, since metrics on them mean nothing",
        )
    share = alike.images / max(alike.looked_at, 1)
    if severity := severity_of(share, thresholds.near_duplicates):
        yield Anomaly(
            "",
            AnomalyInfo.CUSTOM_VALIDATION,
            severity,
            "Near-duplicates across training and validation",
            f"{alike.images} of {alike.looked_at} validation images ({share:.2%}) look "
            "like a training image without being equal to it",
            "look at the pairs in data.html, and keep all views of one thing together",
        )
