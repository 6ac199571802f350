"""All that an evaluation found, and whether that is good enough."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.errors import UserError, unknown
from pipelines.evaluation.calibration import Calibration
from pipelines.evaluation.comparison import Comparison, compare
from pipelines.evaluation.curves import Curves
from pipelines.evaluation.intervals import CONFIDENCE, Interval, bootstrap, wilson
from pipelines.evaluation.metrics import Metrics, tallied
from pipelines.evaluation.predictions import Predictions
from pipelines.evaluation.scores import ClassScores, Outcomes, class_scores, scores
from pipelines.evaluation.slices import Slice

MOST_CALIBRATED = 2**28
"""Greatest number of probabilities, images times classes, of which a temperature is
fitted and curves are made: they are in memory then."""


@dataclasses.dataclass(frozen=True)
class SliceScores:
    """How a classifier did on a slice.

    Args:
        feature: See `Slice`.
        value: See `Slice`.
        images: How many there are.
        top1_error: Share that was not recognised.
        interval: Its 95% interval, Wilson's.
        comparison: With another classifier on the same images, at a confidence that
            holds for all slices together; None without another.
    """

    feature: str
    value: str
    images: int
    top1_error: float
    interval: Interval
    comparison: Comparison | None = None

    @property
    def name(self) -> str:
        """The feature and its value."""
        return f"{self.feature} {self.value}"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What was found about a classifier.

    Args:
        metrics: Errors, loss, confusions, the hardest mistakes; its rate is not that of
            the network.
        outcomes: How each image went.
        scores: See `pipelines.evaluation.scores.scores`.
        intervals: Their 95% bootstrap intervals, by name.
        classes: How each class went.
        slices: How images with something in common went.
        calibration: None where there are too many probabilities or too few images.
        comparison: With another classifier; None without one.
        curves: How each class is ranked; None where there are too many probabilities.
    """

    metrics: Metrics
    outcomes: Outcomes
    scores: dict[str, float]
    intervals: dict[str, Interval]
    classes: ClassScores
    slices: tuple[SliceScores, ...]
    calibration: Calibration | None
    comparison: Comparison | None
    curves: Curves | None

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        slices: Iterable[Slice] = (),
        other: Predictions | None = None,
    ) -> "Judgement":
        """Computes everything of a classifier's predictions.

        Args:
            predictions: What it made of the images.
            slices: Which of them have something in common.
            other: What another classifier made of the same images.
        """
        count = predictions.logarithms.shape[1]
        outcomes = Outcomes.of(predictions.chunks())
        theirs = Outcomes.of(other.chunks()) if other else None
        metrics = tallied(predictions.chunks(), count)
        hardest = tuple(
            dataclasses.replace(one, index=int(predictions.records[one.index]))
            for one in metrics.hardest
        )
        slices = tuple(slices)
        calibration = curves = None
        if predictions.logarithms.size <= MOST_CALIBRATED:
            calibration = Calibration.of(
                predictions.logarithms, predictions.labels, predictions.records
            )
            curves = Curves.of(predictions.logarithms, predictions.labels)
        return cls(
            metrics=dataclasses.replace(metrics, hardest=hardest),
            outcomes=outcomes,
            scores=scores(outcomes, count),
            intervals=bootstrap(
                functools.partial(scores, outcomes, count), len(outcomes.labels)
            ),
            classes=class_scores(outcomes, count),
            slices=tuple(
                _slice_scores(one, outcomes, theirs, count, len(slices))
                for one in slices
            ),
            calibration=calibration,
            comparison=compare(outcomes, theirs, count) if theirs else None,
            curves=curves,
        )

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the numbers as JSON has them.

        Args:
            names: Of the classes.
        """
        classes = dataclasses.asdict(self.classes)
        columns = {name: values.tolist() for name, values in classes.items()}
        if self.curves:
            for name in ("auroc", "average_precision"):
                columns[name] = getattr(self.curves, name).tolist()
        calibration = self.calibration and {
            **dataclasses.asdict(self.calibration),
            "before": [one._asdict() for one in self.calibration.before],
            "after": [one._asdict() for one in self.calibration.after],
            "error_before": self.calibration.errors[0],
            "error_after": self.calibration.errors[1],
        }
        return {
            **self.scores,
            **(self.curves.macro() if self.curves else {}),
            "images": self.metrics.images,
            "confidence": CONFIDENCE,
            "intervals": self.intervals,
            "classes": [
                {"name": name, **{key: column[row] for key, column in columns.items()}}
                for row, name in enumerate(names)
            ],
            "slices": [dataclasses.asdict(one) for one in self.slices],
            "calibration": calibration,
            "comparison": self.comparison and dataclasses.asdict(self.comparison),
            "hardest": [dataclasses.asdict(one) for one in self.metrics.hardest],
        }


def _slice_scores(
    images: Slice,
    outcomes: Outcomes,
    theirs: Outcomes | None,
    classes: int,
    slices: int,
) -> SliceScores:
    own = outcomes.of_rows(images.rows)
    wrong, total = int((own.ranks > 0).sum()), len(own.labels)
    comparison = None
    if theirs:
        # Bonferroni's: among 20 slices one would else be worse by chance.
        confidence = 1 - (1 - CONFIDENCE) / slices
        comparison = compare(
            own, theirs.of_rows(images.rows), classes, confidence=confidence
        )
    return SliceScores(
        feature=images.feature,
        value=images.value,
        images=total,
        top1_error=wrong / total,
        interval=wilson(wrong, total),
        comparison=comparison,
    )


@dataclasses.dataclass(frozen=True)
class Judged:
    """A judgement, and of what.

    Args:
        judgement: What was found.
        names: Of the classes.
        files: The name of each image's file.
        records: Index of each image's record in the split, int64 `(images,)`.
        made_from: Fingerprints of models and examples, and whatever else decides the
            judgement, as JSON has it.
        models: What the models are called.
        baseline: What those that they were compared with are called.
    """

    judgement: Judgement
    names: tuple[str, ...]
    files: tuple[str, ...]
    records: np.ndarray
    made_from: dict[str, Any]
    models: tuple[str, ...]
    baseline: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Threshold:
    """What a score must not exceed, or fall below.

    Args:
        name: A score, `"calibration_error"`, or `"slices.top1_error"`: of every slice.
        is_limit: Whether the score may not be above; else it may not be below.
        bound: The value.
    """

    name: str
    is_limit: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """Returns what `NAME<=VALUE` or `NAME>=VALUE` says.

        Raises:
            UserError: If it says something else, or there is no such score.

        Example:

        >>> Threshold.parse("top1_error<=0.25")
        Threshold(name='top1_error', is_limit=True, bound=0.25)
        """
        match = re.fullmatch(r"\s*([\w.]+)\s*([<>])=\s*([-+.\deE]+)\s*", text)
        try:
            name, sign, bound = match.groups() if match else ("", "", "")
            value = float(bound)
        except ValueError:
            raise UserError(
                f"--bless={text} is no threshold; write --bless='top1_error<=0.25'"
            ) from None
        if name not in _NAMES:
            raise unknown("score", name, _NAMES)
        return cls(name, sign == "<", value)

    def check(self, name: str, value: float) -> "Check":
        """Checks a score, or one of several, that is called `name`."""
        return Check(
            value <= self.bound if self.is_limit else value >= self.bound,
            f"{name} is {value:.4g}, asked for is "
            f"{'at most' if self.is_limit else 'at least'} {self.bound:g}",
        )


_NAMES = (
    *("top1_error", "top5_error", "loss"),
    *("macro_precision", "macro_recall", "macro_f1"),
    *("calibration_error", "slices.top1_error"),
)


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was asked for.

    Args:
        passed: Whether it is so.
        sentence: What is so.
    """

    passed: bool
    sentence: str


