"""Whether examples are still what was written."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipelines import files
from pipelines.data.examples import Examples
from pipelines.data.reading import Blocks, read_in_order
from pipelines.errors import UserError


def examples_problems(examples: Examples) -> Iterator[str]:
    """Compares the shards with the manifest's checksums, and records with their own.

    Args:
        examples: What to look at; all of it is read twice.

    Returns:
        A sentence for each problem.

    Example:

    >>> list(examples_problems(Examples.load(Path("data/demo/examples"))))
    []
    """
    for shard in examples.shards:
        yield from files.checksum_problems(
            examples.directory / shard.name, shard.sha256
        )
    for split, count in examples.counts.items():
        try:
            blocks = Blocks.of(examples, split)
            yield from _unreadable(blocks)
        except UserError as error:
            yield str(error)
        except tf.errors.OpError as error:
            yield f"{blocks.table_path} is damaged ({error.message.splitlines()[0]})"
        else:
            if blocks.records != count:
                yield (
                    f"{blocks.table_path} lists {blocks.records} records, not {count} "
                    "as the manifest says"
                )


def _unreadable(blocks: Blocks) -> Iterator[str]:
    for row, records in read_in_order(blocks):
        shard, _, count, first = map(int, row)
        if not np.all(records != b""):
            number = first - int(blocks.first_records[shard])
            yield (
                f"{blocks.files[shard]}: records {number} to {number + count - 1} "
                "cannot be read"
            )
