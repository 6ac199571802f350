"""The bytes of an image, as a value that says where they are.

A content is small, picklable and read where the bytes are wanted: in a thread or in a
process on another machine that sees the same files.
"""

import functools
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from typing import NamedTuple, Protocol

from pipelines.errors import UserError

MAX_IMAGE_BYTES = 256 * 2**20
"""Greatest size of an encoded image; a larger one is refused before it is read."""

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # An encrypted zip.
    NotImplementedError,  # A zip with an unknown compression.
)
"""What reading a damaged archive raises."""

_DAMAGED_FIELDS = (struct.error, ValueError, IndexError, OverflowError)
"""What `zipfile` raises besides, for names that are no text and numbers that lie."""


class Content(Protocol):
    """Where the bytes of an image are."""

    def read(self) -> bytes:
        """Returns the encoded image.

        Raises:
            UserError: If it cannot be read.
        """
        ...


class InMemory(NamedTuple):
    """Bytes that are there already, since they came in a stream."""

    data: bytes

    def read(self) -> bytes:
        """Returns the encoded image."""
        return self.data


class FileContent(NamedTuple):
    """A file, or a range of its bytes.

    Args:
        path: The file; absolute, if it is to be read elsewhere.
        offset: Of the first byte.
        size: Number of bytes; None for all to the end of the file.
    """

    path: str
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """Returns the encoded image.

        Raises:
            UserError: If the file cannot be read, is shorter than expected or larger
                than `MAX_IMAGE_BYTES`.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                limit = MAX_IMAGE_BYTES + 1 if self.size is None else self.size
                data = file.read(limit)
        except OSError as error:
            raise unreadable(error) from error
        if self.size is not None and len(data) < self.size:
            raise UserError(
                f"{self.path} is shorter than when it was listed; leave it as it is "
                "while it is read"
            )
        if len(data) > MAX_IMAGE_BYTES:
            raise too_large(self.path)
        return data


class ZipContent(NamedTuple):
    """A member of a zip archive.

    Reading one after the other opens the archive once in each process.

    Args:
        path: The archive.
        member: Name of the member, as the archive has it.
    """

    path: str
    member: str

    def read(self) -> bytes:
        """Returns the encoded image.

        Raises:
            UserError: If the archive or the member cannot be read.
        """
        try:
            archive = open_zip(self.path)
            info = archive.getinfo(self.member)
            with archive.open(info) as file:
                # Not more than announced, even if more comes out of the compression;
                # and one byte more, so that the checksum is looked at.
                return file.read(info.file_size + 1)
        except (*DAMAGE, *_DAMAGED_FIELDS, KeyError) as error:
            raise UserError(
                f"{self.member!r} in {self.path} is damaged ({error}); make or copy "
                "the archive again"
            ) from error


def open_zip(path: str) -> zipfile.ZipFile:
    """Returns an archive that stays open until another one is wanted.

    Threads may share it. A process that was forked opens its own, since files that
    were open before share their position.
    """
    return _open_zip(path, os.stat(path).st_mtime_ns, os.getpid())


@functools.lru_cache(maxsize=1)
def _open_zip(path: str, changed: int, process: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _DAMAGED_FIELDS as error:
        raise zipfile.BadZipFile(str(error)) from error


def unreadable(error: OSError) -> UserError:
    """Returns the error for a file that the system does not let us read."""
    return UserError(
        f"{error.filename} cannot be read ({error.strerror}); mend it or take it out "
        "of the data"
    )


def too_large(what: str) -> UserError:
    """Returns the error for an image that is larger than `MAX_IMAGE_BYTES`."""
    return UserError(
        f"{what} is larger than {MAX_IMAGE_BYTES // 2**20} MiB, which no image is "
        "expected to be; take it out of the data"
    )
