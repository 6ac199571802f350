"""What the components hand on to each other: folders, and what is known about them."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from pipelines.data import folders
from pipelines.data.records import (
    BLOCK_RECORDS,
    VERSION,
    Shard,
    blocks_path,
    read_blocks,
)
from pipelines.errors import UserError


@dataclasses.dataclass(frozen=True)
class Examples:
    """Records of images, split for training and validation.

    Args:
        directory: Holds the shards, `<split>-00000-of-00008.tfrecord`, in the format of
            `pipelines.data.records`, `<split>.blocks` and the manifest `examples.json`.
        classes: The class names; a label is an index into them.
        counts: Number of images in the splits `"train"` and `"validation"`.
        shards: Name, number of records, size and SHA-256 of each shard.
        skipped_count: Number of images that cannot be used.
        skipped: Name and reason for each of them, of the first 1,000.
        duplicates: For `"train"` and `"validation"`, how many images are equal byte for
            byte to another of their split; for `"across"`, how many validation images
            are training images, too.
        leaked: Names of equal training and validation images, the first 20 pairs.
        conflicts: How many different images are in more than one class.
        conflicting: Names of such equal images of two classes, the first 20 pairs.
        passed_over: How many files of the source by their names are no images, by
            suffix.
        mean_bytes: Mean size of an encoded image.
        made_from: The source, its fingerprint and the parameters; equal values give
            equal shards.
        made_with: Versions of the packages that made them.
        are_checked: Whether all records have been read before, so that their lengths
            need not be looked at; not in the manifest.

    Example:

    >>> examples = Examples.load(Path("runs/demo/examples"))
    >>> examples.counts
    {'train': 5400, 'validation': 600}
    """

    directory: Path
    classes: tuple[str, ...]
    counts: dict[str, int]
    shards: tuple[Shard, ...] = ()
    skipped_count: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    duplicates: dict[str, int] = dataclasses.field(default_factory=dict)
    leaked: tuple[tuple[str, str], ...] = ()
    conflicts: int = 0
    conflicting: tuple[tuple[str, str], ...] = ()
    passed_over: dict[str, int] = dataclasses.field(default_factory=dict)
    mean_bytes: int = 0
    made_from: dict[str, Any] = dataclasses.field(default_factory=dict)
    made_with: dict[str, str] = dataclasses.field(default_factory=dict)
    are_checked: bool = False

    @property
    def orientation(self) -> str:
        """`"apply"` if photographs were turned upright when these were made."""
        return str(self.made_from.get("orientation", "ignore"))

    def files(self, split: str) -> list[str]:
        """Returns the paths of a split's shards, sorted."""
        return [str(self.directory / shard.name) for shard in self.shards_of(split)]

    def shards_of(self, split: str) -> list[Shard]:
        """Returns a split's shards, sorted by name."""
        found = [one for one in self.shards if one.name.startswith(f"{split}-")]
        return sorted(found, key=lambda shard: shard.name)

    def blocks(self, split: str) -> np.ndarray:
        """Returns where runs of consecutive records are, in the order of the records.

        Args:
            split: `"train"` or `"validation"`.

        Returns:
            int64 `(blocks, 4)`: index of the shard in `files(split)`, byte offset in
            it, number of records, at most 256 and about 4 MiB of them, and index of the
            first one in the split. They stay on the disk.

        Raises:
            UserError: If the table is missing or damaged.
        """
        try:
            blocks = read_blocks(self.directory, split)
            shards = len(self.shards_of(split))
            for start in range(0, len(blocks), _ROWS_AT_ONCE):
                _check_blocks(blocks[start : start + _ROWS_AT_ONCE], shards)
            return blocks
        except (OSError, ValueError) as error:
            raise UserError(
                f"{blocks_path(self.directory, split)} is missing or damaged "
                f"({error}); make the examples again"
            ) from error

    def save(self) -> None:
        """Writes the manifest; a directory that has one is whole."""
        text = json.dumps(self._values(), indent=2, ensure_ascii=False)
        files.write_text(self.directory / _MANIFEST, text + "\n")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the records, wherever they lie, hexadecimal."""
        text = json.dumps(self._values(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["directory"], values["are_checked"]
        return values

    @classmethod
    def is_in(cls, directory: Path) -> bool:
        """Tells whether `directory` has a manifest."""
        return os.path.isfile(directory / _MANIFEST)  # False for what is no name.

    @classmethod
    def prepared(cls, data: str) -> "Examples | None":
        """Returns the examples that `--data` names, None if it names something else.

        Args:
            data: A folder of examples, or one with such a folder `examples`, as
                `python -m pipelines.prepare_data` makes.
        """
        path = Path(os.path.expanduser(data))
        for directory in (path, path / "examples"):
            if data and cls.is_in(directory):
                return cls.load(directory.absolute())
        return None

    @classmethod
    def load(cls, directory: Path) -> "Examples":
        """Returns the examples in `directory`.

        Raises:
            UserError: If there is no manifest, none that can be read, or an older one.
        """
        with folders.read_values(
            directory / _MANIFEST,
            missing=f"{directory} holds no examples (no {_MANIFEST})",
            mend=f"remove {directory} and run again",
        ) as values:
            version = values.get("made_from", {}).get("format", VERSION)
            if version != VERSION:
                raise UserError(
                    f"{directory} holds examples of format {version}, of which images "
                    f"would follow each other in another order than in format "
                    f"{VERSION}; make the examples again in another folder"
                )
            values["classes"] = tuple(values["classes"])
            values["shards"] = tuple(
                Shard(**shard) for shard in values.get("shards", ())
            )
            for key in ("skipped", "leaked", "conflicting"):
                pairs = values.get(key, ())
                values[key] = tuple((first, second) for first, second in pairs)
            return cls(directory=directory, are_checked=False, **values)


def _check_blocks(blocks: np.ndarray, shards: int) -> None:
    shard, offsets, counts, _ = blocks.T
    is_shard = (shard >= 0) & (shard < shards)
    in_block = (counts > 0) & (counts <= BLOCK_RECORDS)
    if not (is_shard & in_block & (offsets >= 0)).all():
        raise ValueError("a block that cannot be")


_MANIFEST = "examples.json"
_ROWS_AT_ONCE = 2**20
