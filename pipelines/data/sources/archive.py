"""Tar and zip archives of a folder tree, read as a stream and never unpacked."""

import bz2
import contextlib
import functools
import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, Self

from pipelines.data.sources.layout import find_layout
from pipelines.data.sources.source import SourceImage
from pipelines.errors import UserError

_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}

ARCHIVE_SUFFIXES = (*_OPENERS, ".zip")
"""What the names of archives end with, in lower or upper case."""


class Member(NamedTuple):
    """A file or folder in an archive, with a function that reads it.

    `is_plain` is False for links and devices; the path of a folder ends with a slash.
    """

    path: str
    is_plain: bool
    read: Callable[[], bytes]


class Archive:
    """Images in an archive, by the rules for folders.

    The list of members is read before the first image, so that an archive which is
    damaged or refused is so at once. A compressed tar is read through twice for it.

    Args:
        path: The archive.
    """

    def __init__(self, path: Path):
        status = path.stat()
        key = f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}"
        self.name = path.name[: -len(_suffix(path))]
        self.fingerprint = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        self._path = path
        self._members = _zip_members if _suffix(path) == ".zip" else _tar_members

    def __iter__(self) -> Iterator[SourceImage]:
        with _damage_told(self._path):
            layout = find_layout(self._checked_paths(), str(self._path))
            for member in self._members(self._path):
                place = layout.place(member.path)
                if place is not None:
                    image = member.read()
                    yield SourceImage(place.name, image, place.class_name, place.split)

    def class_order(self) -> None:
        """Folders have no order of their own."""

    def _checked_paths(self) -> Iterator[str]:
        for member in self._members(self._path):
            reason = _refusal(member)
            if reason:
                raise UserError(
                    f"{self._path} is refused because its member {member.path!r} "
                    f"{reason}; pack plain files and folders with relative names"
                )
            yield member.path


def _suffix(path: Path) -> str:
    return next(end for end in ARCHIVE_SUFFIXES if path.name.lower().endswith(end))


def _refusal(member: Member) -> str | None:
    if not member.is_plain:
        return "is a link or a device"
    if member.path.startswith("/") or PureWindowsPath(member.path).drive:
        return "has an absolute name"
    if ".." in PurePosixPath(member.path).parts:
        return "leads out of the archive"
    return None


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        RuntimeError,  # An encrypted zip.
        NotImplementedError,  # A zip with an unknown compression.
    ) as error:
        raise UserError(
            f"{path} is damaged or not a whole archive ({error}); make or copy it again"
        ) from error


class _StrictTarInfo(tarfile.TarInfo):
    """Refuses a damaged or missing header, at which `tarfile` quietly stops reading."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            is_end_mark = len(buf) == tarfile.BLOCKSIZE and not any(buf)
            raise error if is_end_mark else tarfile.ReadError(str(error)) from error


def _tar_members(path: Path) -> Iterator[Member]:
    with (
        _OPENERS[_suffix(path)](path, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r:", tarinfo=_StrictTarInfo) as tar,
    ):
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # It keeps them all.
            yield Member(
                path=f"{info.name}/" if info.isdir() else info.name,
                is_plain=info.isfile() or info.isdir(),
                read=functools.partial(_read_from_tar, tar, info),
            )
        while stream.read(2**20):
            pass  # A checksum, where there is one, comes at the very end.


def _read_from_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    return file.read() if file else b""


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            yield Member(
                path=info.filename.replace("\\", "/"),
                is_plain=kind in (0, stat.S_IFREG, stat.S_IFDIR),
                read=functools.partial(archive.read, info),
            )
