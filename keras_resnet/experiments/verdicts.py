"""From the effects of each seed to a verdict."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from keras_resnet.experiments.claim import Claim, Contrast

CONFIRMED = "confirmed"
CONTRADICTED = "contradicted"
NOT_SHOWN = "not shown at this scale"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of a contrast.

    Args:
        contrast: The statistic that was fixed beforehand.
        effect: Its mean over the seeds.
        interval: Where the mean lies at the contrast's level.
        verdict: One of the three.
    """

    contrast: Contrast
    effect: float
    interval: tuple[float, float]
    verdict: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a claim.

    Args:
        verdict: `"confirmed"` if all findings are, `"contradicted"` if one is, else
            `"not shown at this scale"`.
        findings: One for each contrast.
        seeds: How often it was measured.
    """

    verdict: str
    findings: tuple[Finding, ...]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What came of a claim at one budget.

    Args:
        claim: The claim.
        budget: The budget's name.
        effects: Those of each seed, by name.
        seconds: What measuring took, trainings apart.
    """

    claim: Claim
    budget: str
    effects: tuple[Mapping[str, float], ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """What it came to."""
        return judge(self.claim, self.effects)


def judge(claim: Claim, effects: Sequence[Mapping[str, float]]) -> Verdict:
    """Judges a claim by what was measured.

    Args:
        claim: The claim.
        effects: Those of each seed, by name.

    Returns:
        The `Verdict`.

    Raises:
        ValueError: If there are fewer than two seeds, of which no interval can be had.

    Example:

    >>> judge(CLAIMS["short_paths"], [{"relative_length": 0.4}] * 5).verdict
    'confirmed'
    """
    if len(effects) < 2:
        raise ValueError(
            f"Claim {claim.name!r} wants an interval over seeds, and that takes at "
            f"least 2, got {len(effects)}."
        )
    findings = tuple(
        _finding(contrast, [one[contrast.effect] for one in effects])
        for contrast in claim.contrasts
    )
    verdicts = {finding.verdict for finding in findings}
    verdict = NOT_SHOWN
    if CONTRADICTED in verdicts:
        verdict = CONTRADICTED
    elif verdicts == {CONFIRMED}:
        verdict = CONFIRMED
    return Verdict(verdict, findings, len(effects))


def _finding(contrast: Contrast, values: Sequence[float]) -> Finding:
    mean, (low, high) = interval(values, contrast.level)
    is_above, is_below = low > contrast.threshold, high < contrast.threshold
    if contrast.direction == "below":
        is_above, is_below = is_below, is_above
    verdict = CONFIRMED if is_above else CONTRADICTED if is_below else NOT_SHOWN
    return Finding(contrast, mean, (low, high), verdict)


def interval(
    values: Sequence[float], level: float
) -> tuple[float, tuple[float, float]]:
    """Returns the mean and Student's two-sided interval of it.

    What is not a number makes an interval that holds everything.

    Example:

    >>> interval([1.0, 2.0, 3.0], 0.95)
    (2.0, (-0.484..., 4.484...))
    """
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if not math.isfinite(mean) or not math.isfinite(error):
        return mean, (-math.inf, math.inf)
    reach = _student_quantile((1 + level) / 2, len(values) - 1) * error
    return mean, (mean - reach, mean + reach)


def _student_quantile(probability: float, freedom: int) -> float:
    """Returns where Student's distribution has `probability` below, by bisection."""
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
    scale /= math.sqrt(freedom * math.pi)

    def below(end: float) -> float:
        # With x = sqrt(freedom) tan(angle), the density is a power of a cosine.
        angles = np.linspace(0, math.atan(end / math.sqrt(freedom)), 2001)
        heights = np.cos(angles) ** (freedom - 1)
        return 0.5 + scale * math.sqrt(freedom) * float(np.trapezoid(heights, angles))

    low, high = 0.0, 1e4
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return high
