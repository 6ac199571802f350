"""What a claim is: one frozen value (claims.py has the table)."""

import dataclasses
import hashlib
import json
from typing import Any

BUDGETS = ("miniature", "hours", "paper")
"""How much a claim may cost: minutes, hours on a CPU, or what the paper spent."""


@dataclasses.dataclass(frozen=True)
class Published:
    """What a source says.

    Args:
        what: What was measured.
        value: The number or words, as printed.
        where: Section, table or figure.
        checked: Whether it was compared with the source's text.
    """

    what: str
    value: str
    where: str
    checked: bool = True


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A statistic, and what it must be.

    It is shown if the interval of its mean over the seeds lies wholly on the side of
    `threshold` that `direction` names, and contradicted if on the other one.

    Args:
        effect: What the measurement calls it.
        meaning: What it is, in words.
        direction: `"above"` or `"below"`.
        threshold: The bound.
        level: Of the two-sided interval (Student's t over the seeds).
    """

    effect: str
    meaning: str
    direction: str
    threshold: float
    level: float = 0.95


@dataclasses.dataclass(frozen=True)
class Training:
    """A network that a claim needs trained, once for each seed.

    Args:
        name: What the measurement calls it.
        network: A name in `keras_resnet.NETWORKS`.
        recipe: A name in `keras_resnet.training.RECIPES`.
        overrides: `KEY=VALUE` texts, as `--set` takes them.
        images: Training images to use, the first of each class; 0 for all.
    """

    name: str
    network: str
    recipe: str
    overrides: tuple[str, ...] = ()
    images: int = 0


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a claim is measured with at one cost.

    Args:
        seeds: How often it is measured; each time with other initial weights, images or
            draws, as `unit` says.
        unit: What differs from seed to seed.
        minutes: About how long all seeds take on two CPU cores.
        settings: Arguments of the measurement.
        trainings: Networks that are trained first.
    """

    seeds: int
    unit: str
    minutes: float
    settings: tuple[tuple[str, Any], ...] = ()
    trainings: tuple[Training, ...] = ()


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says, made testable.

    Args:
        name: Its name in the table.
        sentence: What is claimed.
        source: Paper and section.
        published: The numbers or words that the source gives.
        measure: A name in `keras_resnet.experiments.measurements.MEASURES`.
        contrasts: The statistics; all must be shown.
        budgets: What it is measured with, by name in `BUDGETS`.
        tried: What was tried before the setting was fixed.
        revised: How the statistic was changed after a result was seen; empty if never.
        remark: What the result shows beside the verdict, added after it was seen.
        log_axes: Axes of the figure that are logarithmic, such as `"y"` or `"xy"`.
    """

    name: str
    sentence: str
    source: str
    published: tuple[Published, ...]
    measure: str
    contrasts: tuple[Contrast, ...]
    budgets: tuple[tuple[str, Budget], ...]
    tried: str = "nothing: one trial seed was looked at, and nothing changed after it"
    revised: str = ""
    remark: str = ""
    log_axes: str = ""

    def version(self, budget: str) -> str:
        """Returns what changes when the setting of a budget does, 12 digits.

        Example:

        >>> CLAIMS["shattered_gradients"].version("miniature")
        '3a1c...'
        """
        decisive = (self.measure, self.contrasts, dict(self.budgets)[budget])
        text = json.dumps(decisive, default=dataclasses.asdict, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
