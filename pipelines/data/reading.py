"""The order in which records are read: blocks, shuffled into windows.

Shuffling record by record would seek for every image, and shuffling with a buffer makes
a record depend on all that were read before it. Here the order of an epoch is known
before anything is read: the blocks of all shards are shuffled, a window of them is read
at a time, and the records of a window are shuffled. Any place of any epoch is thus
found without reading what comes before it.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipelines.data.examples import Examples

WINDOW_BYTES = 64 * 2**20
"""Bytes of records that are shuffled together; about three windows are in memory."""

_READ_BUFFER_BYTES = 2**20
_BLOCKS_READ_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Worker:
    """One of several processes that share the records.

    Each takes its part of every global batch, so that batches do not depend on the
    number of workers, and reads all records for it.

    Args:
        index: Which one, from 0.
        count: How many there are.

    Raises:
        ValueError: If there is no such worker.

    Example:

    >>> Worker(index=0, count=2)
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"worker {self.index} is not one of {self.count}")


ALONE = Worker()
"""The only process."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The blocks of a split.

    Args:
        files: The shards' paths.
        table: int64 `(blocks, 4)`: shard, byte offset, number of records, index of the
            first record in the split.
        window: Number of blocks in a window.
        first_records: int64 `(files,)`: first record of each shard in the split.

    Example:

    >>> Blocks.of(examples, "train").records
    45000
    """

    files: tuple[str, ...]
    table: np.ndarray
    window: int
    first_records: np.ndarray

    @classmethod
    def of(cls, examples: Examples, split: str) -> "Blocks":
        """Returns the blocks of `split`."""
        blocks = examples.blocks(split)
        counts = blocks[:, 2]
        table = np.column_stack([blocks, np.cumsum(counts) - counts])
        _, firsts = np.unique(table[:, 0], return_index=True)
        first_records = table[firsts, 3]
        bytes_per_block = examples.mean_bytes * counts.mean()
        return cls(
            files=tuple(examples.files(split)),
            table=table,
            window=max(1, math.floor(WINDOW_BYTES / max(bytes_per_block, 1))),
            first_records=first_records,
        )

    @property
    def records(self) -> int:
        """Number of records in all blocks."""
        return int(self.table[:, 2].sum())

    @property
    def windows(self) -> int:
        """Number of windows in an epoch."""
        return math.ceil(len(self.table) / self.window)


@dataclasses.dataclass(frozen=True)
class Window:
    """Records that are read together, in the order in which they are used.

    A record that cannot be read is replaced by the next one of the window.

    Args:
        position: Position of the first in the epoch, a scalar int64.
        wanted: Indices of the records in the split, int64 `(records,)`.
        delivered: Likewise, of those that replace the unreadable ones.
        serialized: The records in the order of the blocks, strings `(records,)`.
        place: Where in `serialized` the delivered ones are, int64 `(records,)`. They
            are many bytes, and copied once only, by who takes them from there.
    """

    position: tf.Tensor
    wanted: tf.Tensor
    delivered: tf.Tensor
    serialized: tf.Tensor
    place: tf.Tensor


def shuffled_blocks(blocks: Blocks, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Returns the table of blocks in the order of an epoch, by its number and seed."""
    order = tf.random.experimental.stateless_shuffle(
        tf.range(len(blocks.table)), seed=_seed(seed, epoch, 0)
    )
    return tf.gather(blocks.table, order)


def window_starts(blocks: Blocks, table: tf.Tensor) -> tf.Tensor:
    """Returns the position of each window's first record, int64 `(windows,)`."""
    return tf.cumsum(table[:, 2], exclusive=True)[:: blocks.window]


def read_window(
    blocks: Blocks,
    table: tf.Tensor,
    window: tf.Tensor,
    seed: int | None = None,
    epoch: tf.Tensor | int = 0,
) -> Window:
    """Reads a window of blocks and shuffles its records.

    Args:
        blocks: The blocks.
        table: Their table in the order of the epoch.
        window: Number of the window in the epoch, a scalar int64.
        seed: Decides the order together with `epoch`; None keeps that of the records.
        epoch: Number of the epoch, a scalar int64.
    """
    first = window * blocks.window
    rows = table[first : first + blocks.window]
    count = tf.reduce_sum(rows[:, 2])
    strings = (
        tf.data.Dataset.from_tensor_slices(rows)
        .interleave(
            lambda row: _read_block(blocks.files, row),
            cycle_length=_BLOCKS_READ_AT_ONCE,
            num_parallel_calls=_BLOCKS_READ_AT_ONCE,
            deterministic=True,
        )
        .unbatch()  # Moves the strings, which rebatching would copy.
        .batch(count)
        .get_single_element()
    )
    indices = tf.ragged.range(rows[:, 3], rows[:, 3] + rows[:, 2]).values
    order = tf.range(count)
    if seed is not None:
        seed_pair = _seed(seed, epoch, window + 1)
        order = tf.random.experimental.stateless_shuffle(order, seed=seed_pair)
    place = tf.gather(order, next_good(tf.gather(strings != "", order)))
    return Window(
        position=tf.reduce_sum(table[:first, 2]),
        wanted=tf.gather(indices, order),
        delivered=tf.gather(indices, place),
        serialized=strings,
        place=place,
    )


def next_good(good: tf.Tensor) -> tf.Tensor:
    """Finds who takes the place of what is not good.

    Args:
        good: bool `(rows,)`.

    Returns:
        Rows, int32 `(rows,)`: each that is good itself, else the next one that is, in a
        circle; each itself if none is.

    Example:

    >>> next_good(tf.constant([False, True, True, False])).numpy().tolist()
    [1, 1, 2, 1]
    """
    rows = tf.range(tf.size(good))
    found = tf.boolean_mask(rows, good)
    found = tf.cond(tf.size(found) > 0, lambda: found, lambda: rows)
    return tf.gather(found, tf.searchsorted(found, rows) % tf.size(found))


def _seed(seed: int, epoch: tf.Tensor | int, window: tf.Tensor | int) -> tf.Tensor:
    second = tf.cast(epoch, tf.int64) * 2**32 + tf.cast(window, tf.int64)
    return tf.stack([tf.constant(seed, tf.int64), second])


def _read_block(files: tuple[str, ...], row: tf.Tensor) -> tf.data.Dataset:
    """Gives a block's records as one vector; empty strings if any cannot be read."""

    def read(row: tf.Tensor) -> tf.Tensor:
        # The public TFRecordDataset begins at the beginning of a file only.
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.gather(tf.constant(files), row[:1]),
            compression_type="",
            buffer_size=tf.constant(_READ_BUFFER_BYTES, tf.int64),
            byte_offsets=row[1:2],
        )
        spec = tf.TensorSpec([], tf.string)
        records = tf.data.experimental.from_variant(variant, spec)
        whole = records.take(row[2]).batch(row[2], drop_remainder=True)
        return whole.get_single_element()

    # An error is ignored here, once: in the data set of records it would come again
    # without end where a file is missing.
    block = tf.data.Dataset.from_tensors(row).map(read).ignore_errors()
    missing = tf.data.Dataset.from_tensors(tf.fill(row[2:3], ""))
    return block.concatenate(missing).take(1)
