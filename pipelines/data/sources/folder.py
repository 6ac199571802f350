"""A folder tree with one folder of images per class."""

import hashlib
import operator
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.data.sources.content import (
    MAX_IMAGE_BYTES,
    FileContent,
    too_large,
    unreadable,
)
from pipelines.data.sources.layout import find_layout, is_image
from pipelines.data.sources.members import MAX_FOLDERS
from pipelines.data.sources.source import Source, SourceImage, encodable, stamp
from pipelines.errors import UserError

Inodes = tuple[tuple[int, int], ...]


class Folder(Source):
    """Images in `<class>/**/`, or in `train/<class>/**/` and `val/<class>/**/`.

    Args:
        path: The folder around the class folders. Links in it are followed.

    Raises:
        UserError: If it cannot be read, or see `find_layout`.
    """

    orientation = "apply"

    def __init__(self, path: Path):
        self.name = encodable(path.resolve().name)
        self._path = path
        digest = hashlib.sha256()

        def fingerprinted() -> Iterator[str]:
            for entry in entries_of(path):
                if is_image(entry):
                    status = os.stat(path / entry)
                    if not stat.S_ISREG(status.st_mode):
                        raise UserError(
                            f"{path / entry} is a pipe or a device; take it out of the "
                            "data"
                        )
                    if status.st_size > MAX_IMAGE_BYTES:
                        raise too_large(str(path / entry))
                    digest.update(stamp(entry, status))
                yield entry

        try:
            self._layout = find_layout(fingerprinted(), str(path))
        except OSError as error:
            raise unreadable(error) from error
        self.fingerprint = digest.hexdigest()

    def __iter__(self) -> Iterator[SourceImage]:
        top = self._path.absolute()
        try:
            for entry in entries_of(self._path):
                place = self._layout.place(entry)
                if place is not None:
                    content = FileContent(os.path.join(top, entry))
                    yield SourceImage(
                        place.name, content, place.class_name, place.split
                    )
        except OSError as error:
            raise unreadable(error) from error

    def passed_over(self) -> Mapping[str, int]:
        """Returns how many files by their names are no images, by suffix."""
        return self._layout.passed_over


def entries_of(top: Path, below: str = "", around: Inodes = ()) -> Iterator[str]:
    """Gives relative paths of files and, with a slash, folders, sorted in each.

    Args:
        top: The folder to look through; what is hidden in it is passed over.
        below: The folder in it to begin with, ending with a slash.
        around: The folders around that.

    Raises:
        UserError: If folders lead back to those around them, or are too deep.
        OSError: If one cannot be read.
    """
    folder = top / below
    status = os.stat(folder)
    inode = (status.st_dev, status.st_ino)
    if inode in around:
        raise UserError(
            f"{folder} is a link to a folder around it; take it out of the data"
        )
    if len(around) > MAX_FOLDERS:
        raise UserError(
            f"{folder} lies in more than {MAX_FOLDERS} folders; move it upwards"
        )
    with os.scandir(folder) as found:
        entries = sorted(found, key=operator.attrgetter("name"))
    for entry in entries:
        if not entry.is_dir():
            yield below + entry.name
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield f"{below}{entry.name}/"
            yield from entries_of(top, f"{below}{entry.name}/", (*around, inode))
