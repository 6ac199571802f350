"""Finding one record by its number."""

import bisect
import contextlib
import itertools

import tensorflow as tf

from pipelines.data import records
from pipelines.data.quality.summary import Sample
from pipelines.data.reading import Blocks
from pipelines.errors import UserError


def find_record(blocks: Blocks, index: int) -> Sample:
    """Returns where a record lies, without reading those before its block.

    Args:
        blocks: All blocks of a split.
        index: Index of the record in the split, from 0.

    Raises:
        UserError: If there is no such record, or its shard ends before it.
        OSError: If its shard cannot be read.

    Example:

    >>> place = find_record(Blocks.of(examples, "validation"), 1234)
    >>> read_features(examples.files("validation"), place)["image/class/label"]
    """
    if not 0 <= index < blocks.records:
        raise UserError(f"there is no record {index} among {blocks.records}")
    row = bisect.bisect_right(blocks.table[:, 3], index) - 1
    shard, offset, _, first = map(int, blocks.table[row])
    frames = records.frames(blocks.files[shard], offset)
    with contextlib.suppress(tf.errors.DataLossError):
        for place in itertools.islice(frames, index - first, None):
            return Sample(shard, *place)
    raise UserError(f"{blocks.files[shard]} ends before record {index}")
