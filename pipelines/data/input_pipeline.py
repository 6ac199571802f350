"""From shards of records to batches."""

import math

import tensorflow as tf

from pipelines.artifacts import Examples
from pipelines.data import records
from pipelines.data.augmentation import AUGMENTATIONS
from pipelines.data.preprocessing import Preprocessing, normalize, prepare

_SHARDS_READ_AT_ONCE = 8
_SHUFFLE_BUFFER_BYTES = 512 * 2**20
_SHUFFLE_BUFFER_IMAGES = 50_000


def training_batches(
    examples: Examples,
    preprocessing: Preprocessing,
    augmentation: str,
    batch_size: int,
    epochs: range,
    seed: int,
) -> tf.data.Dataset:
    """Gives the shuffled, augmented batches of several epochs, one after the other.

    An epoch is a function of `seed` and its number alone: neither the epochs before it
    nor the number of threads or replicas change it. The images that do not fill a
    batch are left out of that epoch.

    Args:
        examples: What to train on; its split `"train"` is read.
        preprocessing: Size and normalisation.
        augmentation: A name in `AUGMENTATIONS`.
        batch_size: Images per step over all replicas.
        epochs: Numbers of the epochs to give, from 0.
        seed: Decides order and augmentation.

    Returns:
        A dataset of `(images, labels)`: float32 `(batch_size, size, size, 3)`,
        normalised, and int64 `(batch_size,)`.
    """
    augment = AUGMENTATIONS[augmentation]
    shards = examples.files("train")
    buffer = min(_SHUFFLE_BUFFER_IMAGES, _SHUFFLE_BUFFER_BYTES // examples.mean_bytes)

    def view(
        epoch: tf.Tensor, index: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized)
        view_seed = tf.stack([tf.constant(seed, tf.int64), epoch * 2**40 + index])
        image = augment(record["image/encoded"], preprocessing, view_seed)
        return image, record["image/class/label"]

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # The seed of this function's graph alone, whatever the process has set; 0 does
        # not go with a tensor as the operations' seed.
        tf.random.set_seed(seed + 1)
        dataset = tf.data.Dataset.from_tensor_slices(shards)
        dataset = dataset.shuffle(len(shards), seed=epoch)
        dataset = _read(dataset).shuffle(max(buffer, 1), seed=epoch)
        dataset = dataset.enumerate().map(
            lambda index, serialized: view(epoch, index, serialized),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return dataset.batch(batch_size, drop_remainder=True)

    dataset = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    batches = len(epochs) * (examples.counts["train"] // batch_size)
    return _finish(dataset, batches, preprocessing)


def evaluation_batches(
    examples: Examples, split: str, preprocessing: Preprocessing, batch_size: int
) -> tf.data.Dataset:
    """Gives every image of a split once, in the order of the records.

    Args:
        examples: What to evaluate on.
        split: `"train"` or `"validation"`.
        preprocessing: Size and normalisation.
        batch_size: Images per batch; the last batch may be smaller.

    Returns:
        A dataset of `(images, labels)`, see `training_batches`.
    """

    def view(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized)
        image = prepare(record["image/encoded"], preprocessing)
        return image, record["image/class/label"]

    dataset = tf.data.Dataset.from_tensor_slices(examples.files(split))
    dataset = _read(dataset).map(view, num_parallel_calls=tf.data.AUTOTUNE)
    batches = math.ceil(examples.counts[split] / batch_size)
    return _finish(dataset.batch(batch_size), batches, preprocessing)


def _read(shards: tf.data.Dataset) -> tf.data.Dataset:
    return shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=_SHARDS_READ_AT_ONCE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _finish(
    dataset: tf.data.Dataset, batches: int, preprocessing: Preprocessing
) -> tf.data.Dataset:
    dataset = dataset.map(
        lambda images, labels: (normalize(images, preprocessing), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    # Keras plans epochs, and ends a validation without complaint, by the cardinality.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    return dataset.prefetch(tf.data.AUTOTUNE)
