"""What every source gives."""

import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from pipelines.data.sources.content import Content
from pipelines.errors import UserError


class SourceImage(NamedTuple):
    """One image as it was found.

    Attributes:
        name: Such as `"cat/photo 1.jpg"`; used in messages. Unique, but in a tar that
            holds two members of a name.
        content: Where the encoded bytes are; `content.read()` gives them.
        class_name: Name of its class.
        split: `"train"` or `"validation"` where the data says so, else None.
    """

    name: str
    content: Content
    class_name: str
    split: str | None


class Source(Protocol):
    """Images to be ingested; can be iterated over several times.

    Attributes:
        name: Short, without a path; can be encoded as UTF-8.
        fingerprint: Hexadecimal; changes when the data changes. It is made of names,
            sizes and times of change, not of the images.
        orientation: What is done by default about the orientation in EXIF data:
            `"apply"` for what people collect, as photographs of a phone lie on their
            sides otherwise; `"ignore"` for data sets that others trained on so.
    """

    name: str
    fingerprint: str
    orientation: str = "ignore"

    def __iter__(self) -> Iterator[SourceImage]:
        """Gives every image, always in the same order.

        Where the data allows random access, no image is read before it is asked for.

        Raises:
            UserError: If the data is damaged, refused or cannot be read.
        """
        ...

    def class_order(self) -> tuple[str, ...] | None:
        """Returns the class names in the order of the data's own labels.

        None where the data has no labels of its own. Valid after iteration.
        """
        return None

    def passed_over(self) -> Mapping[str, int]:
        """Returns how many files by their names are no images, by suffix."""
        return {}


class HeldOut(Source):
    """What is to be evaluated on: validation images, whatever a source takes them for.

    Args:
        source: The images.
        split: `"train"` or `"validation"`: which are taken, of a source with splits.
    """

    def __init__(self, source: Source, split: str) -> None:
        self.name, self.fingerprint = source.name, source.fingerprint
        self.orientation = source.orientation
        self._source, self._split = source, split

    def __iter__(self) -> Iterator[SourceImage]:
        for image in self._source:
            if image.split in (None, self._split):
                yield image._replace(split="validation")

    def class_order(self) -> tuple[str, ...] | None:
        """See `Source`."""
        return self._source.class_order()

    def passed_over(self) -> Mapping[str, int]:
        """See `Source`."""
        return self._source.passed_over()


def stamp(name: str, status: os.stat_result) -> bytes:
    """Returns what a fingerprint takes of a file: its name, size and time of change."""
    times = b"%d\0%d\0" % (status.st_size, status.st_mtime_ns)
    return os.fsencode(name) + b"\0" + times


def encodable(name: str) -> str:
    """Makes a name that is not UTF-8 on disk so, keeping it unique."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_class_name(name: str, origin: object) -> None:
    """Refuses the name of a class that does not stay one line of `labels.txt`.

    Raises:
        UserError: If it holds a control character, such as a line break.
    """
    if any(unicodedata.category(character) in _CONTROL for character in name):
        raise UserError(
            f"{origin} has the class {name!r}, whose name holds a control character "
            "such as a line break; rename it"
        )


_CONTROL = ("Cc", "Zl", "Zp")  # Characters that control, and separate lines.

SPLIT_WORDS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""The words by which data names its splits."""


def roles(found: Collection[str]) -> dict[str, str]:
    """Decides what the splits that data has are used for.

    Test images stand in for missing validation images, and are left out otherwise. Data
    without training images, or with nothing else, has no split of its own.

    Args:
        found: Values of `SPLIT_WORDS`.

    Returns:
        `"train"` or `"validation"` for each split that is used.

    Example:

    >>> roles({"train", "test"})
    {'train': 'train', 'test': 'validation'}
    """
    if "train" not in found:
        return {}
    for held_out in ("validation", "test"):
        if held_out in found:
            return {"train": "train", held_out: "validation"}
    return {}
