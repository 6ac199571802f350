"""Learning-rate schedules by name, in steps."""

import itertools
from collections.abc import Callable

import keras

from pipelines.errors import UserError
from pipelines.training.recipes import Recipe


def steps(
    recipe: Recipe, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Divides the rate by 10 after each of `recipe.drops` (sections 3.4 and 4.2).

    Before that, `recipe.warmup_steps` steps run at `recipe.warmup_learning_rate`.

    Raises:
        UserError: If the run is so short that the changes would coincide.
    """
    boundaries = [round(share * total_steps) for share in recipe.drops]
    rates = [recipe.learning_rate * 0.1**n for n in range(len(recipe.drops) + 1)]
    if recipe.warmup_steps:
        boundaries.insert(0, recipe.warmup_steps)
        rates.insert(0, recipe.warmup_learning_rate)
    if any(b <= a for a, b in itertools.pairwise((0, *boundaries))):
        raise UserError(
            f"{total_steps} steps are too few for the rates to change after "
            f"{', '.join(map(str, boundaries))} steps; give more --epochs, or another "
            "--set=warmup_steps=N or --set=drops=SHARES"
        )
    # Keras changes the rate after, not at, a boundary.
    boundaries = [boundary - 1 for boundary in boundaries]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


def one_cycle(
    recipe: Recipe, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rises linearly for a quarter of the run, then falls to zero along a cosine."""
    rising = max(1, total_steps // 4)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 25,
        warmup_target=recipe.learning_rate,
        warmup_steps=rising,
        decay_steps=max(1, total_steps - rising),
    )


SCHEDULES: dict[
    str, Callable[[Recipe, int], keras.optimizers.schedules.LearningRateSchedule]
] = {
    "steps": steps,
    "one_cycle": one_cycle,
}
"""The schedules by name."""
