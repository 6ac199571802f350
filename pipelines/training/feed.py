"""Batches on their way to the replicas."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import Recipe
from pipelines.data.augmentation import Augmentation
from pipelines.data.damage import Damage
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import Batches, evaluation_batches, training_batches
from pipelines.training.strategies import Cluster, gpus_here


def distributed(
    strategy: tf.distribute.Strategy, batch_size: int, dataset: tf.data.Dataset
) -> Iterator[Any]:
    """Splits this worker's batches over its replicas, in the order of the images.

    Args:
        strategy: Where steps run.
        batch_size: Images of all workers' batches together.
        dataset: Gives the worker's batches, and knows their number.

    Returns:
        Values that `strategy.run` takes.
    """
    count = int(dataset.cardinality())
    if strategy.num_replicas_in_sync == Cluster.of(strategy).count:
        if gpus := gpus_here():
            # As a strategy does for several.
            prefetch = tf.data.experimental.prefetch_to_device
            dataset = dataset.apply(prefetch(gpus[0]))
        return iter(dataset)
    replica_batch = batch_size // strategy.num_replicas_in_sync
    # Of a data set with an end, several workers would ask each other at every batch
    # whether it has come.
    endless = dataset.rebatch(replica_batch, drop_remainder=True).repeat()
    batches = strategy.distribute_datasets_from_function(lambda context: endless)
    return itertools.islice(iter(batches), count)


def filled(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Makes all batches equally large.

    Args:
        dataset: Gives `(images, labels)`, at most `batch_size` of them.
        batch_size: Images of every batch.

    Returns:
        Batches of images, labels and `counted`, float32 `(batch_size,)`: 1 for the
        images that were there, 0 for blank ones that fill the batch.
    """

    def fill(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        missing = batch_size - tf.shape(labels)[0]
        counted = tf.ones_like(labels, tf.float32)
        return tuple(padded(value, missing) for value in (images, labels, counted))

    def padded(value: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
        rest = value.shape[1:]
        whole = tf.pad(value, [[0, missing], *([0, 0] for _ in rest)])
        return tf.ensure_shape(whole, (batch_size, *rest))

    return dataset.map(fill)


class Feed:
    """Training batches from any step on, with the time spent in waiting for them.

    Args:
        make: Takes a range of epochs and the first step of the first of them; gives
            their batches.
        place: Takes a data set and gives an iterator.
        sizes: Height and width in pixels of each epoch's images; epochs of one size
            are made by one pipeline, so that the next one is begun in advance.
        damage_log: Where damaged records are named.

    Example:

    >>> feed.start(epoch=3, step=120)
    >>> images, labels = feed.next()
    """

    def __init__(
        self,
        make: Callable[[range, int], Batches],
        place: Callable[[tf.data.Dataset], Iterator[Any]],
        sizes: tuple[int, ...],
        damage_log: Path,
    ) -> None:
        self.damage_log = damage_log
        self._make = make
        self._place = place
        self._sizes = sizes
        self._epochs = range(0)
        self._batches: Iterator[Any] = iter(())
        self._damage: Damage | None = None
        self.waited = 0.0

    def start(self, epoch: int, step: int) -> None:
        """Goes to a step; the next epoch's first one is reached by itself."""
        if step == 0 and epoch in self._epochs and epoch != self._epochs.start:
            return
        size = self._sizes[epoch]
        stop = epoch
        while stop < len(self._sizes) and self._sizes[stop] == size:
            stop += 1
        self._epochs = range(epoch, stop)
        batches = self._make(self._epochs, step)
        self._damage = batches.damage
        self._batches = self._place(batches.dataset)

    def next(self) -> Any:
        """Returns `(images, labels)` of the next step."""
        begin = time.perf_counter()
        with self._damage.told() if self._damage else contextlib.nullcontext():
            batch = next(self._batches)
        self.waited += time.perf_counter() - begin
        return batch

    def damaged(self) -> list[str]:
        """Returns the damaged records that have been met."""
        return self._damage.records if self._damage else []


def training_feed(
    examples: Examples,
    recipe: Recipe,
    preprocessing: Preprocessing,
    strategy: tf.distribute.Strategy,
    seed: int,
    *,
    max_bad_share: float,
    damage_log: Path,
    service: str,
) -> Feed:
    """Returns the feed of a recipe's batches, of their sizes and with their views.

    Args:
        examples: What to train on.
        recipe: Decides batch size, augmentation and sizes.
        preprocessing: How evaluation images are prepared.
        strategy: Where steps run; this worker's part of each batch is fed.
        seed: Decides order and augmentation.
        max_bad_share: See `training_batches`, as for the others.
        damage_log: See `training_batches`.
        service: See `training_batches`.
    """
    worker = Cluster.of(strategy).worker
    sizes = recipe.train_sizes(preprocessing.size)
    augmentation = Augmentation.parse(recipe.augmentation)

    def make(epochs: range, first_step: int) -> Batches:
        size = sizes[epochs.start]
        resize = round(size * recipe.resize_ratio)
        return training_batches(
            examples,
            dataclasses.replace(preprocessing, crop=size, resize=resize),
            augmentation,
            recipe.batch_size,
            epochs,
            seed,
            first_step=first_step,
            worker=worker,
            max_bad_share=max_bad_share,
            damage_log=damage_log,
            service=service,
        )

    place = functools.partial(distributed, strategy, recipe.batch_size)
    return Feed(make, place, sizes, damage_log)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """This worker's validation images, once in every iteration.

    Gives `(images, labels, counted)`, see `filled`, that `strategy.run` takes.

    Args:
        batches: Gives images and labels.
        damage: The damaged records that have been met.
        place: Takes a data set and gives an iterator.
        batch_size: Images of this worker's batches.

    Example:

    >>> for images, labels, counted in held_out:
    ...     evaluation_step(images, labels, counted)
    """

    batches: tf.data.Dataset
    damage: Damage
    place: Callable[[tf.data.Dataset], Iterator[Any]]
    batch_size: int

    @classmethod
    def of(
        cls,
        examples: Examples,
        recipe: Recipe,
        preprocessing: Preprocessing,
        strategy: tf.distribute.Strategy,
        *,
        max_bad_share: float,
    ) -> "HeldOut":
        """Returns those of the split `"validation"`, see `training_feed`."""
        cluster = Cluster.of(strategy)
        # What fits in a replica's memory in training does so here.
        at_once = recipe.batch_size // recipe.accumulate
        batches = evaluation_batches(
            examples,
            "validation",
            preprocessing,
            at_once // cluster.count,
            worker=cluster.worker,
            max_bad_share=max_bad_share,
        )
        place = functools.partial(distributed, strategy, at_once)
        return cls(batches.dataset, batches.damage, place, at_once // cluster.count)

    def __iter__(self) -> Iterator[Any]:
        with self.damage.told():
            yield from self.place(filled(self.batches, self.batch_size))
