"""A run of a search, and what came of it."""

import dataclasses

from pipelines.runs.request import RunConfig


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point of the search space and what came of it.

    Args:
        number: Its place in the search, counted from 1.
        config: What was trained.
        top1_error: Share of validation images that are not classified right, after the
            last epoch; infinite where the loss stopped being a number.
        parameters: Trainable parameters of the network.
        seconds: Time of the training steps.
    """

    number: int
    config: RunConfig
    top1_error: float
    parameters: int
    seconds: float
