"""The record format: one `tf.train.Example` per image, as in the ImageNet TFRecords.

`docs/record_format.md` describes the fields, the shards and the split.
"""

import dataclasses
import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines import files

VERSION = 3
"""Changes when records made earlier must be made again."""

BLOCK_RECORDS = 256
"""Greatest number of records in a block."""

BLOCK_BYTES = 4 * 2**20
"""Size of a block of more than one record, at most."""

FRAME_BYTES = 16
"""Around a record in a file: its length, and a checksum of each."""

_LENGTH_BYTES = 8
_HEADER_BYTES = 12  # The length and its checksum.

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
    image_format: str,
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
        image_format: Such as `"JPEG"`.
        height: In pixels.
        width: In pixels.
        sha256: Hexadecimal SHA-256 of the image as it was found.
    """
    example = tf.train.Example()
    # Filled in place: the image is large, and messages are copied into each other.
    features = example.features.feature
    for key, value in {
        "image/encoded": image,
        "image/format": image_format.encode(),
        "image/filename": name.encode(),
        "image/class/text": class_name.encode(),
        "image/sha256": sha256.encode(),
    }.items():
        features[key].bytes_list.value.append(value)
    for key, number in {
        "image/height": height,
        "image/width": width,
        "image/class/label": label,
    }.items():
        features[key].int64_list.value.append(number)
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads the fields that training and evaluation need.

    Args:
        serialized: String tensor of records, scalar or `(batch,)`.

    Returns:
        `image/encoded` and `image/filename`, strings, and `image/class/label`, int64,
        each of the shape of `serialized`.

    Example:

    >>> tf.data.TFRecordDataset(examples.files("train")).map(parse)
    """
    return tf.io.parse_example(serialized, _PARSED)


def frames(path: str | Path, offset: int = 0) -> Iterator[tuple[int, int]]:
    """Tells where the records of a file lie, reading their lengths only.

    TensorFlow takes memory for as much as a length says, and ends the process where
    there is not so much. Here a length is held against the file before that.

    Args:
        path: The file.
        offset: Where in it a record's frame begins.

    Returns:
        Offset and size in bytes of each record, without its frame.

    Raises:
        tf.errors.DataLossError: If a record does not lie in the file.
        OSError: If the file cannot be read.

    Example:

    >>> max(size for _, size in frames("train-00000-of-00001.tfrecord"))
    3211
    """
    with open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        while offset < end:
            header = os.pread(file.fileno(), _LENGTH_BYTES, offset)
            size = int.from_bytes(header, "little")
            following = offset + FRAME_BYTES + size
            if following > end:
                raise tf.errors.DataLossError(
                    None, None, f"the record at byte {offset} leads out of {path}"
                )
            yield offset + _HEADER_BYTES, size
            offset = following


def read(path: str | Path) -> Iterator[bytes]:
    """Gives the serialized records of a file, having checked their lengths.

    Raises:
        tf.errors.DataLossError: If the file is damaged.
        OSError: If it cannot be read.
    """
    for _ in frames(path):
        pass
    yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records.

    Args:
        name: Such as `"train-00000-of-00008.tfrecord"`.
        records: Number of records.
        bytes: Size of the file.
        sha256: Hexadecimal SHA-256 of the file.
    """

    name: str
    records: int
    bytes: int
    sha256: str


BLOCK_ROW_BYTES = 48
"""Size of a row in the table of blocks, so that any row is found by its number."""

_BLOCK_ROW = np.dtype(
    [("length", "<u8"), ("check", "<u4"), ("row", "<i8", (4,)), ("crc", "<u4")]
)


def blocks_path(directory: Path, split: str) -> Path:
    """Returns where the table of the blocks of a split's shards lies."""
    return directory / f"{split}.blocks"


def write_blocks(directory: Path, split: str, shards: Iterable[np.ndarray]) -> None:
    """Writes the table of blocks, a TFRecord file of rows of the same size.

    Args:
        directory: Where to.
        split: `"train"` or `"validation"`.
        shards: For each shard in order, its blocks as `write_shard` returns them.
    """
    first = 0
    with (
        files.replacing(blocks_path(directory, split)) as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
        for shard, blocks in enumerate(shards):
            for offset, count in blocks[blocks[:, 1] > 0].tolist():
                row = np.array([shard, offset, count, first], "<i8")
                writer.write(row.tobytes())
                first += count


def read_blocks(directory: Path, split: str) -> np.ndarray:
    """Returns the table of blocks, of which only what is looked at is read.

    Args:
        directory: Where it lies.
        split: `"train"` or `"validation"`.

    Returns:
        int64 `(blocks, 4)`: index of the shard, byte offset in it, number of records,
        and index of the first record in the split.

    Raises:
        OSError: If there is no table, or `ValueError` if it is no such file.
    """
    frames = np.memmap(blocks_path(directory, split), _BLOCK_ROW, "r")
    if not (frames["length"] == 32).all():
        raise ValueError("it holds no rows of 32 bytes")
    return frames["row"]


def write_shard(
    path: Path, records: Iterable[bytes], temporary_dir: Path
) -> tuple[Shard, np.ndarray]:
    """Writes a file of records, which appears when it is whole.

    Args:
        path: The file; replaced if it is there.
        records: Serialized records.
        temporary_dir: Where the file grows, on the same disk. Several processes may
            write the same shard at once.

    Returns:
        The shard, and its blocks, int64 `(blocks, 2)`: byte offset and number of
        records of consecutive runs of records, each of at most `BLOCK_RECORDS` records
        and, unless it is a single one, `BLOCK_BYTES` bytes.

    Raises:
        OSError: If the disk is full or the file cannot be written.
    """
    temporary = temporary_dir / f"{path.name}.{uuid.uuid4().hex}"
    blocks = [[0, 0]]
    end = 0
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(record)
                size = FRAME_BYTES + len(record)
                start, count = blocks[-1]
                full = count == BLOCK_RECORDS or end + size - start > BLOCK_BYTES
                if full and count:
                    blocks.append([end, 0])
                blocks[-1][1] += 1
                end += size
        files.sync(temporary)
        sha256 = files.fingerprint(temporary)
        os.replace(temporary, path)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    shard = Shard(path.name, sum(count for _, count in blocks), end, sha256)
    return shard, np.array(blocks, np.int64)
