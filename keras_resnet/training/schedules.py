"""The learning rate as a function of the step, by the name of its shape."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


@dataclasses.dataclass(frozen=True)
class Plan:
    """A learning rate in the steps of one run.

    Args:
        shape: A name in `SCHEDULES`.
        peak_rate: The highest rate.
        total: Steps of the run.
        warmup: Steps of the warm-up.
        warmup_shape: A name in `WARMUPS`.
        warmup_from: The rate at which it begins, as a share of `peak_rate`.
        held: Steps in a row that have the rate of the first of them.
        drops: Steps before each drop, from the beginning of the run.
        drop_factor: What a drop multiplies the rate by.
        final_rate: The rate at which falling shapes end, as a share of `peak_rate`.
    """

    shape: str
    peak_rate: float
    total: int
    warmup: int = 0
    warmup_shape: str = "linear"
    warmup_from: float = 0.0
    held: int = 1
    drops: Sequence[int] = ()
    drop_factor: float = 0.1
    final_rate: float = 0.0


def _descent(step: Any, plan: Plan) -> Any:
    """Returns the share of the steps after the warm-up that are done."""
    done = ops.cast(step - plan.warmup, "float32") / (plan.total - plan.warmup)
    return ops.clip(done, 0.0, 1.0)


def _constant(step: Any, plan: Plan) -> Any:
    return ops.ones_like(step, dtype="float32")


def _steps(step: Any, plan: Plan) -> Any:
    share = _constant(step, plan)
    for number, drop in enumerate(plan.drops, start=1):
        share = ops.where(step >= drop, plan.drop_factor**number, share)
    return share


def _cosine(step: Any, plan: Plan) -> Any:
    risen = (1 + ops.cos(math.pi * _descent(step, plan))) / 2
    return plan.final_rate + (1 - plan.final_rate) * risen


def _whole_cosine(step: Any, plan: Plan) -> Any:
    return _cosine(step, dataclasses.replace(plan, warmup=0))


def _linear(step: Any, plan: Plan) -> Any:
    return 1 - (1 - plan.final_rate) * _descent(step, plan)


Shape = Callable[[Any, Plan], Any]
"""From a step, an integer tensor, to a share of the peak rate, float32."""

SCHEDULES: dict[str, Shape] = {
    "constant": _constant,
    "steps": _steps,
    "cosine": _cosine,
    "whole_cosine": _whole_cosine,
    "linear": _linear,
    "one_cycle": _cosine,
    "plateau": _constant,
}
"""The shapes after the warm-up. Drops and `"whole_cosine"` count from the beginning of
the run, other falls from the end of the warm-up."""

WARMUPS: dict[str, Shape] = {
    "constant": lambda step, plan: plan.warmup_from,
    "linear": lambda step, plan: (
        plan.warmup_from
        + (1 - plan.warmup_from) * ops.cast(step, "float32") / max(plan.warmup, 1)
    ),
}
"""The shapes of the warm-up (1706.02677, section 2.2)."""


@keras.saving.register_keras_serializable(package="keras_resnet")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate by the step: its warm-up, then its shape.

    Takes a step, an integer or an integer tensor of any shape, and returns float32 of
    that shape. It may be called in a compiled step of any backend.

    Args:
        plan: The plan, or the dictionary that `get_config` made of it.

    Example:

    >>> float(Schedule(Plan("cosine", peak_rate=0.2, total=1000))(500))
    0.1
    """

    def __init__(self, plan: Plan | dict[str, Any]) -> None:
        self.plan = Plan(**plan) if isinstance(plan, dict) else plan

    def __call__(self, step: Any) -> Any:
        """Returns the rate of the step that follows `step` steps."""
        step, plan = ops.convert_to_tensor(step), self.plan
        step = step - step % plan.held
        share = ops.where(
            step < plan.warmup,
            WARMUPS[plan.warmup_shape](step, plan),
            SCHEDULES[plan.shape](step, plan),
        )
        return plan.peak_rate * share

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this schedule."""
        return {"plan": dataclasses.asdict(self.plan)}


@keras.saving.register_keras_serializable(package="keras_resnet")
class Plateau(Schedule):
    """Divides the rate when the validation error no longer falls (section 3.4).

    Tell it of every epoch's error with `observe`. After `patience` epochs without a
    better one, the rate is multiplied by the plan's `drop_factor`, as in Keras'
    `ReduceLROnPlateau` with `min_delta=0`.

    Args:
        plan: As for `Schedule`.
        patience: Epochs without a better error.

    Attributes:
        factor: float32 variable, the product of all drops so far. It is read in the
            compiled step. A step that is a pure function, as under JAX, must get it as
            an argument.

    Example:

    >>> schedule = Plateau(Plan("plateau", peak_rate=0.1, total=600_000), patience=5)
    >>> schedule.observe(validation_error=0.31)
    """

    def __init__(self, plan: Plan | dict[str, Any], patience: int) -> None:
        super().__init__(plan)
        self.patience = patience
        self.factor = keras.Variable(
            1.0, trainable=False, dtype="float32", name="plateau_factor"
        )
        self.restore({"best": None, "waited": 0, "drops": 0})

    def __call__(self, step: Any) -> Any:
        """Returns the rate, with the drops so far."""
        return super().__call__(step) * self.factor

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this schedule."""
        return {**super().get_config(), "patience": self.patience}

    def observe(self, validation_error: float) -> None:
        """Takes note of an epoch's validation error, and drops the rate if it is time.

        Args:
            validation_error: The share of wrong answers, or any number that should
                fall. One that is not a number is not better.
        """
        best, waited, drops = self._best, self._waited + 1, self._drops
        if validation_error < (math.inf if best is None else best):
            best, waited = float(validation_error), 0
        if waited >= self.patience:
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
        self.factor.assign(self.plan.drop_factor**self._drops)
