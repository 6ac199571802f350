"""The sections of reports that go class by class and image by image."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from google.protobuf.message import DecodeError

from pipelines.data.examples import Examples
from pipelines.data.lookup import find_record
from pipelines.data.quality.samples import read_features
from pipelines.data.quality.summary import IMAGE
from pipelines.data.reading import Blocks
from pipelines.errors import UserError
from pipelines.evaluation.metrics import MOST_CONFUSABLE, Metrics, Mistake
from pipelines.reports.charts import ranked
from pipelines.reports.markup import NUMBER, Section, counted, table, text
from pipelines.reports.thumbnails import Thumbnail, thumbnail

_MOST_CELLS = 20
_MOST_PAIRS = 25
_MOST_BARS = 24


class Facts(Protocol):
    """What these sections want to know."""

    @property
    def examples(self) -> Examples | None:
        """The records, None if they are no longer there."""

    def class_name(self, label: int) -> str:
        """Returns the name of a class."""


def confusion(facts: Facts, metrics: Metrics) -> Section:
    """Returns a section that says which classes are taken for which.

    Few classes are shown as a matrix, of more the most frequent confusions.
    """
    matrix = metrics.confusion
    if matrix is None:
        body = (
            '<p class="soft">Confusions are counted for up to '
            f"{MOST_CONFUSABLE:,} classes; here are {len(metrics.class_errors):,}.</p>"
        )
    elif len(matrix) <= _MOST_CELLS:
        body = _matrix(facts, matrix)
    else:
        body = _pairs(facts, matrix)
    return Section("Confusions", body)


def class_errors(facts: Facts, metrics: Metrics) -> Section:
    """Returns a section with the top-1 error of each class, the highest first."""
    errors = {
        label: error
        for label, error in enumerate(metrics.class_errors)
        if error is not None
    }
    ordered = sorted(errors, key=lambda label: (-errors[label], label))
    notes = []
    if len(ordered) > _MOST_BARS:
        notes.append(
            f"The {_MOST_BARS} classes with the highest error, of {len(ordered):,}."
        )
    missing = [
        facts.class_name(label)
        for label, error in enumerate(metrics.class_errors)
        if error is None
    ]
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        notes.append(
            f"Of {len(missing):,} of the classes there is no image in this split: "
            f"{', '.join(missing[:5])}{more}."
        )
    rows = "".join(
        f'<tr><th scope="row">{text(facts.class_name(label))}</th>'
        f"<td{NUMBER}>{errors[label]:.2%}</td>"
        f'<td class="bars"><div class="bar error" '
        f'style="width:{100 * errors[label]:.2f}%"></div><small>'
        f"{_wrong(metrics, label)}</small></td></tr>"
        for label in ordered[:_MOST_BARS]
    )
    chart = ""
    if len(ordered) > _MOST_BARS and errors[ordered[0]] > 0:
        label = "Top-1 error of each class in percent, the highest first"
        values = [100 * errors[label] for label in ordered]
        chart = (
            f"<figure>{ranked(label, values, '%')}<figcaption>{label}</figcaption>"
            "</figure>"
        )
    return Section(
        "Error of each class",
        f'<p class="soft">{text(" ".join(notes))}</p>{chart}'
        '<div class="scroll"><table class="balance"><thead><tr>'
        f'<th scope="col">Class</th><th scope="col"{NUMBER}>Top-1 error</th>'
        f'<th scope="col"></th></tr></thead><tbody>{rows}</tbody></table></div>',
    )


def mistakes(
    facts: Facts,
    split: str,
    hardest: Sequence[Mistake],
    looks: Mapping[int, str] | None = None,
) -> Section:
    """Returns a section with the mistakes of greatest loss as pictures.

    Args:
        facts: The records and the classes.
        split: In which of them the images are.
        hardest: The mistakes.
        looks: `data:` URIs of where the network looked, by the record.
    """
    if not hardest:
        body = '<p class="soft">There are none.</p>'
    else:
        figures = "".join(
            _mistake(facts, split, mistake, (looks or {}).get(mistake.index))
            for mistake in hardest
        )
        body = (
            '<p class="soft">The images whose own class got the least probability, the '
            f'worst first.</p><div class="mistakes">{figures}</div>'
        )
    return Section("Hardest mistakes", body)


def _wrong(metrics: Metrics, label: int) -> str:
    images = metrics.class_images[label]
    return counted(round(images * (metrics.class_errors[label] or 0)), images)


def _matrix(facts: Facts, matrix: np.ndarray) -> str:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [text(facts.class_name(label)) for label in range(len(matrix))]
    head = "".join(
        f'<th scope="col" title="{name}"><span>{name}</span></th>' for name in names
    )
    rows = "".join(
        f'<tr><th scope="row" title="{names[label]}">{names[label]}</th>'
        + "".join(
            f"<td{' class=right' if label == prediction else ''} "
            f'style="--share:{shares[label, prediction]:.3f}">'
            f"{matrix[label, prediction]:,}</td>"
            for prediction in range(len(matrix))
        )
        + "</tr>"
        for label in range(len(matrix))
    )
    return (
        '<p class="soft">Number of images by class (rows) and prediction (columns); '
        'darker is a larger share of the class.</p><div class="scroll">'
        f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _pairs(facts: Facts, matrix: np.ndarray) -> str:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for label, prediction in zip(*np.unravel_index(most, wrong.shape), strict=True):
        if count := int(wrong[label, prediction]):
            rows.append(
                [
                    facts.class_name(label),
                    facts.class_name(prediction),
                    f"{count / matrix[label].sum():.1%}",
                    counted(count, int(matrix[label].sum())),
                ]
            )
    if not rows:
        return '<p class="soft">No class was taken for another.</p>'
    head = ["Class", "taken for", "share of the class", "images"]
    return table(head, rows, "The most frequent confusions.")


def _mistake(facts: Facts, split: str, mistake: Mistake, look: str | None) -> str:
    label, prediction = map(facts.class_name, (mistake.label, mistake.prediction))
    name, picture = _picture(facts, split, mistake)
    shown = '<p class="soft">The image is no longer in the records.</p>'
    if picture:
        pixelated = ' class="pixelated"' if picture.is_small else ""
        shown = (
            f'<img src="{picture.uri}" alt="{text(name or label)}" '
            f'title="{text(name)}"{pixelated}>'
        )
    if look:
        shown += f'<img src="{look}" alt="where the network looked">'
    return (
        f"<figure>{shown}<figcaption>is <b>{text(label)}</b> "
        f"{mistake.label_probability:.2%}<br>taken for <b>{text(prediction)}</b> "
        f"{mistake.prediction_probability:.2%}</figcaption></figure>"
    )


def _picture(
    facts: Facts, split: str, mistake: Mistake
) -> tuple[str, Thumbnail | None]:
    """Returns the name and image of a record, if it is still the one evaluated."""
    if facts.examples is None:
        return "", None
    try:
        blocks = Blocks.of(facts.examples, split)
        features = read_features(blocks.files, find_record(blocks, mistake.index))
    except (OSError, UserError, DecodeError):
        return "", None
    encoded = features[IMAGE].bytes_list.value
    names = [
        name
        for label in features["image/class/label"].int64_list.value
        for name in facts.examples.classes[label : label + 1]
    ]
    if names != [facts.class_name(mistake.label)]:
        return "", None
    name = b"".join(features["image/filename"].bytes_list.value[:1])
    picture = thumbnail(encoded[0]) if encoded else None
    return name.decode("utf-8", "backslashreplace"), picture
