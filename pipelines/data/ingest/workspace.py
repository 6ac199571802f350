"""A folder for unfinished work, which one process at a time goes on with."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.data import folders

_MADE_FROM = "made_from.json"


@contextlib.contextmanager
def workspace(path: Path, made_from: dict[str, Any]) -> Iterator[None]:
    """Holds a folder for the work on one thing.

    What is in the folder was left by a process that was killed or interrupted while it
    made the same thing, or that failed to; anything else in it is removed first. The
    folder vanishes at the end of the block, and stays when the block fails.

    Args:
        path: The folder; made if it is not there.
        made_from: What decides the result, as values for JSON.

    Raises:
        UserError: If another process holds the folder.
        OSError: If it cannot be made.

    Example:

    >>> with workspace(Path("examples.partial"), {"source": "photos"}):
    ...     Path("examples.partial/done").touch()
    """
    with folders.held(path):
        _clear_unless(path, json.dumps(made_from, sort_keys=True))
        yield
        shutil.rmtree(path, ignore_errors=True)


def _clear_unless(path: Path, made_from: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if (path / _MADE_FROM).read_text(encoding="utf-8") == made_from:
            return
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != folders.LOCK:
            entry.unlink()
    files.write_text(path / _MADE_FROM, made_from)
