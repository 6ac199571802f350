"""From shards of records to batches."""

import dataclasses
import math
import socket
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.augmentation import Augmentation
from pipelines.data.damage import Damage
from pipelines.data.decoding import decoded
from pipelines.data.examples import Examples
from pipelines.data.preprocessing import prepare
from pipelines.data.reading import ALONE, Blocks, Window, Worker, read_window, window_of
from pipelines.errors import UserError

_CHUNK_BYTES = 2**21
_CHUNK_IMAGES = 64
_BATCHES_AHEAD = 4
_SERVICE_SECONDS = 5
_EPOCH_STRIDE = 2**40


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches, and what was found damaged while they were made.

    Args:
        dataset: Gives `(images, labels)`.
        damage: The damaged records that have been met.
    """

    dataset: tf.data.Dataset
    damage: Damage


def steps_per_epoch(examples: Examples, batch_size: int, workers: int = 1) -> int:
    """Returns how many whole batches the training images make.

    Args:
        examples: The examples.
        batch_size: Images per step over all workers and replicas.
        workers: How many processes share each batch.

    Raises:
        UserError: If they do not fill one, or the workers cannot share one equally.
    """
    if batch_size % workers:
        raise UserError(
            f"a batch of {batch_size} cannot be shared equally by {workers} "
            "workers; give --set=batch_size=N with a multiple of that"
        )
    images = Blocks.of(examples, "train").records
    steps = images // batch_size
    if not steps:
        raise UserError(
            f"{images} training images do not fill one batch of "
            f"{batch_size}; give a smaller --set=batch_size=N or more images"
        )
    return steps


# The functions of the data sets have no Python branches on tensors; to look for some
# would take seconds at every start.
@tf.autograph.experimental.do_not_convert
def training_batches(
    examples: Examples,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    batch_size: int,
    epochs: range,
    seed: int,
    *,
    first_step: int = 0,
    worker: Worker = ALONE,
    max_bad_share: float = 0.01,
    damage_log: Path | None = None,
    service: str = "",
) -> Batches:
    """Gives the shuffled, augmented batches of several epochs, one after the other.

    Batch `k` of epoch `e` is a function of `seed`, `e` and `k`: of no earlier batch,
    and of no number of threads, replicas or workers. A view
    is a function of `seed`, the epoch and the record. What comes before the first batch
    is not read. The images that do not fill a batch are left out of that epoch.

    Args:
        examples: What to train on; its split `"train"` is read.
        preprocessing: Size and mean colour.
        augmentation: How an image becomes a view.
        batch_size: Images per step over all workers and replicas.
        epochs: Numbers of the epochs to give, from 0.
        seed: Decides order and augmentation.
        first_step: Where to begin in the first of the epochs.
        worker: Which part of each batch to give.
        max_bad_share: Share of damaged records above which an epoch fails. Up to it,
            another image takes the place of a damaged one.
        damage_log: See `Damage`.
        service: Address of a tf.data service, such as `"grpc://10.0.0.2:5000"`, whose
            workers make the batches, in no fixed order. They must be able to read the
            shards.

    Returns:
        Batches of uint8 images `(batch_size / worker.count, size, size, 3)`, RGB, and
        of labels: int64 `(batch,)`, or float32 `(batch, classes)` if the augmentation
        mixes them.

    Raises:
        UserError: If the images do not fill a batch, the workers cannot share one
            equally, or no service answers.

    Example:

    >>> augmentation = Augmentation.parse("pad_crop(4)|flip")
    >>> batches = training_batches(
    ...     examples, preprocessing, augmentation, 128, range(6), seed=0
    ... )
    >>> images, labels = next(iter(batches.dataset))
    """
    steps = steps_per_epoch(examples, batch_size, worker.count)
    local_size = batch_size // worker.count
    blocks = Blocks.of(examples, "train")
    damage = Damage("train", blocks, max_bad_share, damage_log, replaces=True)
    borrowed = 0
    # A service has no global batches.
    if augmentation.mixes_labels and not service:
        borrowed = _borrowed(examples, augmentation.repeats, local_size)
        borrowed = min(borrowed, batch_size - local_size)
    order = _Order(blocks, seed, augmentation.repeats, local_size, borrowed, worker)
    last = max(borrowed - worker.index * local_size, 0)
    read_size = local_size + borrowed

    def view(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return augmentation.view(encoded, preprocessing, seed)

    def jpeg_view(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return augmentation.jpeg_view(encoded, preprocessing, seed)

    def finish(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        return augmentation.on_chunk(images, seeds, preprocessing)

    def mix(
        images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor, valid: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del valid  # All are.
        if last:
            # Those before the first row of a batch are its last ones.
            images, labels, seeds = (
                tf.roll(rows, last, axis=0) for rows in (images, labels, seeds)
            )
        images, labels = augmentation.on_batch(
            images, labels, seeds, preprocessing, len(examples.classes)
        )
        return images[borrowed:], labels[borrowed:]

    def batched(windows: tf.data.Dataset) -> tf.data.Dataset:
        chunks = windows.rebatch(_chunk_size(examples, read_size))
        images = decoded(
            chunks, view, damage, replace=True, fast_view=jpeg_view, finish=finish
        )
        return images.rebatch(read_size, drop_remainder=True).map(
            mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    starts = order.start_of(epochs.start, first_step)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        is_first = tf.cast(epoch == epochs.start, tf.int64)
        windows = order.windows(epoch, *(is_first * start for start in starts))
        return batched(windows).take(steps - is_first * first_step)

    total = max(len(epochs) * steps - first_step, 0)
    if service:
        _check_service(service)
        # A worker of the service drops what does not fill its last batch, so there must
        # be more.
        dataset = batched(order.endless_windows(epochs.start)).apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, service
            )
        )
    else:
        # As an interleaving of one epoch, so that the next one is begun in advance.
        dataset = tf.data.Dataset.range(epochs.start, epochs.stop).interleave(
            one_epoch, cycle_length=1, num_parallel_calls=1, deterministic=True
        )
    # Keras plans epochs by the cardinality.
    dataset = dataset.take(total).apply(tf.data.experimental.assert_cardinality(total))
    return Batches(dataset.prefetch(_BATCHES_AHEAD), damage)


def of_records(preprocessing: Preprocessing, examples: Examples) -> Preprocessing:
    """Returns how records are prepared whose photographs may be upright already."""
    if examples.orientation == "apply":  # They were turned when they were written.
        return dataclasses.replace(preprocessing, orientation="ignore")
    return preprocessing


@tf.autograph.experimental.do_not_convert
def evaluation_batches(
    examples: Examples,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    worker: Worker = ALONE,
    max_bad_share: float = 0.01,
    damage_log: Path | None = None,
    prepared: Callable[[tf.Tensor, Preprocessing], tf.Tensor] = prepare,
) -> Batches:
    """Gives every image of a split once, in the order of the records.

    Args:
        examples: What to evaluate on.
        split: `"train"` or `"validation"`.
        preprocessing: The sizes.
        batch_size: Images per batch of this worker; the last batch may be smaller.
        worker: Which part of the images to give; the parts of all are the split.
        max_bad_share: Share of damaged records above which reading fails. Up to it,
            they are left out.
        damage_log: See `Damage`.
        prepared: Makes of an encoded image what is batched, uint8. Defaults to the one
            image that the network looks at. What has no fixed shape makes batches of
            one.

    Returns:
        Batches of uint8 images `(batch, size, size, 3)`, RGB, and int64 labels
        `(batch,)`.
    """
    blocks = Blocks.of(examples, split)
    damage = Damage(split, blocks, max_bad_share, damage_log)
    preprocessing = of_records(preprocessing, examples)

    def part(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        window = read_window(blocks, number)
        # No other image may be counted in the place of an unreadable one.
        own = window.wanted == window.delivered
        serialized = tf.where(own, tf.gather(window.serialized, window.place), "")
        mine = window.wanted % worker.count == worker.index
        wanted = tf.boolean_mask(window.wanted, mine)
        no_seeds = tf.zeros([tf.size(wanted), 2], tf.int64)
        return wanted, wanted, no_seeds, tf.boolean_mask(serialized, mine)

    def view(encoded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        del seed
        return prepared(encoded, preprocessing)

    def without_blanks(
        images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor, valid: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del seeds
        return tuple(
            tf.cond(
                tf.reduce_all(valid),
                lambda: (images, labels),
                lambda: (
                    tf.boolean_mask(images, valid),
                    tf.boolean_mask(labels, valid),
                ),
            )
        )

    windows = tf.data.Dataset.range(blocks.windows).map(part, num_parallel_calls=1)
    chunks = windows.prefetch(1).rebatch(_chunk_size(examples, batch_size))
    images = decoded(chunks, view, damage, replace=False)
    dataset = images.rebatch(batch_size).map(without_blanks)
    own_records = len(range(worker.index, blocks.records, worker.count))
    # Keras ends a validation without complaint by the cardinality.
    cardinality = tf.data.experimental.assert_cardinality(-(-own_records // batch_size))
    return Batches(dataset.apply(cardinality).prefetch(_BATCHES_AHEAD), damage)


@dataclasses.dataclass(frozen=True)
class _Order:
    """Which views of which records follow each other in training.

    Windows are given as `(wanted, delivered, seeds, serialized)`, a row per view. Of
    each global batch a worker has `local_size` rows, and the `borrowed` ones before.
    """

    blocks: Blocks
    seed: int
    repeats: int
    local_size: int
    borrowed: int
    worker: Worker

    def start_of(self, epoch: int, step: int) -> tuple[int, int, int]:
        """Returns what `windows` takes to begin with a step of an epoch."""
        begin = step * self.local_size * self.worker.count
        if not step:
            return 0, 0, begin
        record = begin // self.repeats
        return *window_of(self.blocks, record, self.seed, epoch), begin

    def windows(
        self, epoch: tf.Tensor, first: tf.Tensor, position: tf.Tensor, begin: tf.Tensor
    ) -> tf.data.Dataset:
        """Gives the windows of an epoch.

        Args:
            epoch: Its number.
            first: Number of the first window.
            position: Of that window's first record in the epoch.
            begin: Position of the first view that is used.
        """

        def views(
            position: tf.Tensor, number: tf.Tensor
        ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
            window = read_window(self.blocks, number, self.seed, epoch)
            end = position + tf.size(window.wanted, tf.int64)
            return end, self._views(epoch, window, position, begin)

        numbers = tf.data.Dataset.range(first, self.blocks.windows)
        return numbers.scan(position, views).prefetch(1)

    def endless_windows(self, first_epoch: int) -> tf.data.Dataset:
        """Gives the windows of all epochs, by one range that can be divided."""
        windows = self.blocks.windows
        zero = tf.constant(0, tf.int64)

        def views(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            epoch = number // windows
            window = read_window(self.blocks, number % windows, self.seed, epoch)
            # In no fixed order, workers share each window by itself.
            return self._views(epoch, window, zero, zero)

        numbers = tf.data.Dataset.range(first_epoch * windows, tf.int64.max)
        return numbers.map(views, num_parallel_calls=1)

    def _views(
        self, epoch: tf.Tensor, window: Window, position: tf.Tensor, begin: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        view = tf.range(tf.size(window.wanted, tf.int64) * self.repeats)
        position = position * self.repeats + view
        used = position >= begin
        batch_size = self.local_size * self.worker.count
        first = self.worker.index * self.local_size - self.borrowed
        used &= (position - first) % batch_size < self.local_size + self.borrowed
        view = tf.boolean_mask(view, used)
        record = view // self.repeats
        delivered = tf.gather(window.delivered, record)
        index = epoch * _EPOCH_STRIDE + delivered * self.repeats + view % self.repeats
        seed = tf.fill(tf.shape(index), tf.constant(self.seed, tf.int64))
        return (
            tf.gather(window.wanted, record),
            delivered,
            tf.stack([seed, index], axis=1),
            tf.gather(window.serialized, tf.gather(window.place, record)),
        )


def _borrowed(examples: Examples, repeats: int, local_size: int) -> int:
    """Returns how many rows before its own a worker reads, to mix with.

    As many as one row needs, and as fill chunks of equal size.
    """
    needed = local_size + repeats
    chunks = math.ceil(needed / _most_in_a_chunk(examples))
    return math.ceil(needed / chunks) * chunks - local_size


def _check_service(address: str) -> None:
    """Refuses an address at which nobody answers, for which TensorFlow waits forever.

    Raises:
        UserError: If it is no address, or there is no connection within seconds.
    """
    what_to_do = "give the address of its dispatcher, such as grpc://10.0.0.2:5000"
    try:
        place = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
        host, port = place.hostname, place.port
        if not host or not port:
            raise ValueError
    except ValueError:
        raise UserError(
            f"--data_service={address} names no host and port; {what_to_do}"
        ) from None
    try:
        socket.create_connection((host, port), _SERVICE_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no tf.data service answers at --data_service={address} ({error}); start "
            f"it, or {what_to_do}"
        ) from error


def _chunk_size(examples: Examples, batch_size: int) -> int:
    """Returns how many images one thread decodes at a time: a divisor of the batch.

    One call for each image would cost more than decoding a small one does.
    """
    most = _most_in_a_chunk(examples)
    return max(size for size in range(1, most + 1) if batch_size % size == 0)


def _most_in_a_chunk(examples: Examples) -> int:
    return min(_CHUNK_IMAGES, max(1, _CHUNK_BYTES // max(examples.mean_bytes, 1)))
