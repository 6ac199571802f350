"""Makes `keras.Model.fit` work under several workers, where Keras does not.

Keras 3's trainer fails under `tf.distribute.MultiWorkerMirroredStrategy`
(keras-team/keras issue 20585) in two places:

- Before the first step, to learn a batch's shapes, it averages the images and labels
  of all replicas, which TensorFlow refuses as one value.
- It averages the logs of the replicas over their first axis too; they have none.

The commands here train by a loop of their own (`pipelines.training.loop`). This module
is for scripts that call `fit`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer


@contextlib.contextmanager
def cured() -> Iterator[None]:
    """Lets `fit` and `evaluate` run under several workers while the block runs.

    Nothing is changed for other strategies, nor where Keras needs no cure.

    Example:

    >>> strategy = tf.distribute.MultiWorkerMirroredStrategy()
    >>> with strategy.scope():
    ...     model = build_and_compile()
    >>> with cured():
    ...     model.fit(dataset, epochs=3)
    """
    if not is_needed():
        yield
        return
    trainer = keras_trainer.TensorFlowTrainer
    build, reduce = trainer._maybe_symbolic_build, keras_trainer.reduce_per_replica

    def build_from_own_batch(
        model: Any, iterator: Any = None, data_batch: Any = None
    ) -> None:
        """Learns shapes from the batch of one replica of this worker."""
        strategy = model._distribute_strategy
        if iterator is not None and _has_workers(strategy):
            _, _, batches = next(iter(iterator))
            iterator, data_batch = (
                None,
                keras.tree.map_structure(
                    lambda value: strategy.experimental_local_results(value)[0],
                    next(batches),
                ),
            )
        build(model, iterator=iterator, data_batch=data_batch)

    def reduce_whole_values(values: Any, strategy: Any, reduction: str) -> Any:
        """Averages over replicas and no axis."""
        if reduction in ("auto", "mean") and _has_workers(strategy):
            return keras.tree.map_structure(
                lambda value: strategy.reduce("MEAN", value, axis=None), values
            )
        return reduce(values, strategy, reduction)

    with (
        mock.patch.object(trainer, "_maybe_symbolic_build", build_from_own_batch),
        mock.patch.object(keras_trainer, "reduce_per_replica", reduce_whole_values),
    ):
        yield


def is_needed() -> bool:
    """Tells whether this Keras averages a scalar over an axis.

    Example:

    >>> is_needed()
    True
    """
    witness = _Witness()
    keras_trainer.reduce_per_replica(tf.constant(0.0), witness, reduction="mean")
    return witness.axis == 0


class _Witness(tf.distribute.MultiWorkerMirroredStrategy):
    """Notes over which axis it is asked to reduce; connects to nobody."""

    def __init__(self) -> None:
        self.axis: int | None = None

    @property
    def extended(self) -> Any:
        return mock.Mock(_in_multi_worker_mode=lambda: True)

    def reduce(self, reduce_op: Any, value: Any, axis: int | None) -> Any:
        self.axis = axis
        return value


def _has_workers(strategy: Any) -> bool:
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )
