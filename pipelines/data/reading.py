"""The order in which records are read: blocks, shuffled into windows.

Shuffling record by record would seek for every image, and shuffling with a buffer makes
a record depend on all that were read before it. Here the order of an epoch is known
before anything is read: a permutation of the blocks of all shards is computed, place by
place, a window of them is read at a time, and the records of a window are shuffled. Any
place of any epoch is thus found without reading what comes before it.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from pipelines.data.examples import Examples
from pipelines.data.randomness import permuted
from pipelines.data.records import BLOCK_ROW_BYTES, blocks_path, frames

WINDOW_BYTES = 64 * 2**20
"""Bytes of records that are shuffled together; about three windows are in memory."""

_READ_BUFFER_BYTES = 2**20
_BLOCKS_READ_AT_ONCE = 8
_ROWS_READ_AT_ONCE = 256
_PLACES_AT_ONCE = 2**16


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
        first_records: int64 `(files,)`: first record of each shard in the split.
        table: int64 `(blocks, 4)`: shard, byte offset, number of records, index of the
            first record in the split; on the disk, where graphs read it, too.
        table_path: The table's file.
        records: Number of records in all blocks.
        window: Number of blocks in a window.
        are_checked: See `Examples`.

    Example:

    >>> Blocks.of(examples, "train").records
    45000
    """

    files: tuple[str, ...]
    first_records: np.ndarray
    table: np.ndarray
    table_path: str
    records: int
    window: int
    are_checked: bool

    @classmethod
    def of(cls, examples: Examples, split: str) -> "Blocks":
        """Returns the blocks of `split`."""
        table = examples.blocks(split)
        records = int(table[-1, 2:].sum())
        counts = [shard.records for shard in examples.shards_of(split)]
        bytes_per_block = examples.mean_bytes * records / len(table)
        return cls(
            files=tuple(examples.files(split)),
            first_records=np.cumsum([0, *counts[:-1]]),
            table=table,
            table_path=str(blocks_path(examples.directory, split)),
            records=records,
            window=max(1, math.floor(WINDOW_BYTES / max(bytes_per_block, 1))),
            are_checked=examples.are_checked,
        )

    @functools.cached_property
    def opened(self) -> tf.Tensor:
        """The shards' paths, empty for one of which a record's length leads out.

        TensorFlow takes memory for as much as a length says, and ends the process where
        there is not so much.
        """
        files = self.files
        if not self.are_checked:
            with ThreadPoolExecutor(_BLOCKS_READ_AT_ONCE) as threads:
                right = threads.map(_lengths_are_right, files)
                files = tuple(
                    file if is_right else ""
                    for file, is_right in zip(files, right, strict=True)
                )
        with tf.init_scope():  # Given to graphs, instead of being copied into each.
            return tf.constant(files)

    @property
    def windows(self) -> int:
        """Number of windows in an epoch."""
        return math.ceil(len(self.table) / self.window)

    def rows(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns rows of the table, in a graph that does not hold the table.

        Args:
            indices: int64 `(rows,)`, at least one.

        Returns:
            int64 `(rows, 4)`.
        """

        def row(index: tf.Tensor) -> tf.data.Dataset:
            offset = index * BLOCK_ROW_BYTES
            return _records_from(self.table_path, offset, BLOCK_ROW_BYTES).take(1)

        rows = tf.data.Dataset.from_tensor_slices(indices).flat_map(row)
        serialized = rows.batch(tf.size(indices, tf.int64)).get_single_element()
        return tf.ensure_shape(tf.io.decode_raw(serialized, tf.int64), [None, 4])


@dataclasses.dataclass(frozen=True)
class Window:
    """Records that are read together, in the order in which they are used.

    A record that cannot be read is replaced by the next one of the window.

    Args:
        wanted: Indices of the records in the split, int64 `(records,)`.
        delivered: Likewise, of those that replace the unreadable ones.
        serialized: The records in the order of the blocks, strings `(records,)`.
        place: Where in `serialized` the delivered ones are, int64 `(records,)`. They
            are many bytes, and copied once only, by who takes them from there.
    """

    wanted: tf.Tensor
    delivered: tf.Tensor
    serialized: tf.Tensor
    place: tf.Tensor


def window_of(blocks: Blocks, position: int, seed: int, epoch: int) -> tuple[int, int]:
    """Finds the window that holds a record by its position in an epoch.

    Only the numbers of records in the blocks before it are looked at.

    Args:
        blocks: The blocks.
        position: Of the record, from 0; not beyond the last one.
        seed: Decides the order together with `epoch`.
        epoch: Number of the epoch.

    Returns:
        Number of the window, and position of its first record.
    """

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)] * 2, autograph=False)
    def order(begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        return _block_order(blocks, tf.range(begin, end), seed, epoch)

    first = start = 0
    at_once = max(1, _PLACES_AT_ONCE // blocks.window)
    while True:
        begin = first * blocks.window
        end = min(begin + at_once * blocks.window, len(blocks.table))
        counts = blocks.table[order(begin, end).numpy(), 2]
        sizes = np.add.reduceat(counts, np.arange(0, end - begin, blocks.window))
        starts = start + np.cumsum(sizes) - sizes
        if position < starts[-1] + sizes[-1] or end == len(blocks.table):
            here = int(np.searchsorted(starts, position, side="right")) - 1
            return first + here, int(starts[here])
        first, start = first + len(sizes), int(starts[-1] + sizes[-1])


def read_window(
    blocks: Blocks,
    window: tf.Tensor,
    seed: int | None = None,
    epoch: tf.Tensor | int = 0,
) -> Window:
    """Reads a window of blocks and shuffles its records.

    Args:
        blocks: The blocks.
        window: Number of the window in the epoch, a scalar int64.
        seed: Decides the order together with `epoch`; None keeps that of the records.
        epoch: Number of the epoch, a scalar int64.
    """
    first = window * blocks.window
    places = tf.range(first, tf.minimum(first + blocks.window, len(blocks.table)))
    if seed is not None:
        places = _block_order(blocks, places, seed, epoch)
    rows = blocks.rows(places)
    count = tf.reduce_sum(rows[:, 2])
    strings = (
        tf.data.Dataset.from_tensor_slices(rows)
        .interleave(
            lambda row: _read_block(blocks.opened, row),
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


def read_in_order(blocks: Blocks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gives each block's row of the table and its records, in the order of the records.

    Args:
        blocks: The blocks.

    Returns:
        Rows, int64 `(4,)`, and records, bytes `(records,)`, all of them empty where one
        cannot be read.
    """

    def read(indices: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(blocks.rows(indices)).interleave(
            lambda row: tf.data.Dataset.zip(
                tf.data.Dataset.from_tensors(row), _read_block(blocks.opened, row)
            ),
            cycle_length=_BLOCKS_READ_AT_ONCE,
            num_parallel_calls=_BLOCKS_READ_AT_ONCE,
            deterministic=True,
        )

    numbers = tf.data.Dataset.range(len(blocks.table)).batch(_ROWS_READ_AT_ONCE)
    yield from numbers.flat_map(read).as_numpy_iterator()


def _lengths_are_right(file: str) -> bool:
    try:
        for _ in frames(file):
            pass
    except (OSError, tf.errors.DataLossError):
        return False
    return True


def _block_order(
    blocks: Blocks, places: tf.Tensor, seed: int, epoch: tf.Tensor | int
) -> tf.Tensor:
    return permuted(places, len(blocks.table), _seed(seed, epoch, 0))


def _seed(seed: int, epoch: tf.Tensor | int, window: tf.Tensor | int) -> tf.Tensor:
    second = tf.cast(epoch, tf.int64) * 2**32 + tf.cast(window, tf.int64)
    return tf.stack([tf.constant(seed, tf.int64), second])


def _read_block(files: tf.Tensor, row: tf.Tensor) -> tf.data.Dataset:
    """Gives a block's records as one vector; empty strings if any cannot be read."""

    def read(row: tf.Tensor) -> tf.Tensor:
        file = tf.gather(files, row[0])
        records = _records_from(file, row[1], _READ_BUFFER_BYTES)
        whole = records.take(row[2]).batch(row[2], drop_remainder=True)
        return whole.get_single_element()

    # An error is ignored here, once: in the data set of records it would come again
    # without end where a file is missing.
    block = tf.data.Dataset.from_tensors(row).map(read).ignore_errors()
    missing = tf.data.Dataset.from_tensors(tf.fill(row[2:3], ""))
    return block.concatenate(missing).take(1)


def _records_from(
    file: tf.Tensor | str, offset: tf.Tensor, buffer_bytes: int
) -> tf.data.Dataset:
    # The public TFRecordDataset begins at the beginning of a file only.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=tf.reshape(tf.convert_to_tensor(file), [1]),
        compression_type="",
        buffer_size=tf.constant(buffer_bytes, tf.int64),
        byte_offsets=tf.reshape(offset, [1]),
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
