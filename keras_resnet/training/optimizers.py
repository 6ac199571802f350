"""The optimizer of the paper."""

from typing import Any

import keras

from keras_resnet.training.recipe import Recipe
from keras_resnet.training.schedules import make_schedule


@keras.saving.register_keras_serializable(package="keras_resnet")
class SGDWithL2(keras.optimizers.SGD):
    """SGD whose gradients include that of `l2 / 2 * |weights|^2`, as in Caffe.

    Keras' own `weight_decay` shrinks the weights beside the gradient step, so that
    momentum does not accumulate it; that is another method (1711.05101).

    Args:
        l2: Weight decay in the paper's sense, for example 1e-4.
        **kwargs: As for `keras.optimizers.SGD`.

    Example:

    >>> SGDWithL2(learning_rate=0.1, momentum=0.9, l2=1e-4)
    """

    def __init__(self, *, l2: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Applies one step to one variable."""
        decay = keras.ops.cast(variable, gradient.dtype) * self.l2
        super().update_step(gradient + decay, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this optimizer."""
        return {**super().get_config(), "l2": self.l2}


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Returns the recipe's optimizer with its schedule."""
    return SGDWithL2(
        learning_rate=make_schedule(recipe, steps_per_epoch),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        l2=recipe.weight_decay,
    )
