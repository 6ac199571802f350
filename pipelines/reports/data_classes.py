"""The sections of the data page that go class by class."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipelines.data.examples import Examples
from pipelines.data.quality.likeness import Alike
from pipelines.data.quality.samples import Samples, read_features
from pipelines.data.quality.statistics import value_counts
from pipelines.data.quality.summary import CLASS, IMAGE, Sample
from pipelines.reports.charts import ranked
from pipelines.reports.markup import NUMBER, Section, legend, text
from pipelines.reports.thumbnails import thumbnail

_MOST_BARS = 24


def balance(
    splits: Sequence[statistics_pb2.DatasetFeatureStatistics],
) -> Section | None:
    """Returns a section with the number of images of each class, if they have names.

    Args:
        splits: The statistics of each split, the training images first.
    """
    counts = {split.name: value_counts(split, CLASS) for split in splits}
    train = counts[splits[0].name]
    names = sorted(
        {name for one in counts.values() for name in one},
        key=lambda name: (-train.get(name, 0), name),
    )
    if not names:
        return None
    totals = {split: sum(one.values()) for split, one in counts.items()}
    most = max(
        one.get(name, 0) / totals[split]
        for split, one in counts.items()
        for name in names
    )
    shown, note = names, "Bars are shares of the split."
    if len(names) > _MOST_BARS:
        half = _MOST_BARS // 2
        shown = names[:half] + names[-half:]
        note += (
            f" Shown are the {half} most and the {half} least frequent of "
            f"{len(names):,} classes."
        )
    rows = []
    for name in shown:
        bars = "".join(
            f'<div class="bar {text(split)}" style="width:'
            f'{100 * one.get(name, 0) / totals[split] / most:.2f}%"></div>'
            for split, one in counts.items()
        )
        cells = "".join(
            f"<td{NUMBER}>{one.get(name, 0):,}</td>" for one in counts.values()
        )
        rows.append(
            f'<tr><th scope="row">{text(name)}</th>{cells}'
            f'<td class="bars" aria-hidden="true">{bars}</td></tr>'
        )
    head = "".join(f'<th scope="col"{NUMBER}>{text(name)}</th>' for name in counts)
    chart = ""
    if len(names) > _MOST_BARS:
        label = "Training images of each class, the most frequent first"
        values = [train.get(name, 0) for name in names]
        chart = (
            f"<figure>{ranked(label, values)}<figcaption>{label}</figcaption></figure>"
        )
    return Section(
        "Class balance",
        f'{legend(counts)}<p class="soft">{note}</p>'
        f'{chart}<div class="scroll"><table class="balance"><thead><tr>'
        f'<th scope="col">Class</th>{head}<th scope="col">Share</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
    )


def sample_images(examples: Examples, samples: Samples) -> Section:
    """Returns a section with small images of each class.

    Args:
        examples: The records.
        samples: Which of them to show.
    """
    shards = examples.files("train")
    groups = []
    for name, places in samples.places.items():
        images = [_image(shards, place) for place in places]
        groups.append(
            f'<div><h3>{text(name)}</h3><div class="thumbs">{"".join(images)}</div>'
            "</div>"
        )
    shown = len(samples.places)
    note = "The first training images of each class."
    if shown < samples.classes:
        note = (
            f"The first training images of the {shown // 2} most and the {shown // 2} "
            f"least frequent of {samples.classes:,} classes."
        )
    return Section(
        "Samples",
        f'<p class="soft">{note}</p><div class="samples">{"".join(groups)}</div>',
    )


def alike_images(examples: Examples, alike: Alike) -> Section | None:
    """Returns a section with images of both splits that look alike, None without any.

    Args:
        examples: The records.
        alike: Which of them to show.
    """
    if not alike.pairs:
        return None
    shards = {split: examples.files(split) for split in ("train", "validation")}
    pairs = "".join(
        f'<div class="thumbs">{_image(shards["validation"], pair.validation)}'
        f"{_image(shards['train'], pair.train)}</div>"
        for pair in alike.pairs
    )
    note = (
        f"{alike.images:,} of {alike.looked_at:,} validation images look like a "
        f"training image. The {len(alike.pairs)} most alike, each beside that one."
    )
    return Section(
        "Near-duplicates",
        f'<p class="soft">{note}</p><div class="samples">{pairs}</div>',
    )


def _image(shards: Sequence[str], place: Sample) -> str:
    """Returns an element with a record's image, empty if it cannot be read."""
    try:
        features = read_features(shards, place)
    except (OSError, DecodeError):
        return ""
    small = thumbnail(b"".join(features[IMAGE].bytes_list.value[:1]))
    if not small:
        return ""
    name = b"".join(features["image/filename"].bytes_list.value[:1])
    alt = text(name.decode("utf-8", "backslashreplace") or "unnamed")
    pixelated = ' class="pixelated"' if small.is_small else ""
    return f'<img src="{small.uri}" alt="{alt}" title="{alt}"{pixelated}>'
