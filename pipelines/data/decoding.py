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
        rows = _replaced if replace else None
        return past_failures(inputs, whole, one, _blank, rows).map(
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


def past_failures(
    rows: tuple[tf.Tensor, ...],
    together: Callable[..., tuple[tf.Tensor, ...]],
    one: Callable[..., tuple[tf.Tensor, ...]],
    blank: Callable[[tuple[tf.TensorSpec, ...]], tuple[tf.Tensor, ...]],
    finish: Callable[..., tuple[tf.Tensor, ...]] | None = None,
) -> tf.data.Dataset:
    """Maps many rows at once and, where that fails, row by row.

    Args:
        rows: Tensors of one length.
        together: Maps all of them.
        one: Maps one of them; without an error, to what `together` gives of it.
        blank: Gives, from what `one` would give, what stands for a row that fails.
        finish: Is applied to the rows where one may have failed.

    Returns:
        One element: the rows mapped, each in its place.
    """

    def one_or_blank(*row: tf.Tensor) -> tf.data.Dataset:
        mapped = tf.data.Dataset.from_tensors(row).map(one).ignore_errors()
        instead = tf.data.Dataset.from_tensors(blank(mapped.element_spec))
        return mapped.concatenate(instead).take(1)

    fast = tf.data.Dataset.from_tensors(rows).map(together).ignore_errors()
    slow = tf.data.Dataset.from_tensor_slices(rows).flat_map(one_or_blank)
    slow = slow.batch(tf.maximum(tf.shape(rows[0], tf.int64)[0], 1))
    return fast.concatenate(slow.map(finish) if finish else slow).take(1)


def _blank(specs: tuple[tf.TensorSpec, ...]) -> tuple[tf.Tensor, ...]:
    _, *others = specs
    zeros = (
        tf.zeros([side or 1 for side in spec.shape], spec.dtype) for spec in others
    )
    return (tf.constant(_NO_RECORD, tf.int64), *zeros)


def _replaced(delivered: tf.Tensor, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
    rows = next_good(delivered != _NO_RECORD)
    return tuple(tf.gather(value, rows) for value in (delivered, *values))
