"""Lengths of training as people write them: `"30 epochs"`, `"400 steps"`, `"50%"`."""

import re

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(epochs?|steps?|%)")


def in_steps(
    span: str, steps_per_epoch: int, total_steps: int, batch_ratio: float = 1.0
) -> int:
    """Returns how many steps a span is.

    Args:
        span: A number of epochs, of steps, or a percentage of the run; empty for none.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the run.
        batch_ratio: Images per step of this run for each image per step of the run
            that the span was written for; a span in steps is divided by it.

    Raises:
        ValueError: If it is not a span.

    Example:

    >>> in_steps("5 epochs", steps_per_epoch=351, total_steps=63882)
    1755
    """
    if not span:
        return 0
    match = _SPAN.fullmatch(span.strip())
    if match is None:
        raise ValueError(
            f"{span!r} is not a length of training; write one such as '30 epochs', "
            "'400 steps' or '50%'"
        )
    number, unit = float(match[1]), match[2]
    if unit == "%":
        return round(number / 100 * total_steps)
    if unit.startswith("epoch"):
        return round(number * steps_per_epoch)
    return round(number / batch_ratio)
