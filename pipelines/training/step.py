"""One step of training and one of evaluation, compiled, over all replicas."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.training import Recipe
from keras_resnet.training.averaging import moved, new_share
from keras_resnet.training.losses import mirrored, top_k
from keras_resnet.training.making import make_loss
from keras_resnet.training.schedules import Plateau

SUM, MEAN = tf.distribute.ReduceOp.SUM, tf.distribute.ReduceOp.MEAN

# Keras draws seeds below 10^9, so that no replica has another layer's.
_SEED_STRIDE = 10**9

# Of gradients that are summed over replicas at once. The last layers' are there first,
# so that all but the last pack of a large network travel while the rest is computed.
_PACK = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=32 * 1024**2)

_NUMBER = re.compile(r"_\d+(?=/|$)")


@dataclasses.dataclass(frozen=True)
class Measured:
    """Sums over the images of one or more steps.

    Args:
        images: Number of images.
        loss: Sum of their losses.
        top1: Number of images whose highest-ranked class is right.
        top5: Number of images whose class is among the highest five.
        gradient_norm: Sum over steps of the norm of all gradients together.
        steps: Number of steps.
    """

    images: float = 0.0
    loss: float = 0.0
    top1: float = 0.0
    top5: float = 0.0
    gradient_norm: float = 0.0
    steps: float = 0.0

    def __add__(self, other: "Measured") -> "Measured":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Measured(*(a + b for a, b in pairs))

    def means(self) -> dict[str, float]:
        """Returns loss and shares per image, and the gradient norm per step."""
        images, steps = max(self.images, 1.0), max(self.steps, 1.0)
        return {
            "loss": self.loss / images,
            "top1": self.top1 / images,
            "top5": self.top5 / images,
            "gradient_norm": self.gradient_norm / steps,
        }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training step reports; it is on the device until it is read.

    Args:
        values: float64 `(8,)`: images, sum of losses, top-1, top-5, gradient norm, how
            many workers have been asked to stop, whether the weights have been updated,
            and whether loss or gradients were not finite.
    """

    values: tf.Tensor

    @functools.cached_property
    def _read(self) -> list[float]:
        return self.values.numpy().tolist()

    @property
    def applied(self) -> bool:
        """Whether the weights have been updated; waits for the step, as the others."""
        return bool(self._read[6])

    @property
    def failed(self) -> bool:
        """Whether loss or gradients were not finite."""
        return bool(self._read[7])

    @property
    def stop_asked(self) -> bool:
        """Whether any worker has been asked to stop."""
        return self._read[5] > 0

    def measured(self) -> Measured:
        """Returns the step's sums; nothing if it was not applied."""
        if not self.applied:
            return Measured()
        images, loss, top1, top5, norm = self._read[:5]
        return Measured(images, loss, top1, top5, norm, steps=1.0)


