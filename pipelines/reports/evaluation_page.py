"""A page that tells what an evaluation found, in one file that needs no network."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.data.examples import Examples
from pipelines.evaluation.calibration import Bin, Calibration
from pipelines.evaluation.comparison import Comparison
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
        _scores(judgement),
        _blessing(checks),
        _comparison(against, judgement.comparison),
        _slices(judgement),
        _calibration(judgement.calibration),
        run_classes.confusion(facts, metrics),
        run_classes.class_errors(facts, metrics),
        _classes(judged),
        run_classes.mistakes(facts, split, metrics.hardest, looks),
    )
    write_page(path, f"Evaluation: {title}", header, sections)


def _scores(judgement: Judgement) -> Section:
    items = ""
    for name, value in judgement.scores.items():
        low, high = (shown(name, end) for end in judgement.intervals[name])
        items += (
            f"<div><dt>{TITLES[name]}</dt><dd>{shown(name, value)}<small>"
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


def _comparison(against: str, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    rows = []
    for name, value in comparison.differences.items():
        low, high = comparison.intervals[name]
        form = "+.4f" if name == "loss" else "+.2%"
        rows.append([TITLES[name], f"{value:{form}}", f"{low:{form}} to {high:{form}}"])
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


def _points(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    return [(one.confidence, one.accuracy) for one in bins]


def _classes(judged: Judged) -> Section:
    scores = judged.judgement.classes
    rows = [
        [
            name,
            f"{scores.precision[label]:.2%}",
            f"{scores.recall[label]:.2%}",
            f"{scores.f1[label]:.2%}",
            f"{scores.images[label]:,}",
            f"{scores.predicted[label]:,}",
        ]
        for label, name in enumerate(judged.names)
    ]
    head = ["Class", "precision", "recall", "F1", "images", "predicted"]
    return Section(
        "Precision and recall",
        folded(f"All {len(rows):,} classes", table(head, rows)),
    )
