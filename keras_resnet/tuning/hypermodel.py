"""The space as KerasTuner has it: hyperparameters, and a hypermodel of them."""

from typing import Any

import keras
import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.src.engine.conditions import Parent

from keras_resnet import networks
from keras_resnet.builder import build
from keras_resnet.spec import ResNetSpec
from keras_resnet.training import RECIPES, Recipe
from keras_resnet.training.optimizers import OPTIMIZERS
from keras_resnet.tuning.around import Parameter, SpaceAround
from keras_resnet.tuning.space import Choice, Range, Space

_FITS = (
    *("learning_rate", "weight_decay", "decay_form", "momentum", "momentum_form"),
    *("nesterov", "optimizer", "label_smoothing", "epochs", "batch_size"),
)
"""What of a recipe `HyperResNet` compiles, or `fit` is given."""


def declare(near: SpaceAround, hp: keras_tuner.HyperParameters) -> None:
    """Adds a space's parameters to KerasTuner's.

    Args:
        near: The space with what it is searched around.
        hp: Gets a hyperparameter for each, conditional ones with their conditions; what
            it has by the same name stays.

    Example:

    >>> hp = keras_tuner.HyperParameters()
    >>> declare(near, hp)
    """
    hp.merge([_hyperparameter(one) for one in near.parameters], overwrite=False)


def _hyperparameter(one: Parameter) -> Any:
    conditions = [Parent(name, list(values)) for name, values in one.conditions]
    domain = one.domain
    if isinstance(domain, Choice):
        values = list(domain.values)
        if len(values) == 1:
            return kinds.Fixed(one.name, values[0], conditions=conditions)
        return kinds.Choice(one.name, values, conditions=conditions)
    assert isinstance(domain, Range)
    ends = (domain.low, domain.high)
    kind = kinds.Int if all(isinstance(end, int) for end in ends) else kinds.Float
    sampling = "log" if domain.is_log else "linear"
    return kind(one.name, *ends, sampling=sampling, conditions=conditions)


class HyperResNet(keras_tuner.HyperModel):
    """Residual networks as a hypermodel, for any of KerasTuner's tuners.

    Takes what `keras_tuner.applications.HyperResNet` takes, and the space before it.
    Like that one, a model with top is compiled for one-hot labels, with the metric
    `"accuracy"`; here with the recipe's optimizer at a constant rate, its weight decay
    and its label smoothing. Without top it ends with global average pooling and is not
    compiled.

    Args:
        space: What is varied: a `Space`, its text, or the name of one in
            `keras_resnet.tuning.SPACES`. Where it has `epochs` or `batch_size`, `fit`
            is given them, unless the tuner sets the epochs, as Hyperband does.
        include_top: Whether the models end with a classifier.
        input_shape: `(height, width, channels)`; this or `input_tensor` is needed.
        input_tensor: Keras tensor to use as the images.
        classes: Number of classes, needed with a classifier.
        network: What is searched around: a spec, or the name of a network.
        recipe: A recipe, or the name of one.
        **kwargs: As for `keras_tuner.HyperModel`: `name`, `tunable`.

    Raises:
        ValueError: If an argument is missing, or the space has what there is not or
            what `fit` cannot do, such as augmentation.

    Example:

    >>> hypermodel = HyperResNet("default", input_shape=(32, 32, 3), classes=10)
    >>> tuner = keras_tuner.Hyperband(hypermodel, "val_accuracy", max_epochs=9)
    >>> tuner.search(images, one_hot, validation_split=0.1)
    """

    def __init__(
        self,
        space: Space | str = "default",
        include_top: bool = True,
        input_shape: tuple[int, ...] | None = None,
        input_tensor: Any = None,
        classes: int | None = None,
        *,
        network: ResNetSpec | str = "resnet20",
        recipe: Recipe | str = "onecycle",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if include_top and classes is None:
            raise ValueError("`classes` must be given with `include_top=True`.")
        if input_shape is None and input_tensor is None:
            raise ValueError("`input_shape` or `input_tensor` must be given.")
        self.near = SpaceAround(
            Space.parse(space) if isinstance(space, str) else space,
            networks.find(network) if isinstance(network, str) else network,
            RECIPES[recipe] if isinstance(recipe, str) else recipe,
        )
        self._check()
        self._build_arguments: dict[str, Any] = {
            "input_shape": input_shape,
            "input_tensor": input_tensor,
            **({"classes": classes} if include_top else {"pooling": "avg"}),
            "include_top": include_top,
        }

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Builds, and with top compiles, the network that hyperparameters mean.

        Args:
            hp: Hyperparameters, to which those of the space are added.

        Returns:
            A functional `keras.Model`.
        """
        declare(self.near, hp)
        spec, recipe = self.near.configure(hp.values)
        model = build(spec, **self._build_arguments)
        if self._build_arguments["include_top"]:
            model.compile(
                optimizer=_optimizer(recipe),
                loss=keras.losses.CategoricalCrossentropy(
                    label_smoothing=recipe.label_smoothing
                ),
                metrics=["accuracy"],
            )
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kw: Any
    ) -> Any:
        """Trains a model, see `keras_tuner.HyperModel.fit`."""
        _, recipe = self.near.configure(hp.values)
        for name in ("epochs", "batch_size"):
            is_given = name == "epochs" and "initial_epoch" in kw
            if name in dict(self.near.space.domains) and not is_given:
                kw[name] = getattr(recipe, name)
        return model.fit(*args, **kw)

    def _check(self) -> None:
        names = {name for name, _ in self.near.space.domains}
        not_ours = names & {"magnitude", *vars(self.near.recipe)} - {*_FITS, "network"}
        for name in sorted(not_ours):
            raise ValueError(
                f"`space` varies {name!r}, which Keras' `fit` does not do; "
                "`python -m pipelines.tune` does."
            )


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    kind = OPTIMIZERS[recipe.optimizer]
    values = {n: getattr(recipe, n) for n in kind.arguments if hasattr(recipe, n)}
    return kind(recipe.learning_rate, **values)
