"""Recipe -> loss, schedule, optimizer, as the builder makes models of specs."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_resnet.training.losses import LOSSES
from keras_resnet.training.optimizers import BIASES, NORMS, OPTIMIZERS, ByVariable
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.schedules import Plan, Plateau, Schedule
from keras_resnet.training.spans import in_steps

OWN_WARMUPS: dict[str, dict[str, Any]] = {
    "one_cycle": {"warmup": "25%", "warmup_shape": "linear", "warmup_from": 1 / 25}
}
"""How schedules rise for which the recipe names no warm-up (1708.07120)."""


def make_loss(recipe: Recipe, classes: int) -> Callable[[Any, Any], Any]:
    """Returns the recipe's loss.

    Args:
        recipe: The recipe; its `loss` and `label_smoothing` count.
        classes: Number of classes.

    Returns:
        A function of labels and logits. Labels are class indices, integer `(batch,)`,
        or each class's share of the image, float `(batch, classes)`; logits are float
        `(batch, classes)`. It returns the loss of each image, float32 `(batch,)`,
        computed in float32 whatever the logits are.

    Example:

    >>> loss = make_loss(RECIPES["he2015"], classes=10)
    >>> float(loss(np.array([3]), np.zeros((1, 10)))[0])
    2.3025851249694824
    """
    loss = LOSSES[recipe.loss]

    def per_image(labels: Any, logits: Any) -> Any:
        shares = ops.cast(labels, "float32")
        if len(labels.shape) == 1:
            shares = ops.one_hot(ops.cast(labels, "int32"), classes, dtype="float32")
        return loss(shares, ops.cast(logits, "float32"), recipe.label_smoothing)

    return per_image


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
    plan = _plan(recipe, steps_per_epoch)
    if recipe.schedule == "plateau":
        return Plateau(plan, recipe.patience)
    return Schedule(plan)


def _plan(recipe: Recipe, steps_per_epoch: int) -> Plan:
    if not recipe.warmup:
        own = OWN_WARMUPS.get(recipe.schedule, {})
        recipe = dataclasses.replace(recipe, **own)
    total = recipe.epochs * steps_per_epoch

    def steps(span: str) -> int:
        return in_steps(span, steps_per_epoch, total, batch_ratio=recipe.scale)

    warmup = steps(recipe.warmup)
    warmup_from = recipe.warmup_from
    if not recipe.warmup_scales:
        warmup_from = min(warmup_from / recipe.scale, 1.0)
    drops = tuple(map(steps, recipe.drops)) if recipe.schedule == "steps" else ()
    if any(b <= a for a, b in itertools.pairwise((warmup, *drops, total))):
        changes = (warmup, *drops) if recipe.warmup else drops
        raise ValueError(
            f"{total} steps are too few for the rate to change after "
            f"{', '.join(map(str, changes))} steps; give more 'epochs', or another "
            "'warmup' or 'drops'"
        )
    return Plan(
        shape=recipe.schedule,
        peak_rate=recipe.peak_rate,
        total=total,
        warmup=warmup,
        warmup_shape=recipe.warmup_shape,
        warmup_from=warmup_from,
        held=max(steps(recipe.rate_span), 1),
        drops=drops,
        drop_factor=recipe.drop_factor,
        final_rate=recipe.final_rate,
    )


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> ByVariable:
    """Returns the recipe's optimizer with its schedule.

    Args:
        recipe: The recipe.
        steps_per_epoch: Steps of an epoch.

    Raises:
        ValueError: If Nesterov's momentum is asked of an optimizer that has none, or if
            the run is too short for the schedule.

    Example:

    >>> optimizer = make_optimizer(RECIPES["he2015"], steps_per_epoch=5004)
    """
    optimizer = OPTIMIZERS[recipe.optimizer]
    if recipe.nesterov and "nesterov" not in optimizer.arguments:
        raise ValueError(
            f"'nesterov' must be False for optimizer {recipe.optimizer!r}, which has "
            "no such form"
        )
    undecayed = (() if recipe.decay_norms else NORMS) + (
        () if recipe.decay_biases else BIASES
    )
    return optimizer(
        make_schedule(recipe, steps_per_epoch),
        undecayed=undecayed,
        global_clipnorm=recipe.clip_norm or None,
        **{
            name: getattr(recipe, name)
            for name in optimizer.arguments
            if hasattr(recipe, name)
        },
    )
