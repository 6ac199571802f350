"""What ingest hands on: images that were looked at, and shards to be written."""

from pathlib import Path
from typing import NamedTuple

from pipelines.data.sources.content import Content


class Entry(NamedTuple):
    """What is known of an image after it has been looked at.

    Attributes:
        name: See `SourceImage`.
        class_name: See `SourceImage`.
        split: See `SourceImage`.
        content: Where the bytes to be written are.
        is_made: Whether they were made of the image and are not those that were found.
        sha256: SHA-256 of the image as it was found, 32 bytes.
        format: Such as `"JPEG"`.
        height: In pixels.
        width: In pixels.
        bytes: Number of bytes to be written.
        problem: Why the image cannot be used, or None; all after `sha256` means
            nothing if it cannot.
    """

    name: str
    class_name: str
    split: str | None
    content: Content
    is_made: bool
    sha256: bytes
    format: str
    height: int
    width: int
    bytes: int
    problem: str | None


class ShardTask(NamedTuple):
    """A shard to be written, by anyone who sees these files.

    Attributes:
        path: The shard.
        first: Rank of its first record.
        records: Number of records.
        ledger_path: The ledger, which says what they are.
        temporary_dir: Where the shard grows.
    """

    path: Path
    first: int
    records: int
    ledger_path: Path
    temporary_dir: Path
