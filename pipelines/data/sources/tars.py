"""The members of tar archives, plain or compressed."""

import bz2
import functools
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.data.sources.content import FileContent, InMemory
from pipelines.data.sources.members import Member

OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
"""What opens a tar, by the end of its name in lower case."""

_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_MAX_HEADER_BYTES = 2**20
_MAX_DIGITS = 20  # Of a number in an extended header.
_KEPT = {"path": "path", "size": "size", "GNU": "sparse"}  # By the key's first word.


def members(path: Path, offset: int = 0) -> Iterator[Member]:
    """Gives the members of a tar in its order, holding one at a time.

    Of `tarfile` only the reading of one block is used: it takes memory for the maps of
    sparse files and time for extended headers without bound, and quietly stops at a
    damaged header.

    Args:
        path: The file.
        offset: Where in it the tar begins, which is not compressed then.

    Raises:
        tarfile.TarError: Or what the compression raises, if the tar is not whole.
    """
    where = str(path.absolute())
    opener = next(OPENERS[end] for end in OPENERS if path.name.lower().endswith(end))
    with opener(path, "rb") as stream:
        stream.seek(offset)
        for info in _infos(stream):
            start = stream.tell()
            yield Member(
                path=f"{info.name}/" if info.isdir() else info.name,
                size=info.size,
                oddity=_oddity(info),
                content=(
                    functools.partial(FileContent, where, start, info.size)
                    if opener is open
                    else functools.partial(_in_memory, stream, info.size)
                ),
            )
            _skip_to(stream, start + _blocks(info.size))
        if opener is not open:
            while stream.read(2**20):
                pass  # The checksum comes at the very end.


def _in_memory(stream: BinaryIO, size: int) -> InMemory:
    return InMemory(_read(stream, size))


def _oddity(info: tarfile.TarInfo) -> str | None:
    if info.type == tarfile.GNUTYPE_SPARSE:
        return "is a sparse file"
    return None if info.isfile() or info.isdir() else "is a link or a device"


def _infos(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Gives each member while the stream stands at its bytes."""
    for_all: dict[str, str] = {}
    for_next: dict[str, str] = {}
    while any(block := _read(stream, tarfile.BLOCKSIZE)):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in _EXTENDED:
            for_next |= _extended(_header(stream, info))
        elif info.type == tarfile.XGLTYPE:
            for_all |= _extended(_header(stream, info))
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            name, _, _ = _header(stream, info).partition(b"\0")
            for_next["path"] = _text(name)
        elif info.type == tarfile.GNUTYPE_LONGLINK:
            _header(stream, info)
        else:
            _apply(for_all | for_next, info)
            for_next = {}
            yield info
    if for_next:
        raise tarfile.ReadError("a header without its member")


def _header(stream: BinaryIO, info: tarfile.TarInfo) -> bytes:
    """Reads a header that goes before that of a member, and may expand from nothing."""
    if not 0 <= info.size <= _MAX_HEADER_BYTES:
        raise tarfile.ReadError(f"a header of {info.size} bytes")
    return _read(stream, _blocks(info.size))[: info.size]


def _extended(header: bytes) -> dict[str, str]:
    """Returns what is of use in lines such as `21 path=photos/1.jpg`.

    Each begins with its length.
    """
    values = {}
    start = 0
    while start < len(header) and header[start]:
        digits, _, _ = header[start : start + _MAX_DIGITS].partition(b" ")
        end = start + _number(_text(digits))
        key, equals, value = header[start + len(digits) + 1 : end - 1].partition(b"=")
        if end > len(header) or not equals or header[end - 1 : end] != b"\n":
            raise tarfile.ReadError("a damaged extended header")
        word, _, _ = _text(key).partition(".")
        if word in _KEPT:
            values[_KEPT[word]] = _text(value)
        start = end
    return values


def _apply(extended: Mapping[str, str], info: tarfile.TarInfo) -> None:
    if "sparse" in extended:
        info.type = tarfile.GNUTYPE_SPARSE
    if "path" in extended:
        info.name = extended["path"].rstrip("/")
    if "size" in extended:
        info.size = _number(extended["size"])
    if info.size < 0:  # It would lead back to where the header is.
        raise tarfile.ReadError(f"a member of {info.size} bytes")
    if not info.isreg():
        info.size = 0  # Links have the size of what they lead to, and no bytes.


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MAX_DIGITS:
        raise tarfile.ReadError(f"{digits[:_MAX_DIGITS]!r} is not a number")
    return int(digits)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _skip_to(stream: BinaryIO, end: int) -> None:
    # Seeking behind the end would go unnoticed.
    if end > stream.tell():
        stream.seek(end - 1)
        _read(stream, 1)
