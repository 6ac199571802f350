"""What a search was asked for, its runs, and what came of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipelines.runs.request import RunConfig


@dataclasses.dataclass(frozen=True)
class SearchRequest:
    """What a search was asked for beside what its trials start from.

    Args:
        space: What is varied, as `keras_resnet.tuning.Space` reads it.
        tuner: A name in `pipelines.tuning.oracles.ORACLES`.
        objective: What is minimised, after the last epoch of a trial, on the validation
            images: `"top1_error"`, `"top5_error"` or `"loss"`.
        limit: What networks may cost, as `pipelines.tuning.limits` reads it.
    """

    space: str = "default"
    tuner: str = "random"
    objective: str = "top1_error"
    limit: str = ""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point of the search space and what came of it.

    Args:
        number: Its place in the search, counted from 1.
        config: What was trained.
        values: What was drawn for it, by name.
        error: What is minimised, after the last epoch; the worst there is where it
            failed.
        epochs: How many it was trained.
        costs: What its network costs, by the names of `pipelines.tuning.limits.COSTS`.
        seconds: Time of the training steps.
        failure: Why it failed; empty if it did not.
    """

    number: int
    config: RunConfig
    values: Mapping[str, Any]
    error: float
    epochs: int
    costs: Mapping[str, float]
    seconds: float
    failure: str = ""
