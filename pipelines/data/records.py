"""The record format: one `tf.train.Example` per image, as in the ImageNet TFRecords.

`docs/record_format.md` describes the fields, the shards and the split.
"""

import contextlib
from pathlib import Path
from typing import Any, Self

import tensorflow as tf

from pipelines.data.images import image_format

VERSION = 1
"""Changes when records made earlier must be made again."""

_PARSED = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
}


def to_example(
    image: bytes,
    *,
    name: str,
    label: int,
    class_name: str,
    height: int,
    width: int,
    sha256: str,
) -> bytes:
    """Returns a serialized record; equal arguments give equal bytes.

    Args:
        image: The encoded image, kept as it is.
        name: Its name in the source.
        label: Index of its class, from 0.
        class_name: Name of its class.
        height: In pixels.
        width: In pixels.
        sha256: Hexadecimal SHA-256 of `image`.
    """
    features = {
        "image/encoded": _bytes(image),
        "image/format": _bytes(image_format(image) or ""),
        "image/filename": _bytes(name),
        "image/height": _integer(height),
        "image/width": _integer(width),
        "image/class/label": _integer(label),
        "image/class/text": _bytes(class_name),
        "image/sha256": _bytes(sha256),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads the fields that training and evaluation need.

    Args:
        serialized: Scalar string tensor, a record.

    Returns:
        `image/encoded` and `image/filename`, scalar strings, and `image/class/label`,
        a scalar int64.

    Example:

    >>> tf.data.TFRecordDataset(examples.files("train")).map(parse)
    """
    return tf.io.parse_single_example(serialized, _PARSED)


class ShardWriter:
    """Writes the records of one split, spread evenly over its shards.

    Args:
        directory: Where the shards `<split>-00000-of-00008.tfrecord` go.
        split: `"train"` or `"validation"`.
        count: Number of records that will be written.
        shards: Number of shards.

    Example:

    >>> with ShardWriter(directory, "train", count=2, shards=1) as writer:
    ...     writer.write(first)
    ...     writer.write(second)
    """

    def __init__(self, directory: Path, split: str, count: int, shards: int):
        self._prefix = str(directory / split)
        self._count = count
        self._shards = shards
        self._written = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.close()

    def write(self, record: bytes) -> None:
        """Writes the next record.

        Raises:
            tf.errors.ResourceExhaustedError: If the disk is full.
        """
        shard = self._written * self._shards // self._count
        if self._written == -(-shard * self._count // self._shards):
            self._open.close()
            path = f"{self._prefix}-{shard:05}-of-{self._shards:05}.tfrecord"
            self._writer = self._open.enter_context(tf.io.TFRecordWriter(path))
        self._writer.write(record)
        self._written += 1


def _bytes(value: bytes | str) -> tf.train.Feature:
    value = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
