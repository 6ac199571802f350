"""A network while a recipe trains it by `keras.Model.fit`, on any backend."""

import functools
from typing import Any

import keras
from keras import ops

from keras_resnet.preprocessing import (
    Preprocessing,
    Standardize,
    takes_pixels,
    wanted_by_weights,
)
from keras_resnet.training.averaging import moved, new_share
from keras_resnet.training.copying import POLICIES, trainable_copy
from keras_resnet.training.losses import mirrored, top_k
from keras_resnet.training.making import make_loss, make_optimizer
from keras_resnet.training.recipe import Recipe
from keras_resnet.training.schedules import Plateau, Schedule


class Trainee(keras.Model):
    """A copy of a classifier that `fit` trains as a recipe says.

    What is saved of it, as by `keras.callbacks.ModelCheckpoint`, is the classifier as
    it would be if training ended there.

    Takes uint8 pixels `(batch, height, width, 3)` of any size, RGB, and gives float32
    logits `(batch, classes)`. In training its loss is the recipe's; in evaluation it is
    the cross-entropy in nats, so that recipes can be compared, and with
    `Recipe.test_flip` that of the mean logits of each image and its mirror image.
    Metrics are `top1` and, of more than five classes, `top5`: shares of the images.

    With `Recipe.ema`, averages of all weights, batch-norm statistics included, are kept
    in variables of the model and moved in its forward pass, before each update's first
    part. No train step of one backend is needed for that: `fit` has the forward pass
    compiled, and takes what it assigns to variables back out of it.

    Args:
        model: A functional model in channels-last format that ends in its classifier.
        recipe: The recipe.
        preprocessing: As for `fit_arrays`.

    Attributes:
        network: The copy. Its layers have the names of `model`'s and the weights that
            it had.

    Raises:
        ValueError: If the model does not end in a classifier, the recipe freezes what
            it does not have, or nothing tells how the model wants its pixels.

    Example:

    >>> trainee = Trainee(keras_resnet.ResNet20(), RECIPES["he2015_cifar"])
    >>> trainee.compile_for_fit(steps_per_epoch=351)
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(name=model.name, dtype=POLICIES[recipe.precision])
        self.recipe = recipe
        self.network = trainable_copy(model, recipe)
        self.classes = self.network.output_shape[-1]
        self.standardize = None
        if preprocessing or not takes_pixels(model):
            self.standardize = Standardize.from_preprocessing(
                preprocessing or _wanted(model), dtype=self.dtype_policy
            )
        # In a function, lest Keras take it for a part of this model.
        self._copy = functools.partial(keras.models.clone_model, model)
        self._loss_per_image = make_loss(recipe, self.classes)
        self._averages = []
        if recipe.ema:
            self._averages = [
                self.add_weight(
                    shape=weight.shape,
                    dtype=weight.dtype,
                    trainable=False,
                    name=f"average_{index}",
                )
                for index, weight in enumerate(self.network.weights)
            ]
            for average, weight in zip(
                self._averages, self.network.weights, strict=True
            ):
                average.assign(ops.copy(weight))
            self._passes, self._averaged = (
                self.add_weight(
                    shape=(), dtype="int32", initializer="zeros", trainable=False
                )
                for _ in range(2)
            )

    def compile_for_fit(self, steps_per_epoch: int) -> None:
        """Compiles with the recipe's optimizer, and the metrics.

        Args:
            steps_per_epoch: Updates of an epoch; `fit` makes `Recipe.accumulate` times
                as many steps.

        Raises:
            ValueError: If the recipe's optimizer or schedule cannot be had.
        """
        optimizer = make_optimizer(self.recipe, steps_per_epoch)
        self._schedule = optimizer.schedule
        if isinstance(self._schedule, Plateau):
            # A compiled step gets as arguments what belongs to the optimizer.
            optimizer._track_variable(self._schedule.factor)
        if self.recipe.accumulate > 1:
            optimizer.gradient_accumulation_steps = self.recipe.accumulate
            optimizer.learning_rate = _PerUpdate(self._schedule, self.recipe.accumulate)
        # Among five classes or fewer, the five best are always right.
        ks = {"top1": 1, "top5": 5} if self.classes > 5 else {"top1": 1}
        # In float16, Keras puts a LossScaleOptimizer around the optimizer.
        self.compile(
            optimizer,
            weighted_metrics=[
                keras.metrics.MeanMetricWrapper(functools.partial(top_k, k=k), name)
                for name, k in ks.items()
            ],
        )

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns what `fit` must call for this recipe."""
        callbacks: list[keras.callbacks.Callback] = []
        if self._averages:
            callbacks.append(_EvaluatesAverages())
        if self.recipe.schedule == "plateau":
            callbacks.append(_Tells(self._schedule))
        return callbacks

    def call(self, pixels: Any, training: bool = False) -> Any:
        """Returns the logits of images."""
        if training:
            if self._averages:
                self.average()
                self._passes.assign_add(1)
            return self._logits(pixels, training=True)
        if not self.recipe.test_flip:
            return self._logits(pixels, training=False)
        return mirrored(functools.partial(self._logits, training=False), pixels)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the mean loss of a batch, see the class."""
        if training:
            losses = self._loss_per_image(y, y_pred)
        else:
            losses = keras.losses.sparse_categorical_crossentropy(
                y, y_pred, from_logits=True
            )
        if sample_weight is not None:
            losses = losses * ops.cast(sample_weight, losses.dtype)
        # Those of regularizers, of which an evaluation in nats knows nothing.
        own = [ops.cast(loss, "float32") for loss in self.losses] if training else []
        return sum(own, ops.mean(losses))

    def average(self) -> None:
        """Moves the averages, once for every update that is due."""
        averaged = ops.convert_to_tensor(self._averaged)
        updates = self._passes // self.recipe.accumulate
        is_due = ops.logical_and(
            updates > averaged, updates % self.recipe.ema_every == 0
        )
        share = new_share(self.recipe.ema, updates // self.recipe.ema_every)
        share = ops.where(is_due, share, 0.0)
        for average, weight in zip(self._averages, self.network.weights, strict=True):
            value = ops.stop_gradient(ops.convert_to_tensor(weight))
            average.assign(moved(average, value, ops.cast(share, value.dtype)))
        self._averaged.assign(ops.where(is_due, updates, averaged))

    def swap_averages(self) -> None:
        """Exchanges the weights and their averages."""
        for average, weight in zip(self._averages, self.network.weights, strict=True):
            value = ops.copy(ops.stop_gradient(ops.convert_to_tensor(weight)))
            weight.assign(average)
            average.assign(value)

    def final_weights(self) -> list[Any]:
        """Returns what `set_weights` of the model that was copied takes."""
        if not self._averages:
            return self.network.get_weights()
        self.average()
        return [ops.convert_to_numpy(average) for average in self._averages]

    def trained(self) -> keras.Model:
        """Returns a copy of the classifier with the weights or averages of now."""
        copied = self._copy()
        copied.set_weights(self.final_weights())
        return copied

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Saves `trained()`, with the arguments of `keras.Model.save`."""
        self.trained().save(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        """Saves the weights of `trained()`, as `keras.Model.save_weights`."""
        self.trained().save_weights(*args, **kwargs)

    def _logits(self, pixels: Any, training: bool) -> Any:
        if self.standardize is not None:
            pixels = self.standardize(pixels)
        return self.network(pixels, training=training)


def _wanted(model: keras.Model) -> Preprocessing:
    """Returns how a model wants its pixels: as its weights do, ImageNet's if random."""
    wanted = wanted_by_weights(model)
    if wanted is None and not hasattr(model, "preset"):
        raise ValueError(
            f"Nothing tells how {model.name!r} wants its pixels, for a model that was "
            "copied, loaded or made otherwise has no `preset`: pass `preprocessing`."
        )
    return wanted or Preprocessing()


class _EvaluatesAverages(keras.callbacks.Callback):
    """Has a `Trainee` evaluated with the averages of its weights."""

    def on_test_begin(self, logs: Any = None) -> None:
        self.model.average()
        self.model.swap_averages()

    def on_test_end(self, logs: Any = None) -> None:
        self.model.swap_averages()


class _Tells(keras.callbacks.Callback):
    """Tells a `Plateau` of the validation errors."""

    def __init__(self, schedule: Plateau) -> None:
        super().__init__()
        self._schedule = schedule

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._schedule.observe(1 - logs["val_top1"])


class _PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule over updates, for an optimizer that accumulates gradients.

    Keras 3.15 asks schedules for the rate of a part of a batch, not of an update.
    """

    def __init__(self, schedule: Schedule, parts: int) -> None:
        self._schedule = schedule
        self._parts = parts

    def __call__(self, step: Any) -> Any:
        return self._schedule(ops.convert_to_tensor(step) // self._parts)
