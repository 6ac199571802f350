"""Versions of a served model: numbered folders, whole, that say what they are of."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.data import folders

MADE_FROM = Path("assets.extra", "made_from.json")
"""What a version was made from; servers leave files there alone."""


def versions(served: Path) -> list[int]:
    """Returns the numbers of the versions in a served model's folder, ascending."""
    names = (path.name for path in served.iterdir())
    return sorted(int(name) for name in names if re.fullmatch("[0-9]+", name))


def read_made_from(version: Path) -> dict[str, Any]:
    """Returns what a version was made from; empty for one that does not say.

    Args:
        version: Its folder.

    Returns:
        `"model"`, fingerprints of the trained model's files; `"about"`, what was noted
        beside them; and `"files"`, SHA-256 of the version's own.
    """
    try:
        values = json.loads((version / MADE_FROM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def next_version(
    served: Path,
    made_from: dict[str, str],
    write: Callable[[Path], None],
    about: dict[str, Any] | None = None,
) -> Path:
    """Makes the next version, unless the newest was made from the same.

    A version appears whole, in one rename, so that a server that watches the folder
    never loads half of one. It says in `MADE_FROM` what it was made from; that is not
    done again, whatever the files' times are.

    Args:
        served: The folder of the versions, which are counted from 1.
        made_from: Fingerprints of what it is made from.
        write: Writes a version into a new, empty folder, beside which it may leave
            what is not part of it.
        about: What to note beside them, anything that JSON has.

    Returns:
        The folder of the newest version.

    Raises:
        UserError: If another process is making a version there.

    Example:

    >>> next_version(Path("serving/resnet20"), model_fingerprint(directory), write)
    PosixPath('serving/resnet20/1')
    """
    if found := _made_of(served, made_from):
        return found
    with folders.held(served):
        if found := _made_of(served, made_from):  # By another process, just now.
            return found
        target = served / str(max(versions(served), default=0) + 1)
        # Not among the versions: what a server finds there it may load.
        temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=served.parent))
        version = temporary / "version"  # Others may read it, as not what holds it.
        version.mkdir()
        try:
            write(version)
            _note(version, {"model": made_from, "about": about or {}})
            os.rename(version, target)
        finally:
            shutil.rmtree(temporary)
    return target


def _made_of(served: Path, made_from: dict[str, str]) -> Path | None:
    """Returns the newest version if that is what it was made from."""
    numbers = versions(served) if served.is_dir() else []
    newest = served / str(max(numbers, default=0))
    return newest if read_made_from(newest).get("model") == made_from else None


def _note(version: Path, values: dict[str, Any]) -> None:
    """Writes what a version was made from and what it consists of."""
    written = sorted(path for path in version.rglob("*") if path.is_file())
    for path in written:
        files.sync(path)
    checksums = {
        path.relative_to(version).as_posix(): files.fingerprint(path)
        for path in written
    }
    path = version / MADE_FROM
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({**values, "files": checksums}, indent=2, ensure_ascii=False)
    files.write_text(path, text + "\n")
