"""What the search varies: one frozen value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras_tuner

from pipelines.runs.request import RunConfig


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The networks and learning rates that a search draws from.

    Args:
        blocks: Choices for the number of blocks in every stage, which decides the
            depth; none to leave the network's.
        shortcuts: Choices for the shortcut option (1512.03385, section 3.3); none to
            leave the network's.
        learning_rate_factors: Least and greatest learning rate in units of the
            recipe's; drawn log-uniformly.

    Example:

    >>> space = SearchSpace(blocks=(3, 5, 7), shortcuts=("B",))
    """

    blocks: tuple[int, ...] = (1, 2, 3)
    shortcuts: tuple[str, ...] = ("A", "B", "C")
    learning_rate_factors: tuple[float, float] = (1 / 8, 4)

    def hyperparameters(self, base: RunConfig) -> keras_tuner.HyperParameters:
        """Returns the space in KerasTuner's terms.

        Args:
            base: What every trial starts from.
        """
        least, greatest = (
            factor * base.recipe.learning_rate for factor in self.learning_rate_factors
        )
        hyperparameters = keras_tuner.HyperParameters()
        if self.blocks:
            hyperparameters.Choice("blocks", list(self.blocks))
        if self.shortcuts:
            hyperparameters.Choice("shortcut", list(self.shortcuts))
        hyperparameters.Float("learning_rate", least, greatest, sampling="log")
        return hyperparameters


def configure(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Returns what a trial is asked to do.

    Args:
        base: What every trial starts from.
        values: A value for each name in `SearchSpace.hyperparameters`.

    Returns:
        `base` with these values. The learning rate has three significant digits, so
        that the rate that people read is the rate that was used.

    Example:

    >>> values = {"blocks": 2, "shortcut": "C", "learning_rate": 0.1}
    >>> configure(base, values).network.blocks_per_stage
    (2, 2, 2)
    """
    network: dict[str, Any] = {}
    if "blocks" in values:
        network["blocks_per_stage"] = (values["blocks"],) * len(base.network.filters)
    if "shortcut" in values:
        network["shortcut"] = values["shortcut"]
    return dataclasses.replace(
        base,
        network=dataclasses.replace(base.network, **network),
        recipe=dataclasses.replace(
            base.recipe, learning_rate=float(f"{values['learning_rate']:.3g}")
        ),
    )
