"""A page that tells what an evaluation found, in one file that needs no network."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.data.examples import Examples
from pipelines.evaluation.calibration import Bin, Calibration
from pipelines.evaluation.curves import GRID, mean_of
from pipelines.evaluation.intervals import CONFIDENCE
from pipelines.evaluation.judgement import Check, Judged, Judgement
from pipelines.reports import run_classes
from pipelines.reports.charts import lines
from pipelines.reports.markup import (
    NUMBER,
    Section,
    counted,
    folded,
    legend,
    table,
    text,
)
from pipelines.reports.page import write_page

TITLES = {
    "top1_error": "Top-1 error",
    "top5_error": "Top-5 error",
    "loss": "Loss",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro F1",
}
"""What the scores are called."""


def titles(judged: Judged) -> dict[str, str]:
    """Returns what the scores that tell something are called.

    The top-5 error of five classes or fewer is always 0, and left out.
    """
    few = len(judged.names) <= 5
    return {
        name: title
        for name, title in TITLES.items()
        if not (few and name == "top5_error")
    }


def shown(name: str, value: float) -> str:
    """Returns a score as people read it.

    Example:

    >>> shown("top1_error", 0.0871)
    '8.71%'
    """
    return f"{value:.4f}" if name == "loss" else f"{value:.2%}"


@dataclasses.dataclass(frozen=True)
class _Facts:
    examples: Examples
    names: Sequence[str]

    def class_name(self, label: int) -> str:
        return self.names[label]


def write_evaluation_page(
    path: Path,
    examples: Examples,
    judged: Judged,
    checks: Sequence[Check] = (),
    looks: Mapping[int, str] | None = None,
) -> None:
    """Writes a page of a judgement.

    Args:
        path: The HTML file. Everything is in it.
        examples: What was evaluated on.
        judged: What was found.
        checks: What it was asked to be.
        looks: Pictures of where the network looked, see `run_classes.mistakes`.

    Example:

    >>> write_evaluation_page(Path("evaluation.html"), examples, judged)
    """
    facts, judgement = _Facts(examples, judged.names), judged.judgement
    title = " and ".join(judged.models)
    split, views = judged.made_from["split"], judged.made_from["views"]
    header = (
        f"<h1>{text(title)}</h1>"
        f'<p class="soft">{judgement.metrics.images:,} {split} images of '
        f"{text(examples.directory)}, each looked at by {text(views)}</p>"
    )
    against = " and ".join(judged.baseline)
    metrics = judgement.metrics
    sections = (
        _scores(judged),
        _blessing(checks),
        _comparison(judged, against),
        _slices(judgement),
        _calibration(judgement.calibration),
        _curves(judged),
        run_classes.confusion(facts, metrics),
        run_classes.class_errors(facts, metrics),
        _classes(judged),
        run_classes.mistakes(facts, split, metrics.hardest, looks),
    )
    write_page(path, f"Evaluation: {title}", header, sections)


def _scores(judged: Judged) -> Section:
    items, judgement = "", judged.judgement
    for name, title in titles(judged).items():
        low, high = (shown(name, end) for end in judgement.intervals[name])
        items += (
            f"<div><dt>{title}</dt><dd>{shown(name, judgement.scores[name])}<small>"
            f"{CONFIDENCE:.0%} interval {low} to {high}</small></dd></div>"
        )
    return Section("Scores", f'<dl class="facts">{items}</dl>')


_HELD = {True: "&#10003; Held", False: "&#10006; Not held"}


def _blessing(checks: Sequence[Check]) -> Section | None:
    if not checks:
        return None
    items = "".join(
        f'<div class="anomaly {"good" if check.passed else "error"}">'
        f'<span class="badge">{_HELD[check.passed]}</span>{text(check.sentence)}</div>'
        for check in sorted(checks, key=lambda check: check.passed)
    )
    blessed = all(check.passed for check in checks)
    return Section("Blessed" if blessed else "Not blessed", items)


def _comparison(judged: Judged, against: str) -> Section | None:
    comparison = judged.judgement.comparison
    if comparison is None:
        return None
    rows = []
    for name, title in titles(judged).items():
        value = comparison.differences[name]
        low, high = comparison.intervals[name]
        form = "+.4f" if name == "loss" else "+.2%"
        rows.append([title, f"{value:{form}}", f"{low:{form}} to {high:{form}}"])
    note = (
        f"{comparison.only_first:,} images only this model recognises, "
        f"{comparison.only_second:,} only the other: p = {comparison.p_value:.3g} by "
        "McNemar's exact test. Intervals are of a paired bootstrap."
    )
    head = ["", "difference", f"{CONFIDENCE:.0%} interval"]
    return Section(
        "Compared",
        f'<p class="soft">With {text(against)}. {note}</p>{table(head, rows)}',
    )


def _slices(judgement: Judgement) -> Section | None:
    if not judgement.slices:
        return None
    rows = "".join(
        f'<tr><th scope="row">{text(one.name)}</th>'
        f"<td{NUMBER}>{one.top1_error:.2%}</td>"
        f'<td class="bars"><div class="bar error" '
        f'style="width:{100 * one.top1_error:.2f}%"></div><div class="bar span" '
        f'style="margin-left:{100 * one.interval[0]:.2f}%;'
        f'width:{100 * (one.interval[1] - one.interval[0]):.2f}%"></div>'
        f"<small>{counted(round(one.top1_error * one.images), one.images)}</small>"
        "</td></tr>"
        for one in judgement.slices
    )
    return Section(
        "Slices",
        '<div class="scroll"><table class="balance"><thead><tr>'
        f'<th scope="col">Images</th><th scope="col"{NUMBER}>Top-1 error</th>'
        '<th scope="col"></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
    )


def _calibration(calibration: Calibration | None) -> Section:
    if calibration is None:
        return Section(
            "Calibration",
            '<p class="soft">There are too few images, or too many probabilities.</p>',
        )
    before, after = calibration.errors
    series = {
        "ideal": [(0.0, 0.0), (1.0, 1.0)],
        "before": _points(calibration.before),
        "after": _points(calibration.after),
    }
    label = "Share recognised by confidence"
    return Section(
        "Calibration",
        f"<p>Expected calibration error {before:.2%}, with temperature "
        f"{calibration.temperature:.3g} {after:.2%}; loss "
        f"{calibration.loss_before:.4f}, with it {calibration.loss_after:.4f}.</p>"
        '<p class="soft">The temperature was fitted on the other half of the images; '
        f"this is of {calibration.images:,}.</p>"
        f"{legend(series)}<figure>{lines(label, series)}<figcaption>{label}"
        "</figcaption></figure>",
    )


def _curves(judged: Judged) -> Section | None:
    curves = judged.judgement.curves
    if curves is None:
        return None
    columns = (curves.roc, curves.precision, curves.auroc, curves.average_precision)
    mean = _charts("", *map(mean_of, columns))
    each = "".join(
        _charts(f"{name}: ", *values)
        for name, *values in zip(judged.names, *columns, strict=True)
        if np.isfinite(values[-1])
    )
    few = len(judged.names) <= _MOST_DRAWN
    return Section(
        "Curves",
        '<p class="soft">Each class against the others, by its probability; the mean '
        f"over the classes.</p>{mean}{folded('Class by class', each) if few else ''}",
    )


_MOST_DRAWN = 20


def _charts(
    of: str,
    roc: np.ndarray,
    precision: np.ndarray,
    auroc: np.ndarray | float,
    average: np.ndarray | float,
) -> str:
    figures = ""
    for label, values in (
        (f"{of}true by false positive rate, area {auroc:.4f}", roc),
        (f"{of}precision by recall, average {average:.4f}", precision),
    ):
        chart = lines(label, {"before": list(zip(GRID, values, strict=True))})
        figures += f"<figure>{chart}<figcaption>{text(label)}</figcaption></figure>"
    return f'<div class="charts">{figures}</div>'


def _points(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    return [(one.confidence, one.accuracy) for one in bins]


def _classes(judged: Judged) -> Section:
    scores, curves = judged.judgement.classes, judged.judgement.curves
    areas: dict[str, np.ndarray] = {}
    if curves:
        areas = {"AUROC": curves.auroc, "average precision": curves.average_precision}
    rows = [
        [
            name,
            f"{scores.precision[label]:.2%}",
            f"{scores.recall[label]:.2%}",
            f"{scores.f1[label]:.2%}",
            *(f"{values[label]:.4f}" for values in areas.values()),
            f"{scores.images[label]:,}",
            f"{scores.predicted[label]:,}",
        ]
        for label, name in enumerate(judged.names)
    ]
    head = ["Class", "precision", "recall", "F1", *areas, "images", "predicted"]
    return Section(
        "Precision and recall",
        folded(f"All {len(rows):,} classes", table(head, rows)),
    )
