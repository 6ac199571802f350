"""Decoding in chunks, past the damaged records."""

import os
from collections.abc import Callable

import tensorflow as tf

from pipelines.data import records
from pipelines.data.damage import Damage
from pipelines.data.reading import next_good

_CHUNKS_AT_ONCE = 2 * (os.cpu_count() or 1)
_NO_RECORD = -1

# An encoded image and its seed in, uint8 `(size, size, 3)` out.
View = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Images and their seeds in, images of the same shape out.
Finish = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def decoded(
    chunks: tf.data.Dataset,
    view: View,
    damage: Damage,
    *,
    replace: bool,
    fast_view: View | None = None,
    finish: Finish = lambda images, seeds: images,
) -> tf.data.Dataset:
    """Decodes chunks of records, each chunk in one thread.

    A chunk is decoded in one call, which for small images is several times as fast as
    one call for each. Where it fails, its images are decoded one by one.

    Args:
        chunks: Gives `(wanted, delivered, seeds, serialized)`, see `reading.Window`,
            with a seed for each record, int64 `(records, 2)`.
        view: Decodes an image.
        damage: Is told of the records of which no image came.
        replace: Whether the next image of the chunk takes the place of a damaged one;
            a blank image does otherwise.
        fast_view: Decodes as `view` does, faster, and may fail for some images.
        finish: Changes the images of a chunk while they are in the processor's cache.

    Returns:
        Gives `(images, labels, seeds, valid)` for as many images as records: uint8
        `(records, size, size, 3)`, int64 `(records,)`, int64 `(records, 2)`, and bool
        `(records,)`, which is False for blank images.
    """

    def one(
        delivered: tf.Tensor, seed: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        record = records.parse(serialized)
        image = view(record["image/encoded"], seed)
        return delivered, image, record["image/class/label"], seed

    def one_or_blank(*inputs: tf.Tensor) -> tf.data.Dataset:
        image = tf.data.Dataset.from_tensors(inputs).map(one).ignore_errors()
        return image.concatenate(_blank(image.element_spec)).take(1)

    def whole(
        delivered: tf.Tensor, seeds: tf.Tensor, serialized: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        record = records.parse(serialized)
        image = tf.map_fn(
            lambda arguments: (fast_view or view)(*arguments),
            (record["image/encoded"], seeds),
            fn_output_signature=tf.uint8,
            parallel_iterations=1,  # The chunks are in parallel already.
        )
        return delivered, image, record["image/class/label"], seeds

    def tolerant(
        wanted: tf.Tensor, delivered: tf.Tensor, seeds: tf.Tensor, serialized: tf.Tensor
    ) -> tf.data.Dataset:
        inputs = (delivered, seeds, serialized)
        count = tf.size(delivered, tf.int64)
        fast = tf.data.Dataset.from_tensors(inputs).map(whole).ignore_errors()
        slow = tf.data.Dataset.from_tensor_slices(inputs).flat_map(one_or_blank)
        slow = slow.batch(count)
        if replace:
            slow = slow.map(_replaced)
        chunk = fast.concatenate(slow).take(1)
        return chunk.map(
            lambda delivered, images, labels, seeds: (
                wanted,
                delivered,
                finish(images, seeds),
                labels,
                seeds,
            )
        )

    def watched(
        count: tf.Tensor, chunk: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        wanted, delivered, *values = chunk
        valid = delivered != _NO_RECORD
        return damage.watch(count, wanted, delivered), (*values, valid)

    return chunks.interleave(
        tolerant,
        cycle_length=_CHUNKS_AT_ONCE,
        num_parallel_calls=_CHUNKS_AT_ONCE,
        deterministic=True,
    ).scan(tf.constant(0, tf.int64), watched)


def _blank(specs: tuple[tf.TensorSpec, ...]) -> tf.data.Dataset:
    _, *others = specs
    zeros = (tf.zeros(spec.shape, spec.dtype) for spec in others)
    return tf.data.Dataset.from_tensors((tf.constant(_NO_RECORD, tf.int64), *zeros))


def _replaced(delivered: tf.Tensor, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
    rows = next_good(delivered != _NO_RECORD)
    return tuple(tf.gather(value, rows) for value in (delivered, *values))