def bless(judgement: Judgement, thresholds: Iterable[Threshold]) -> list[Check]:
    """Checks whether a classifier is good enough.

    It may not be worse than the other classifier it was compared with beyond the
    interval of the difference, overall and on every slice, and must keep to the
    thresholds.

    Args:
        judgement: What was found.
        thresholds: What is asked for.
    """
    checks = [
        one.check(name, value)
        for one in thresholds
        for name, value in _values(judgement, one.name)
    ]
    compared = [("", judgement.comparison)]
    compared += [(f" of {one.name}", one.comparison) for one in judgement.slices]
    for where, comparison in compared:
        if comparison:
            difference = comparison.differences["top1_error"]
            low, high = comparison.intervals["top1_error"]
            checks.append(
                Check(
                    low <= 0,
                    f"the top-1 error{where} less the other model's is "
                    f"{difference:+.2%}, interval {low:+.2%} to {high:+.2%}",
                )
            )
    return checks


def _values(judgement: Judgement, name: str) -> Iterator[tuple[str, float]]:
    if name == "slices.top1_error":
        for one in judgement.slices:
            yield f"the top1_error of {one.name}", one.top1_error
    elif name == "calibration_error":
        calibration = judgement.calibration
        yield name, calibration.errors[0] if calibration else float("nan")
    else:
        yield name, judgement.scores[name]
