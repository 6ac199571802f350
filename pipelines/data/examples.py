"""What the components hand on to each other: folders, and what is known about them."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from pipelines.data import folders
from pipelines.data.records import BLOCK_RECORDS, Shard, blocks_path
from pipelines.errors import UserError


@dataclasses.dataclass(frozen=True)
class Examples:
    """Records of images, split for training and validation.

    Args:
        directory: Holds the shards, `<split>-00000-of-00008.tfrecord`, in the format of
            `pipelines.data.records`, `<split>-blocks.npy` and the manifest
            `examples.json`.
        classes: The class names; a label is an index into them.
        counts: Number of images in the splits `"train"` and `"validation"`.
        shards: Name, number of records, size and SHA-256 of each shard.
        skipped_count: Number of images that cannot be used.
        skipped: Name and reason for each of them, of the first 1,000.
        duplicates: For `"train"` and `"validation"`, how many images are equal byte for
            byte to another of their split; for `"across"`, how many validation images
            are training images, too.
        leaked: Names of equal training and validation images, the first 20 pairs.
        passed_over: How many files of the source by their names are no images, by
            suffix.
        mean_bytes: Mean size of an encoded image.
        made_from: The source, its fingerprint and the parameters; equal values give
            equal shards.
        made_with: Versions of the packages that made them.

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
    passed_over: dict[str, int] = dataclasses.field(default_factory=dict)
    mean_bytes: int = 0
    made_from: dict[str, Any] = dataclasses.field(default_factory=dict)
    made_with: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def orientation(self) -> str:
        """`"apply"` if photographs were turned upright when these were made."""
        return str(self.made_from.get("orientation", "ignore"))

    def files(self, split: str) -> list[str]:
        """Returns the paths of a split's shards, sorted."""
        names = (shard.name for shard in self.shards)
        return sorted(
            str(self.directory / name) for name in names if name.startswith(f"{split}-")
        )

    def blocks(self, split: str) -> np.ndarray:
        """Returns where runs of consecutive records are, in the order of the records.

        Args:
            split: `"train"` or `"validation"`.

        Returns:
            int64 `(blocks, 3)`: index of the shard in `files(split)`, byte offset in
            it, and number of records, at most 256 and about 4 MiB of them.

        Raises:
            UserError: If the list is missing or damaged.
        """
        path = blocks_path(self.directory, split)
        try:
            # Mapped, not read: the header may promise more than there is.
            blocks: np.ndarray = np.array(np.load(path, mmap_mode="r"))
            self._check_blocks(blocks, split)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"{path} is missing or damaged ({error}); make the examples again"
            ) from error
        return blocks

    def _check_blocks(self, blocks: np.ndarray, split: str) -> None:
        if blocks.dtype != np.int64 or blocks.shape[1:] != (3,):
            raise ValueError("not int64 of three columns")
        shards, offsets, counts = blocks.T
        is_shard = (shards >= 0) & (shards < len(self.files(split)))
        in_block = (counts > 0) & (counts <= BLOCK_RECORDS)
        if not (is_shard & in_block & (offsets >= 0)).all():
            raise ValueError("a block that cannot be")

    def save(self) -> None:
        """Writes the manifest; a directory that has one is whole."""
        values = dataclasses.asdict(self)
        del values["directory"]
        text = json.dumps(values, indent=2, ensure_ascii=False)
        files.write_text(self.directory / _MANIFEST, text + "\n")

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
        for directory in (Path(data).expanduser(), Path(data, "examples").expanduser()):
            if data and cls.is_in(directory):
                return cls.load(directory.absolute())
        return None

    @classmethod
    def load(cls, directory: Path) -> "Examples":
        """Returns the examples in `directory`.

        Raises:
            UserError: If there is no manifest, or none that can be read.
        """
        with folders.read_values(
            directory / _MANIFEST,
            missing=f"{directory} holds no examples (no {_MANIFEST})",
            mend=f"remove {directory} and run again",
        ) as values:
            values["classes"] = tuple(values["classes"])
            values["shards"] = tuple(
                Shard(**shard) for shard in values.get("shards", ())
            )
            for key in ("skipped", "leaked"):
                pairs = values.get(key, ())
                values[key] = tuple((first, second) for first, second in pairs)
            return cls(directory=directory, **values)


_MANIFEST = "examples.json"
