"""Learning-rate schedules by name, in steps."""

import itertools
from collections.abc import Callable

import keras

from keras_resnet.training.recipe import Recipe
from keras_resnet.training.spans import in_steps

Schedule = keras.optimizers.schedules.LearningRateSchedule


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """Returns the recipe's learning rate as a function of the step.

    Args:
        recipe: The recipe.
        steps_per_epoch: Steps of an epoch.

    Raises:
        ValueError: If the run is too short for the schedule.

    Example:

    >>> float(make_schedule(RECIPES["he2015_cifar"], steps_per_epoch=351)(40_000))
    0.01
    """
    return SCHEDULES[recipe.schedule](recipe, steps_per_epoch)


def steps(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """Multiplies the rate after each of `recipe.drops` (sections 3.4 and 4.2).

    Before that, it warms up.

    Raises:
        ValueError: If the run is so short that the changes would coincide.
    """
    total_steps = recipe.epochs * steps_per_epoch
    boundaries = [in_steps(drop, steps_per_epoch, total_steps) for drop in recipe.drops]
    rates = [
        recipe.learning_rate * recipe.drop_factor**n
        for n in range(len(recipe.drops) + 1)
    ]
    if recipe.warmup:
        boundaries.insert(0, in_steps(recipe.warmup, steps_per_epoch, total_steps))
        rates.insert(0, recipe.learning_rate * recipe.warmup_from)
    if any(b <= a for a, b in itertools.pairwise((0, *boundaries))):
        raise ValueError(
            f"{total_steps} steps are too few for the rates to change after "
            f"{', '.join(map(str, boundaries))} steps; give more --epochs, or another "
            "--set=warmup=SPAN or --set=drops=SPANS"
        )
    # Keras changes the rate after, not at, a boundary.
    boundaries = [boundary - 1 for boundary in boundaries]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


def one_cycle(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """Rises linearly for a quarter of the run, then falls to zero along a cosine."""
    total_steps = recipe.epochs * steps_per_epoch
    rising = max(1, total_steps // 4)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 25,
        warmup_target=recipe.learning_rate,
        warmup_steps=rising,
        decay_steps=max(1, total_steps - rising),
    )


SCHEDULES: dict[str, Callable[[Recipe, int], Schedule]] = {
    "steps": steps,
    "one_cycle": one_cycle,
}
"""The schedules by name."""