class TrainingStep:
    """Forward, backward and update over all replicas, as a recipe says.

    A step whose loss or gradients are not finite changes nothing: no weight, no
    statistic, no momentum. It counts for the schedule, as in PyTorch. With `halts`, no
    later step changes anything either until `go_on` is called, so that the cause can be
    looked for although steps run ahead of the host. The device decides by itself: every
    step runs the same operations, and what it may not change it writes as it was.

    Gradients are summed over parts of a batch (`Recipe.accumulate`), then over
    replicas; then they are clipped and applied. In float16 the loss is multiplied by a
    scale that halves when gradients overflow and doubles after 2,000 steps in which
    they did not (1710.03740, section 3.2).

    Args:
        strategy: Where it runs; networks and optimizer were made in its scope.
        network: Takes uint8 images, gives logits `(batch, classes)`.
        optimizer: Updates its trainable weights.
        recipe: The recipe.
        classes: Number of classes.
        averaged: A network like `network` that is kept at the moving average of all its
            weights, batch-norm statistics included. None for none.
        halts: Whether the steps after one that is not finite change nothing either.

    Example:

    >>> step = TrainingStep(strategy, network, optimizer, recipe, classes=10)
    >>> step(images, labels).measured().means()["loss"]
    2.31
    """

    _LARGEST_SCALE = 2.0**15
    _SCALE_PERIOD = 2000

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe,
        classes: int,
        *,
        averaged: keras.Model | None = None,
        halts: bool = True,
    ) -> None:
        self._strategy = strategy
        self.network = network
        self.optimizer = optimizer
        self._recipe = recipe
        self._averaged = averaged
        self._halts = halts
        self.loss = make_loss(recipe, classes)
        self._top5 = functools.partial(top_k, k=min(5, classes))
        self._scales = recipe.precision == "float16"
        self._statistics = _moving_statistics(network)
        with strategy.scope():
            optimizer.build(network.trainable_variables)
        # The step has reduced the gradients when it comes to apply them.
        optimizer._all_reduce_sum_gradients = list
        self.loss_scale = keras.Variable(
            self._LARGEST_SCALE, trainable=False, name="scale"
        )
        self.steps_since_overflow = keras.Variable(
            0, dtype="int64", trainable=False, name="steps_since_overflow"
        )
        self._halted = tf.Variable(False, trainable=False)
        self._sums = self._accumulators() if recipe.accumulate > 1 else []
        self._spread_seeds()

    def __call__(self, images: Any, labels: Any, stop: bool = False) -> Outcome:
        """Runs one step.

        Args:
            images: uint8 `(batch, height, width, 3)`, per replica where there are
                several.
            labels: int64 `(batch,)`, or float32 `(batch, classes)`.
            stop: Whether this worker has been asked to stop, which all get to know.
        """
        return Outcome(self._run(images, labels, tf.constant(float(stop))))

    def go_on(self) -> None:
        """Lets steps change weights again."""
        self._halted.assign(False)

    def variables(self) -> dict[str, Any]:
        """Returns all that a later step depends on, by names that do not change."""
        groups = {
            "network": self.network.variables,
            "optimizer": self.optimizer.variables,
            "averaged": self._averaged.variables if self._averaged else [],
            "loss_scale": [self.loss_scale, self.steps_since_overflow],
        }
        # Keras numbers the names that it gives by itself through the process.
        return {
            f"{group}/{index:04}/{_NUMBER.sub('', variable.path)}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of `variables`."""
        return {name: tuple(v.shape) for name, v in self.variables().items()}

    def restore(
        self, values: Mapping[str, Any], schedule: dict[str, Any] | None = None
    ) -> None:
        """Goes on from the values of `variables`, and the state of a `Plateau`."""
        for name, variable in self.variables().items():
            variable.assign(values[name])
        self._spread_seeds()
        if isinstance(self.optimizer.schedule, Plateau) and schedule:
            self.optimizer.schedule.restore(schedule)

    @tf.function(reduce_retracing=True, autograph=False)
    def _run(self, images: Any, labels: Any, stop: tf.Tensor) -> tf.Tensor:
        statistics = self._strategy.run(self._read_statistics)
        gradients, sums = self._gradients(images, labels, stop)
        norm = self._strategy.experimental_local_results(
            self._strategy.run(tf.linalg.global_norm, args=(gradients,))
        )[0]
        sums = self._strategy.reduce(SUM, sums, axis=None)
        loss_is_finite = tf.math.is_finite(sums[1])
        finite = loss_is_finite & tf.math.is_finite(norm)
        applied = finite & ~self._halted
        with _only_if(applied, self.optimizer):
            self._strategy.run(self._apply, args=(gradients,))
        self._strategy.run(self._keep_statistics, args=(statistics, applied))
        if self._averaged is not None:
            self._average(self._averaged, applied)
        failed = ~finite & ~self._halted
        if self._scales:
            failed &= ~(self._rescale(finite) & loss_is_finite)
        if self._halts:
            self._halted.assign(self._halted | failed)
        flags = tf.cast([applied, failed], tf.float32)
        values = tf.concat([sums[:4], [norm], sums[4:], flags], axis=0)
        return tf.cast(values, tf.float64)

    def _gradients(
        self, images: Any, labels: Any, stop: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Returns gradients summed over all replicas, and each replica's sums."""
        if self._recipe.accumulate == 1:
            gradients, sums = self._strategy.run(self._backward, args=(images, labels))
        else:
            self._strategy.run(self._clear)
            tf.while_loop(
                lambda part: part < self._recipe.accumulate,
                functools.partial(self._next_part, images, labels),
                [0],
                parallel_iterations=1,
            )
            gradients, sums = self._strategy.run(self._accumulated)
        return self._strategy.run(self._reduced, args=(gradients, sums, stop))

    def _backward(self, images: tf.Tensor, labels: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            losses = self.loss(labels, logits)
            total = tf.reduce_sum(losses)
            scale = self.loss_scale if self._scales else 1.0
            scaled = total * (scale / self._recipe.batch_size)
        gradients = tape.gradient(scaled, self.network.trainable_variables)
        right = [top_k(labels, logits, k=1), self._top5(labels, logits)]
        count = tf.cast(tf.shape(images)[0], tf.float32)
        return gradients, tf.stack([count, total, *map(tf.reduce_sum, right)])

    def _spread_seeds(self) -> None:
        """Has each replica draw masks of its own; of Keras all get the first one's.

        A checkpoint holds the first replica's seeds, of which the others' follow.
        """
        states = [v for v in self.network.variables if v.name == "seed_generator_state"]

        def spread() -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for state in states:
                seed, drawn = tf.unstack(state.value)
                seed += tf.cast(replica, seed.dtype) * _SEED_STRIDE
                state.assign(tf.stack([seed, drawn]))

        if states and self._strategy.num_replicas_in_sync > 1:
            self._strategy.run(spread)

    def _accumulators(self) -> list[tf.Variable]:
        """Returns each replica's sums: of the gradients, and of what is reported."""
        like = [v.value for v in self.network.trainable_variables]
        with self._strategy.scope():
            return [
                tf.Variable(
                    tf.zeros(shape),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for shape in [*(variable.shape for variable in like), [4]]
            ]

    def _clear(self) -> None:
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def _next_part(self, images: Any, labels: Any, part: tf.Tensor) -> tf.Tensor:
        self._strategy.run(self._accumulate, args=(images, labels, part))
        return part + 1

    def _accumulate(self, images: tf.Tensor, labels: tf.Tensor, part: Any) -> None:
        size = tf.shape(images)[0] // self._recipe.accumulate
        own = slice(part * size, (part + 1) * size)
        gradients, sums = self._backward(images[own], labels[own])
        for total, value in zip(self._sums, [*gradients, sums], strict=True):
            total.assign_add(value)

    def _accumulated(self) -> Any:
        *gradients, sums = [total.read_value() for total in self._sums]
        return gradients, sums

    def _reduced(self, gradients: list[tf.Tensor], sums: tf.Tensor, stop: Any) -> Any:
        if self._strategy.num_replicas_in_sync > 1:
            replica = tf.distribute.get_replica_context()
            gradients = replica.all_reduce(SUM, gradients, _PACK)
            if self._statistics:
                # Each replica has moved them by its own images. With the mean
                # everywhere, evaluation and checkpoints do not depend on whose they
                # are.
                means = replica.all_reduce(MEAN, self._read_statistics())
                self._write_statistics(means)
        if self._scales:
            gradients = [gradient / self.loss_scale for gradient in gradients]
        return gradients, tf.concat([sums, [stop]], axis=0)

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.network.trainable_variables)

    def _keep_statistics(self, before: list[tf.Tensor], applied: tf.Tensor) -> None:
        """Takes the statistics back that an update which was left out has moved."""
        pairs = zip(self._read_statistics(), before, strict=True)
        self._write_statistics([tf.where(applied, now, old) for now, old in pairs])

    def _read_statistics(self) -> list[tf.Tensor]:
        return [tf.identity(variable) for variable in self._statistics]

    def _write_statistics(self, values: list[tf.Tensor]) -> None:
        for variable, value in zip(self._statistics, values, strict=True):
            variable.assign(value)

    def _average(self, averaged: keras.Model, applied: tf.Tensor) -> None:
        """Moves the averaged network towards the network."""
        every = self._recipe.ema_every
        share = new_share(self._recipe.ema, self.optimizer.iterations // every)
        share = tf.where(applied, share, 0.0)

        def move(average: tf.Variable, weight: tf.Variable) -> None:
            average.assign(moved(average, weight, share))

        def move_all() -> tf.Tensor:
            for average, weight in zip(
                averaged.weights, self.network.weights, strict=True
            ):
                self._strategy.extended.update(
                    average.value, move, args=(weight.value,), group=True
                )
            return tf.constant(True)

        if every == 1:
            move_all()
        else:
            due = self.optimizer.iterations % every == 0
            tf.cond(due, move_all, lambda: tf.constant(False))

    def _rescale(self, finite: tf.Tensor) -> tf.Tensor:
        """Adapts the loss scale; returns whether it could still be lowered."""
        since = tf.where(finite, self.steps_since_overflow + 1, 0)
        is_due = since >= self._SCALE_PERIOD
        raised = tf.where(is_due, self.loss_scale * 2, self.loss_scale)
        can_lower = self.loss_scale > 1
        lowered = tf.maximum(self.loss_scale / 2, 1)
        self.loss_scale.assign(tf.where(finite, raised, lowered))
        self.steps_since_overflow.assign(tf.where(is_due, tf.zeros_like(since), since))
        return can_lower


@contextlib.contextmanager
def _only_if(
    applied: tf.Tensor, optimizer: keras.optimizers.Optimizer
) -> Iterator[None]:
    """Has the updates in a block change variables only if `applied`, a bool scalar.

    The number of steps is counted all the same, so that the schedule goes on and the
    run ends at its last rate.
    """
    names = ("assign", "assign_add", "assign_sub")
    assign = optimizer.assign

    def assign_if(variable: Any, value: Any) -> None:
        # `tf.where` would broadcast the scalar, which takes ten times as long.
        before = tf.convert_to_tensor(variable)
        assign(variable, tf.raw_ops.Select(condition=applied, x=value, y=before))

    optimizer.assign = assign_if
    optimizer.assign_add = lambda variable, value: assign_if(variable, variable + value)
    optimizer.assign_sub = lambda variable, value: assign_if(variable, variable - value)
    try:
        yield
    finally:
        for name in names:
            delattr(optimizer, name)


def _moving_statistics(network: keras.Model) -> list[tf.Variable]:
    """Returns what the batch norms keep of the images, but for frozen ones."""
    inner = network.layers[-1]
    return [
        variable.value
        for layer in inner.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


class EvaluationStep:
    """Measures a network on a batch, over all replicas of this worker.

    The loss is the cross-entropy of the class probabilities in nats, whatever the
    network was trained with, so that recipes can be compared.

    Args:
        strategy: Where it runs.
        network: Takes uint8 images, gives logits `(batch, classes)`.
        classes: Number of classes.
        flip: Whether logits are averaged over each image and its mirror image.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: keras.Model,
        classes: int,
        *,
        flip: bool = False,
    ) -> None:
        self._strategy = strategy
        self.network = network
        self._top5 = functools.partial(top_k, k=min(5, classes))
        self._flip = flip

    def __call__(self, images: Any, labels: Any, counted: Any) -> tf.Tensor:
        """Returns float64 `(4,)`: images, sum of losses, top-1 and top-5.

        Args:
            images: uint8 `(batch, height, width, 3)`, per replica.
            labels: int64 `(batch,)`.
            counted: float32 `(batch,)`, 0 for images that only fill the batch.
        """
        return self._run(images, labels, counted)

    @tf.function(reduce_retracing=True, autograph=False)
    def _run(self, images: Any, labels: Any, counted: Any) -> tf.Tensor:
        sums = self._strategy.run(self._measure, args=(images, labels, counted))
        # No other worker takes part: they may have more batches, or fewer.
        local = self._strategy.experimental_local_results(sums)
        return tf.cast(tf.add_n(list(local)), tf.float64)

    def _measure(
        self, images: tf.Tensor, labels: tf.Tensor, counted: tf.Tensor
    ) -> tf.Tensor:
        logits = functools.partial(self.network, training=False)
        scores = mirrored(logits, images) if self._flip else logits(images)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels, tf.cast(scores, tf.float32)
        )
        right = [top_k(labels, scores, k=1), self._top5(labels, scores)]
        values = [tf.ones_like(counted), losses, *right]
        return tf.stack([tf.reduce_sum(value * counted) for value in values])
