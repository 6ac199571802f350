"""Tar and zip archives of a folder tree, never unpacked."""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.data.sources import tars, zips
from pipelines.data.sources.layout import Layout, find_layout
from pipelines.data.sources.members import Member, check, damage_told
from pipelines.data.sources.source import Source, SourceImage, encodable, stamp

_READERS = {**dict.fromkeys(tars.OPENERS, tars.members), ".zip": zips.members}

ARCHIVE_SUFFIXES = tuple(_READERS)
"""What the names of archives end with, in lower or upper case."""


class Archive(Source):
    """Images in an archive, by the rules for folders.

    The list of members is read before the first image, so that an archive which is
    damaged or refused is so at once. A compressed tar is read through twice for it.

    Members of a tar that is not compressed, and of a zip, are read where they are
    wanted. Memory does not grow with the number of a tar's members; the directory of a
    zip takes about 0.6 kB for each.

    Args:
        path: The archive.
    """

    orientation = "apply"

    def __init__(self, path: Path):
        self.name = encodable(path.name[: -len(_suffix(path))])
        self.fingerprint = hashlib.sha256(stamp(path.name, path.stat())).hexdigest()
        self._path = path

    def __iter__(self) -> Iterator[SourceImage]:
        layout = self._layout
        with damage_told(self._path):
            for member in members_of(self._path):
                place = layout.place(member.path)
                if place is not None:
                    content = member.content()
                    yield SourceImage(
                        place.name, content, place.class_name, place.split
                    )

    def passed_over(self) -> Mapping[str, int]:
        """Returns how many files by their names are no images, by suffix."""
        return self._layout.passed_over

    @functools.cached_property
    def _layout(self) -> Layout:
        with damage_told(self._path):
            paths = (member.path for member in members_of(self._path))
            return find_layout(paths, str(self._path))


def members_of(path: Path) -> Iterator[Member]:
    """Gives the members of an archive in its order; see `damage_told`.

    Args:
        path: The archive; its name ends with one of `ARCHIVE_SUFFIXES`.

    Raises:
        UserError: If one is refused, see `check`.
    """
    for member in _READERS[_suffix(path)](path):
        check(member, str(path))
        yield member


def _suffix(path: Path) -> str:
    return next(end for end in _READERS if path.name.lower().endswith(end))
