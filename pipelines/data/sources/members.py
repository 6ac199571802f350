"""What the members of archives have in common, and which are refused."""

import contextlib
import ntpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.data.sources.content import DAMAGE, MAX_IMAGE_BYTES, Content, too_large
from pipelines.data.sources.layout import is_image
from pipelines.errors import UserError

_MAX_NAME = 4_096  # That of a path on Linux.
MAX_FOLDERS = 100
"""Around an image."""


class Member(NamedTuple):
    """A file or folder in an archive.

    Attributes:
        path: Its name; that of a folder ends with a slash.
        size: In bytes, unpacked.
        oddity: What keeps it from being a plain file or folder, such as `"is a link"`.
        content: Gives where its bytes are; to be called before the next member comes.
    """

    path: str
    size: int
    oddity: str | None
    content: Callable[[], Content]


def check(member: Member, origin: str) -> None:
    """Refuses a member that is not a plain one with a relative name.

    Args:
        member: Of an archive.
        origin: The archive, for messages.

    Raises:
        UserError: If it is unsafe, or an image larger than `MAX_IMAGE_BYTES`.
    """
    reason = member.oddity or bad_name(member.path)
    if reason:
        raise UserError(
            f"{origin} is refused because its member {member.path[:200]!r} {reason}; "
            "pack plain files and folders with relative names"
        )
    if member.size > MAX_IMAGE_BYTES and is_image(member.path):
        raise too_large(f"{member.path!r} in {origin}")


def bad_name(path: str) -> str | None:
    """Says what keeps a path from being a sensible one below the data's folder."""
    if path.startswith("/") or ntpath.splitdrive(path)[0]:
        return "has an absolute name"
    if len(path) > _MAX_NAME:
        return f"has a name of more than {_MAX_NAME} characters"
    if path.count("/") > MAX_FOLDERS:
        return f"lies in more than {MAX_FOLDERS} folders"
    if ".." in path.split("/"):
        return "leads out of the data"
    return None


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turns what reading a damaged archive raises into a sentence about it."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"{path} is damaged or not a whole archive ({error}); make or copy it again"
        ) from error
