"""How gradients change weights, which weights decay, and how fast each stage learns.

[docs/optimizers.md](../../docs/optimizers.md) compares the meanings of momentum and
weight decay.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

NORMS = ("gamma", "beta")
"""Names of the scales and offsets of batch norms."""

BIASES = ("bias",)
"""Names of the biases of other layers."""


class Traits(NamedTuple):
    """How an optimizer treats one variable.

    Args:
        rate: Its learning rate as a share of the optimizer's.
        decay: Its weight decay.
        adapts: Whether LARS and LAMB adapt its rate.
    """

    rate: float
    decay: float
    adapts: bool


class ByVariable(keras.optimizers.Optimizer):
    """What the optimizers share: a learning rate and a weight decay for each variable.

    Args:
        learning_rate: A float or a `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Share of the velocity that each step keeps.
        weight_decay: Weight decay of the variables that have one.
        decay_form: One of the class's `decay_forms`.
        undecayed: Variables that have none, by the last part of their path, for example
            `("gamma", "beta", "bias")`.
        stage_rate_decay: The rate of a variable under a layer `conv5_...`, the last
            stage, is this share of the rate, of the stage before it the square, and so
            on. Layers without such a name, as the classifier, have the full rate.
        **kwargs: As for `keras.optimizers.Optimizer`.

    Raises:
        ValueError: If `decay_form` is none of the class's.
    """

    decay_forms: ClassVar[tuple[str, ...]]
    """What `decay_form` may be."""

    arguments: ClassVar[tuple[str, ...]] = (
        "momentum",
        "weight_decay",
        "decay_form",
        "undecayed",
        "stage_rate_decay",
    )
    """What the constructor takes beside the learning rate and Keras' own arguments."""

    def __init__(
        self,
        learning_rate: Any,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decay_form: str = "",
        undecayed: tuple[str, ...] = (),
        stage_rate_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        # Keras itself is not told of the decay: it has one form for all variables, in
        # a pass of its own over the weights.
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum
        self.decay = weight_decay
        self.decay_form = decay_form or self.decay_forms[0]
        self.undecayed = tuple(undecayed)
        self.stage_rate_decay = stage_rate_decay
        if self.decay_form not in self.decay_forms:
            raise ValueError(
                f"'decay_form' of {type(self).__name__} must be "
                f"{' or '.join(map(repr, self.decay_forms))}, got {decay_form!r}"
            )

    @property
    def schedule(self) -> Any:
        """The schedule of the learning rate, or the variable that holds the rate."""
        return self._learning_rate

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the optimizer's variables for those that it will train."""
        if self.built:
            return
        super().build(variables)
        stages = [_stage(variable.path) for variable in variables]
        last = max(filter(None, stages), default=0)
        self.traits = tuple(
            Traits(
                rate=self.stage_rate_decay ** (last + 1 - stage) if stage else 1.0,
                decay=0.0 if _kind(variable) in self.undecayed else self.decay,
                adapts=_kind(variable) not in NORMS + BIASES,
            )
            for variable, stage in zip(variables, stages, strict=True)
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Applies one step to one variable."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self.traits[index].rate
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_sub(variable, self.step(gradient, variable, rate, index))

    def step(self, gradient: Any, variable: Any, rate: Any, index: int) -> Any:
        """Returns what is to be subtracted from `variable`, the `index`-th one."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this optimizer."""
        own = {name: getattr(self, name) for name in self.arguments}
        return {**super().get_config(), **own, "weight_decay": self.decay}


def _stage(path: str) -> int:
    match = re.search(r"(?:^|/)conv(\d+)_", path)
    return int(match[1]) if match else 0


def _kind(variable: keras.Variable) -> str:
    return variable.path.split("/")[-1]


MOMENTUM_FORMS: dict[str, Callable[[Callable[[Any], Any], Any, Any], Any]] = {
    "caffe": lambda accumulate, gradient, rate: accumulate(rate * gradient),
    "pytorch": lambda accumulate, gradient, rate: rate * accumulate(gradient),
}
"""Whether the velocity has the rate in it, by the library that does so."""


@keras.saving.register_keras_serializable(package="keras_resnet")
class SGD(ByVariable):
    """Stochastic gradient descent.

    With the gradient `g` (in which, by `decay_form="l2"`, weight decay is included) and
    the rate `r`, the velocity becomes `v = momentum * v + r * g` in Caffe, and the
    weights change by `-v`; in PyTorch `v = momentum * v + g` and `-r * v`. Nesterov's
    form takes `r * g + momentum * v`, or `g + momentum * v`, in place of `v`.

    Args:
        learning_rate: See `ByVariable`.
        momentum_form: A name in `MOMENTUM_FORMS`.
        nesterov: Whether to look ahead.
        **kwargs: See `ByVariable`. `decay_form="l2"`, the default, adds
            `weight_decay * weights` to the gradient, so that momentum accumulates it;
            `"decoupled"` subtracts `r * weight_decay * weights` from the weights beside
            the step (1711.05101, algorithm 1).

    Raises:
        ValueError: If there is no such form of momentum or decay.

    Example:

    >>> SGD(0.1, momentum=0.9, weight_decay=1e-4, undecayed=("gamma", "beta"))
    """

    decay_forms: ClassVar[tuple[str, ...]] = ("l2", "decoupled")
    arguments = (*ByVariable.arguments, "momentum_form", "nesterov")

    def __init__(
        self,
        learning_rate: Any = 0.1,
        *,
        momentum_form: str = "caffe",
        nesterov: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        if momentum_form not in MOMENTUM_FORMS:
            raise ValueError(
                f"'momentum_form' must be {' or '.join(map(repr, MOMENTUM_FORMS))}, "
                f"got {momentum_form!r}"
            )
        self.momentum_form = momentum_form
        self.nesterov = nesterov

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates a velocity for each variable, if there is momentum."""
        if self.built:
            return
        super().build(variables)
        if self.momentum:
            self.velocities = self.add_optimizer_variables(variables, "velocity")

    def step(self, gradient: Any, variable: Any, rate: Any, index: int) -> Any:
        """Returns what is to be subtracted from `variable`, the `index`-th one."""
        traits = self.traits[index]

        def accumulate(gradient: Any) -> Any:
            if not self.momentum:
                return gradient
            velocity = self.momentum * self.velocities[index] + gradient
            self.assign(self.velocities[index], velocity)
            return gradient + self.momentum * velocity if self.nesterov else velocity

        if self.decay_form == "l2":
            gradient = self.decayed(gradient, variable, traits)
        step = MOMENTUM_FORMS[self.momentum_form](accumulate, gradient, rate)
        if self.decay_form == "decoupled" and traits.decay:
            step = step + (rate * traits.decay) * variable
        return step

    def decayed(self, gradient: Any, variable: Any, traits: Traits) -> Any:
        """Returns the gradient with that of the weight decay."""
        return gradient + traits.decay * variable if traits.decay else gradient


@keras.saving.register_keras_serializable(package="keras_resnet")
class LARS(SGD):
    """SGD for large batches, with a rate for each variable (1708.03888, algorithm 1).

    The gradient with that of the decay is multiplied by
    `trust * |weights| / (|gradient| + weight_decay * |weights|)`; where one of the two
    norms is 0, by 1. Batch norms and biases are not adapted.

    Args:
        learning_rate: See `ByVariable`.
        trust: The paper's trust coefficient.
        **kwargs: See `SGD`. The paper's momentum is Caffe's.

    Raises:
        ValueError: If there is no such form of momentum or decay.

    Example:

    >>> LARS(10.0, momentum=0.9, weight_decay=1e-4, undecayed=NORMS + BIASES)
    """

    decay_forms: ClassVar[tuple[str, ...]] = ("l2",)
    arguments = (*SGD.arguments, "trust")

    def __init__(
        self, learning_rate: Any = 1.0, *, trust: float = 0.001, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.trust = trust

    def decayed(self, gradient: Any, variable: Any, traits: Traits) -> Any:
        """Returns the gradient with that of the weight decay, adapted."""
        decayed = super().decayed(gradient, variable, traits)
        if not traits.adapts:
            return decayed
        weights, slope = _norm(variable), _norm(gradient)
        ratio = self.trust * weights / (slope + traits.decay * weights)
        return _unless_zero(ratio, weights, slope, 1.0) * decayed


@keras.saving.register_keras_serializable(package="keras_resnet")
class AdamW(ByVariable):
    """Adam with decoupled weight decay (1711.05101, algorithm 2), as in PyTorch.

    `keras.optimizers.AdamW` corrects `epsilon` for the number of steps otherwise.

    Args:
        learning_rate: See `ByVariable`.
        beta_2: Share of the mean of squared gradients that each step keeps; `momentum`
            is that of the mean of gradients.
        epsilon: Added to the denominator; by default as PyTorch's.
        **kwargs: See `ByVariable`. The only `decay_form` is `"decoupled"`.

    Raises:
        ValueError: If `decay_form` is another.

    Example:

    >>> AdamW(1e-3, weight_decay=0.05, undecayed=NORMS + BIASES)
    """

    decay_forms: ClassVar[tuple[str, ...]] = ("decoupled",)
    arguments = (*ByVariable.arguments, "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        *,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the means of gradients and of their squares for each variable."""
        if self.built:
            return
        super().build(variables)
        self.means, self.squares = self.add_optimizer_variables(
            variables, ["mean", "square"]
        )

    def step(self, gradient: Any, variable: Any, rate: Any, index: int) -> Any:
        """Returns what is to be subtracted from `variable`, the `index`-th one."""
        traits, beta_1, beta_2 = self.traits[index], self.momentum, self.beta_2
        count = ops.cast(self.iterations + 1, gradient.dtype)
        correction = ops.sqrt(1 - ops.power(beta_2, count))
        scale = correction / (1 - ops.power(beta_1, count))
        mean, square = self.means[index], self.squares[index]
        self.assign_add(mean, (1 - beta_1) * (gradient - mean))
        self.assign_add(square, (1 - beta_2) * (ops.square(gradient) - square))
        # The true step is `scale` times this one; to multiply by a scalar at the end
        # saves a pass over the variable.
        step = mean / (ops.sqrt(square) + self.epsilon * correction)
        if traits.decay:
            step = step + (traits.decay / scale) * variable
        return (rate * self.factor(scale, step, variable, traits)) * step

    def factor(self, scale: Any, step: Any, variable: Any, traits: Traits) -> Any:
        """Returns what `step` of `variable` is multiplied by, beside the rate."""
        return scale


@keras.saving.register_keras_serializable(package="keras_resnet")
class LAMB(AdamW):
    """Adam for large batches, with a rate for each variable (1904.00962, algorithm 2).

    The step of AdamW, decay included, is multiplied by `|weights| / |step|`; where one
    of the two is 0, by 1. Batch norms and biases are not adapted.

    Args:
        learning_rate: See `ByVariable`.
        epsilon: Added to the denominator; by default the paper's.
        **kwargs: See `AdamW`.

    Raises:
        ValueError: If `decay_form` is not `"decoupled"`.

    Example:

    >>> LAMB(5e-3, weight_decay=0.02, undecayed=NORMS + BIASES, global_clipnorm=1.0)
    """

    def __init__(
        self, learning_rate: Any = 1e-3, *, epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)

    def factor(self, scale: Any, step: Any, variable: Any, traits: Traits) -> Any:
        """Returns what `step` of `variable` is multiplied by, beside the rate."""
        if not traits.adapts:
            return scale
        weights, length = _norm(variable), _norm(step)
        return _unless_zero(weights / length, weights, length, scale)


def _norm(tensor: Any) -> Any:
    # `keras.ops.norm` takes tensors of at most two dimensions.
    return ops.sqrt(ops.sum(ops.square(tensor)))


def _unless_zero(ratio: Any, weights: Any, other: Any, otherwise: Any) -> Any:
    return ops.where(ops.minimum(weights, other) > 0, ratio, otherwise)


OPTIMIZERS: dict[str, type[ByVariable]] = {
    "sgd": SGD,
    "lars": LARS,
    "lamb": LAMB,
    "adamw": AdamW,
}
"""The optimizers by name."""
