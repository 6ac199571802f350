"""The second pass of ingest: writes the shards, each by itself."""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipelines.data import records
from pipelines.data.ingest.entry import Entry, ShardTask
from pipelines.data.ingest.executors import Executor
from pipelines.data.ingest.ledger import Ledger
from pipelines.data.records import Shard
from pipelines.errors import UserError

_ROWS = 256


def write_shards(
    ledger: Ledger,
    ledger_path: Path,
    directory: Path,
    shard_bytes: int,
    executor: Executor,
    advance: Callable[[int], object],
) -> list[Shard]:
    """Writes the records that the ledger has put in order.

    Args:
        ledger: Also says which shards are written already.
        ledger_path: Where it lies; other files are made beside it.
        directory: Gets the shards and, for each split, the table of its blocks.
        shard_bytes: Approximate size of a shard.
        executor: Writes them, one per task.
        advance: Called with numbers of records that are written.

    Returns:
        All shards, by name.

    Raises:
        UserError: If an image has changed or cannot be read.
        OSError: If the disk is full; or `sqlite3.Error`.
    """
    directory.mkdir(exist_ok=True)
    done = {shard.name for shard, _ in ledger.shards()}
    tasks = []
    for task in _tasks(ledger, ledger_path, directory, shard_bytes):
        if task.path.name in done:
            advance(task.records)
        else:
            tasks.append(task)
    for shard, blocks in executor.map(write_shard, tasks):
        ledger.add_shard(shard, blocks)
        advance(shard.records)
    _write_blocks(ledger, directory)
    return [shard for shard, _ in ledger.shards()]


def write_shard(task: ShardTask) -> tuple[Shard, np.ndarray]:
    """Writes a shard; see `records.write_shard`.

    Raises:
        UserError: If an image has changed since it was looked at.
    """
    with Ledger(task.ledger_path, read_only=True) as ledger:
        return records.write_shard(
            task.path, _records(ledger, task.first, task.records), task.temporary_dir
        )


def _tasks(
    ledger: Ledger, ledger_path: Path, directory: Path, shard_bytes: int
) -> Iterator[ShardTask]:
    mean_bytes = ledger.mean_bytes()
    start = 0
    for split, count in ledger.counts().items():
        if not count:  # Nobody trains on what is evaluated on.
            continue
        shards = math.ceil(count * mean_bytes / shard_bytes)
        bounds = [-(-shard * count // shards) for shard in range(shards + 1)]
        for shard, (first, end) in enumerate(itertools.pairwise(bounds)):
            name = f"{split}-{shard:05}-of-{shards:05}.tfrecord"
            yield ShardTask(
                path=directory / name,
                first=start + first,
                records=end - first,
                ledger_path=ledger_path,
                temporary_dir=ledger_path.parent,
            )
        start += count


def _records(ledger: Ledger, first: int, count: int) -> Iterator[bytes]:
    # A few rows at a time: while the ledger is read, nothing can be noted in it.
    for start in range(first, first + count, _ROWS):
        for label, entry in ledger.records(start, min(_ROWS, first + count - start)):
            yield records.to_example(
                _unchanged(entry),
                name=entry.name,
                label=label,
                class_name=entry.class_name,
                image_format=entry.format,
                height=entry.height,
                width=entry.width,
                sha256=entry.sha256.hex(),
            )


def _unchanged(entry: Entry) -> bytes:
    image = entry.content.read()
    if not entry.is_made and hashlib.sha256(image).digest() != entry.sha256:
        raise UserError(
            f"{entry.name} has changed while it was read; leave the data as it is and "
            "run again"
        )
    return image


def _write_blocks(ledger: Ledger, directory: Path) -> None:
    for split in ledger.counts():
        records.write_blocks(
            directory,
            split,
            (
                blocks
                for shard, blocks in ledger.shards()
                if shard.name.startswith(f"{split}-")
            ),
        )
