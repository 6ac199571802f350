"""Files that are either whole or not there, and what is in them."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path that becomes `path` when the block ends well.

    The file is on the disk then, so that not even a power failure leaves half of it.

    Args:
        path: The file to write. Its suffixes are kept, since writers look at them.

    Example:

    >>> with replacing(Path("model.keras")) as temporary:
    ...     model.save(temporary)
    """
    temporary = path.with_name(f".partial-{path.name}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all; the same text is left as it is."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Where the system knows no such thing for folders, only files are waited for.
    """
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's content.

    Raises:
        OSError: If it cannot be read.

    Example:

    >>> fingerprint(Path("runs/demo/model/model.keras"))[:12]
    '9f86d081884c'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_problems(path: Path, sha256: str) -> Iterator[str]:
    """Compares a file with its checksum.

    Args:
        path: The file.
        sha256: What its content should have, hexadecimal.

    Returns:
        A sentence if it is missing, cannot be read or is another one.
    """
    try:
        found = fingerprint(path)
    except OSError as error:
        yield f"{path} cannot be read ({error.strerror})"
        return
    if found != sha256:
        yield f"{path} has the SHA-256 {found[:12]}..., not {sha256[:12]}..."
