"""The learning rate as a function of the step, by the name of its shape."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_resnet.training.recipe import Recipe
from keras_resnet.training.spans import in_steps


class Plan(NamedTuple):
    """A recipe's spans in the steps of one run.

    Args:
        total: Steps of the run.
        warmup: Steps of the warm-up.
        drops: Steps before each drop, from the beginning of the run.
    """

    total: int
    warmup: int
    drops: tuple[int, ...]


def _descent(step: Any, plan: Plan) -> Any:
    """Returns the share of the steps after the warm-up that are done."""
    done = ops.cast(step - plan.warmup, "float32") / (plan.total - plan.warmup)
    return ops.clip(done, 0.0, 1.0)


def _constant(step: Any, recipe: Recipe, plan: Plan) -> Any:
    return ops.ones_like(step, dtype="float32")


def _steps(step: Any, recipe: Recipe, plan: Plan) -> Any:
    share = _constant(step, recipe, plan)
    for number, drop in enumerate(plan.drops, start=1):
        share = ops.where(step >= drop, recipe.drop_factor**number, share)
    return share


def _cosine(step: Any, recipe: Recipe, plan: Plan) -> Any:
    risen = (1 + ops.cos(math.pi * _descent(step, plan))) / 2
    return recipe.final_rate + (1 - recipe.final_rate) * risen


def _linear(step: Any, recipe: Recipe, plan: Plan) -> Any:
    return 1 - (1 - recipe.final_rate) * _descent(step, plan)


Shape = Callable[[Any, Recipe, Plan], Any]
"""From a step, an integer tensor, to a share of the recipe's peak rate, float32."""

SCHEDULES: dict[str, Shape] = {
    "constant": _constant,
    "steps": _steps,
    "cosine": _cosine,
    "linear": _linear,
    "one_cycle": _cosine,
    "plateau": _constant,
}
"""The shapes after the warm-up. Drops count from the beginning of the run, falls from
the end of the warm-up."""

OWN_WARMUPS: dict[str, dict[str, Any]] = {
    "one_cycle": {"warmup": "25%", "warmup_shape": "linear", "warmup_from": 1 / 25}
}
"""How schedules rise for which the recipe names no warm-up (1708.07120)."""

WARMUPS: dict[str, Shape] = {
    "constant": lambda step, recipe, plan: recipe.warmup_from,
    "linear": lambda step, recipe, plan: (
        recipe.warmup_from
        + (1 - recipe.warmup_from) * ops.cast(step, "float32") / max(plan.warmup, 1)
    ),
}
"""The shapes of the warm-up (1706.02677, section 2.2)."""


@keras.saving.register_keras_serializable(package="keras_resnet")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A recipe's learning rate in a run of so many steps: its warm-up, then its shape.

    Takes a step, an integer or an integer tensor of any shape, and returns float32 of
    that shape. It may be called in a compiled step of any backend.

    Args:
        recipe: The recipe, or the dictionary that `get_config` made of it.
        steps_per_epoch: Steps of an epoch.

    Raises:
        ValueError: If the run is too short for the recipe's spans.

    Example:

    >>> float(Schedule(RECIPES["he2015_cifar"], steps_per_epoch=351)(40_000))
    0.01
    """

    def __init__(self, recipe: Recipe | dict[str, Any], steps_per_epoch: int) -> None:
        if isinstance(recipe, dict):
            recipe = Recipe.from_json(recipe)
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        own = {} if recipe.warmup else OWN_WARMUPS.get(recipe.schedule, {})
        self._warmed = dataclasses.replace(recipe, **own)
        self.plan = _plan(self._warmed, steps_per_epoch)

    def __call__(self, step: Any) -> Any:
        """Returns the rate of the step that follows `step` steps."""
        step = ops.convert_to_tensor(step)
        recipe, plan = self._warmed, self.plan
        share = ops.where(
            step < plan.warmup,
            WARMUPS[recipe.warmup_shape](step, recipe, plan),
            SCHEDULES[recipe.schedule](step, recipe, plan),
        )
        return recipe.peak_rate * share

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this schedule."""
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "steps_per_epoch": self.steps_per_epoch,
        }


@keras.saving.register_keras_serializable(package="keras_resnet")
class Plateau(Schedule):
    """Divides the rate when the validation error no longer falls (section 3.4).

    Tell it of every epoch's error with `observe`. After `recipe.patience` epochs
    without a better one, the rate is multiplied by `recipe.drop_factor`, as in Keras'
    `ReduceLROnPlateau` with `min_delta=0`.

    Args:
        recipe: As for `Schedule`.
        steps_per_epoch: As for `Schedule`.

    Attributes:
        factor: float32 variable, the product of all drops so far. It is read in the
            compiled step. A step that is a pure function, as under JAX, must get it as
            an argument.

    Example:

    >>> schedule = Plateau(recipe, steps_per_epoch=5004)
    >>> schedule.observe(validation_error=0.31)
    """

    def __init__(self, recipe: Recipe | dict[str, Any], steps_per_epoch: int) -> None:
        super().__init__(recipe, steps_per_epoch)
        self.factor = keras.Variable(
            1.0, trainable=False, dtype="float32", name="plateau_factor"
        )
        self.restore({"best": None, "waited": 0, "drops": 0})

    def __call__(self, step: Any) -> Any:
        """Returns the rate, with the drops so far."""
        return super().__call__(step) * self.factor

    def observe(self, validation_error: float) -> None:
        """Takes note of an epoch's validation error, and drops the rate if it is time.

        Args:
            validation_error: The share of wrong answers, or any number that should
                fall. One that is not a number is not better.
        """
        best, waited, drops = self._best, self._waited + 1, self._drops
        if validation_error < (math.inf if best is None else best):
            best, waited = float(validation_error), 0
        if waited >= self.recipe.patience:
            waited, drops = 0, drops + 1
        self.restore({"best": best, "waited": waited, "drops": drops})

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold, as JSON has it."""
        return {"best": self._best, "waited": self._waited, "drops": self._drops}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self._best: float | None = state["best"]
        self._waited: int = state["waited"]
        self._drops: int = state["drops"]
        self.factor.assign(self.recipe.drop_factor**self._drops)


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """Returns the recipe's learning rate as a function of the step.

    Args:
        recipe: The recipe. Its spans in steps and its rate are scaled to its batch
            size, see `Recipe.scale`.
        steps_per_epoch: Steps of an epoch.

    Returns:
        A `Schedule`; for `schedule="plateau"` a `Plateau`, which must be told of the
        validation errors.

    Raises:
        ValueError: If the run is too short for the recipe's spans.

    Example:

    >>> float(make_schedule(RECIPES["he2015_cifar"], steps_per_epoch=351)(40_000))
    0.01
    """
    kind = Plateau if recipe.schedule == "plateau" else Schedule
    return kind(recipe, steps_per_epoch)


def _plan(recipe: Recipe, steps_per_epoch: int) -> Plan:
    total = recipe.epochs * steps_per_epoch

    def steps(span: str) -> int:
        return in_steps(span, steps_per_epoch, total, batch_ratio=recipe.scale)

    drops = recipe.drops if recipe.schedule == "steps" else ()
    plan = Plan(total, steps(recipe.warmup), tuple(map(steps, drops)))
    if any(b <= a for a, b in itertools.pairwise((plan.warmup, *plan.drops, total))):
        changes = (plan.warmup, *plan.drops) if recipe.warmup else plan.drops
        raise ValueError(
            f"{total} steps are too few for the rate to change after "
            f"{', '.join(map(str, changes))} steps; give more 'epochs', or another "
            "'warmup' or 'drops'"
        )
    return plan
