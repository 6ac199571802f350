"""Images of which nobody has to know the class, wherever they lie."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from pipelines.data.examples import Examples
from pipelines.data.sources.archive import ARCHIVE_SUFFIXES, members_of
from pipelines.data.sources.content import Content, FileContent, InMemory, unreadable
from pipelines.data.sources.folder import entries_of
from pipelines.data.sources.layout import is_image, visible_parts
from pipelines.data.sources.members import damage_told
from pipelines.data.sources.source import encodable
from pipelines.data.sources.table import TABLE_SUFFIXES, read_rows
from pipelines.data.sources.tfrecords import read_records
from pipelines.errors import UserError


class Found(NamedTuple):
    """An image as it was found.

    Attributes:
        path: Of its file; of a member of an archive, behind that of the archive.
        content: Where the encoded bytes are; `content.read()` gives them.
    """

    path: str
    content: Content


@dataclasses.dataclass(frozen=True)
class Images:
    """Images that are listed before the first of them is read.

    Args:
        arguments: Image files, and what is looked through for them: folders, with all
            that are in them; archives and tables, see `open_source`, of which neither
            folders nor labels are asked for; and what `python -m
            pipelines.prepare_data` made, training images first.
        count: How many there are.
        fingerprint: Of their paths, hexadecimal.

    Example:

    >>> images = Images.listed(["photos/", "more.tar"])
    >>> [image.path for image in images]
    ['photos/cat/1.jpg', 'more.tar/2.jpg']
    """

    arguments: tuple[str, ...]
    count: int
    fingerprint: str

    @classmethod
    def listed(cls, arguments: tuple[str, ...]) -> "Images":
        """Lists images; an archive in a stream is read through for it.

        Raises:
            UserError: If an argument holds no images, or is damaged or refused.
        """
        count, digest = 0, hashlib.sha256()
        for argument in arguments:
            before = count
            for image in _look_through(argument):
                digest.update(os.fsencode(image.path) + b"\0")
                count += 1
            if count == before:
                raise UserError(f"there are no images in {argument}; leave it out")
        if not count:
            raise UserError("no images given; name one or more, or their folder")
        return cls(arguments, count, digest.hexdigest())

    def __iter__(self) -> Iterator[Found]:
        """Gives the images, always in the same order; see `listed` for errors."""
        for argument in self.arguments:
            yield from _look_through(argument)


def _look_through(argument: str) -> Iterator[Found]:
    path = Path(os.path.expanduser(argument))
    name = argument.lower()
    try:
        if examples := Examples.prepared(argument):
            for split in examples.counts:
                yield from recorded(examples, split)
        elif os.path.isdir(path):
            for entry in entries_of(path):
                if is_image(entry) and visible_parts(entry):
                    yield _file(path / entry)
        elif not name.endswith((*ARCHIVE_SUFFIXES, *TABLE_SUFFIXES)):
            yield _file(path)
        elif not path.is_file():
            raise UserError(f"{path} does not exist; give another archive or table")
        elif name.endswith(ARCHIVE_SUFFIXES):
            yield from _of_archive(path)
        else:
            for row in read_rows(path, labelled=False):
                yield _file(path.parent / row.path)
    except OSError as error:
        raise unreadable(error) from error


def _file(path: Path) -> Found:
    return Found(encodable(str(path)), FileContent(str(path.absolute())))


def _of_archive(path: Path) -> Iterator[Found]:
    with damage_told(path):
        for member in members_of(path):
            parts = visible_parts(member.path)
            if parts and is_image(member.path):
                name = "/".join((str(path), *parts))
                yield Found(encodable(name), member.content())


def recorded(examples: Examples, split: str) -> Iterator[Found]:
    """Gives the images in a split's records, under the names of their files."""
    for file in examples.files(split):
        for serialized in read_records(Path(file)):
            features = tf.train.Example.FromString(serialized).features.feature
            name = features["image/filename"].bytes_list.value[0]
            encoded = features["image/encoded"].bytes_list.value[0]
            yield Found(name.decode("utf-8", "backslashreplace"), InMemory(encoded))
