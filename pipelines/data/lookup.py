"""Finding one record by its number."""

import numpy as np

from pipelines.data.quality.summary import Sample
from pipelines.data.reading import Blocks
from pipelines.errors import UserError

_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4


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
    row = np.searchsorted(blocks.table[:, 3], index, side="right") - 1
    shard, offset, _, first = map(int, blocks.table[row])
    with open(blocks.files[shard], "rb") as file:
        file.seek(0, 2)
        end = file.tell()
        for _ in range(index - first + 1):
            file.seek(offset)
            size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            start = offset + _LENGTH_BYTES + _CHECKSUM_BYTES
            offset = start + size + _CHECKSUM_BYTES
            if offset > end:
                raise UserError(f"{blocks.files[shard]} ends before record {index}")
    return Sample(shard, start, size)
