"""A page that shows what is in the data, in one file that needs no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines.data.examples import Examples
from pipelines.data.quality.anomalies import ERROR, Anomaly, Measured
from pipelines.data.quality.distances import DISTANCES
from pipelines.data.quality.likeness import NONE_ALIKE, Alike
from pipelines.data.quality.samples import Samples
from pipelines.data.quality.statistics import (
    CHANNELS,
    custom_number,
    feature_statistics,
    value_counts,
)
from pipelines.data.quality.summary import (
    ASPECT_RATIO,
    BYTES,
    CLASS,
    FORMAT,
    HEIGHT,
    IMAGE,
    WIDTH,
)
from pipelines.data.quality.validation import Validation
from pipelines.reports.charts import Bucket, histogram, short
from pipelines.reports.data_classes import alike_images, balance, sample_images
from pipelines.reports.markup import Section, legend, table, text
from pipelines.reports.page import write_page

_CHARTED = (
    (HEIGHT, "Height", "pixels"),
    (WIDTH, "Width", "pixels"),
    (ASPECT_RATIO, "Aspect ratio", "width / height"),
    (BYTES, "File size", "bytes"),
    *(
        (f"image/mean/{channel}", f"Mean of {channel}", "0 to 255, of each image")
        for channel in CHANNELS
    ),
)

_Split: TypeAlias = statistics_pb2.DatasetFeatureStatistics


def write_data_page(
    path: Path,
    examples: Examples,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    samples: Samples,
    validation: Validation,
    alike: Alike = NONE_ALIKE,
) -> None:
    """Writes a page with anomalies, statistics and sample images.

    Args:
        path: The HTML file, such as `data.html`. Everything is in it.
        examples: The records.
        statistics: Of the records.
        samples: Which images to show.
        validation: The anomalies.
        alike: Which images to show beside each other.

    Example:

    >>> write_data_page(
    ...     Path("runs/demo/data.html"),
    ...     examples, statistics.proto, statistics.samples, validation
    ... )
    """
    source = str(examples.made_from.get("source", examples.directory.name))
    splits = list(statistics.datasets)
    sections = (
        _anomalies(validation.anomalies),
        _splits(examples, splits),
        balance(splits),
        _distributions(splits),
        _channels(splits),
        _distances(validation.measured),
        alike_images(examples, alike),
        sample_images(examples, samples),
    )
    write_page(path, f"Data: {source}", _header(source, examples), sections)


def _header(source: str, examples: Examples) -> str:
    images = sum(examples.counts.values())
    return (
        f"<h1>{text(source)}</h1>"
        f'<p class="soft">{images:,} images of {len(examples.classes):,} classes</p>'
    )


def _anomalies(anomalies: Sequence[Anomaly]) -> Section:
    if not anomalies:
        items = (
            '<div class="anomaly good"><span class="badge">&#10003; None found</span>'
            "<p>The records are as the schema says.</p></div>"
        )
    else:
        items = "".join(
            f'<div class="anomaly {kind}"><span class="badge">{badge}</span>'
            f"<strong>{text(anomaly.title)}</strong> "
            f'<span class="soft">{text(anomaly.feature or "the data")}</span>'
            f"<p>{text(_capital(anomaly.description))}. "
            f"{text(_capital(anomaly.remedy))}.</p></div>"
            for anomaly in anomalies
            for kind, badge in [
                ("error", "&#10006; Error")
                if anomaly.severity == ERROR
                else ("warning", "&#9888; Warning")
            ]
        )
    return Section("Anomalies", items)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _splits(examples: Examples, splits: Sequence[_Split]) -> Section:
    columns = []
    for split in splits:
        image = (
            feature_statistics(split, IMAGE) or statistics_pb2.FeatureNameStatistics()
        )
        formats = value_counts(split, FORMAT)
        columns.append(
            {
                "Images": short(split.num_examples),
                "Classes": short(len(value_counts(split, CLASS))),
                "Formats": ", ".join(
                    f"{name} {short(count)}" for name, count in formats.items()
                ),
                "Mean bytes": short(round(image.bytes_stats.avg_num_bytes)),
                "Copies within the split": short(
                    examples.duplicates.get(split.name, 0)
                ),
                "Images looked at": short(custom_number(image, "images_decoded")),
                "Undecodable among them": short(
                    custom_number(image, "images_undecodable")
                ),
            }
        )
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    facts = table(["", *(split.name for split in splits)], rows)
    notes = (
        f"{short(examples.duplicates.get('across', 0))} validation images are training "
        f"images, too. {short(examples.skipped_count)} images of the source could not "
        "be used."
    )
    return Section("Splits", f'{facts}<p class="soft">{notes}</p>')


def _distributions(splits: Sequence[_Split]) -> Section:
    figures = []
    for feature, title, unit in _CHARTED:
        series, ranges = {}, []
        for split in splits:
            found = feature_statistics(split, feature)
            if found is None or not found.num_stats.histograms:
                continue
            buckets = found.num_stats.histograms[0].buckets
            total = sum(bucket.sample_count for bucket in buckets)
            series[split.name] = [
                Bucket(one.low_value, one.high_value, one.sample_count / total)
                for one in buckets
            ]
            stats = found.num_stats
            ranges.append(
                f"{split.name}: {short(stats.min)} to {short(stats.max)}, "
                f"median {short(stats.median)}"
            )
        if series:
            said = "; ".join(ranges)
            figures.append(
                f"<figure><h3>{title}</h3>{histogram(f'{title}, {said}', series)}"
                f"<figcaption>{unit}<br>{'<br>'.join(map(text, ranges))}</figcaption>"
                "</figure>"
            )
    return Section(
        "Sizes and brightness",
        f"{legend(split.name for split in splits)}"
        f'<div class="charts">{"".join(figures)}</div>',
    )


def _channels(splits: Sequence[_Split]) -> Section:
    rows = []
    for split in splits:
        image = feature_statistics(split, IMAGE)
        if image is None:
            continue
        for channel in CHANNELS:
            mean = custom_number(image, f"channel_mean/{channel}")
            deviation = custom_number(image, f"channel_deviation/{channel}")
            rows.append(
                [
                    f"{split.name}, {channel}",
                    f"{mean:.2f}",
                    f"{deviation:.2f}",
                    f"{mean / 255:.4f}",
                    f"{deviation / 255:.4f}",
                ]
            )
    head = ["", "mean", "deviation", "mean / 255", "deviation / 255"]
    caption = "Over all pixels of the images looked at, as normalisation uses them."
    return Section("Channels", table(head, rows, caption))


def _distances(measured: Sequence[Measured]) -> Section | None:
    if not measured:
        return None
    rows = [
        [
            f"{one.feature}, {_COMPARED[one.kind]}",
            DISTANCES[one.type].name,
            f"{one.value:.4f}",
            f"{one.threshold:.4g}",
        ]
        for one in measured
    ]
    head = ["", "distance", "value", "threshold"]
    return Section("Distances", table(head, rows))


_COMPARED = {
    "skew": "training against validation images",
    "drift": "these against the previous training images",
}
