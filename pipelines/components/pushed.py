"""Versions in the folder of a server: pushed there, listed, rolled back."""

import getpass
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.serving.versions import (
    MADE_FROM,
    copy_version,
    find_version,
    newest,
    read_made_from,
    roll_back,
    versions,
)


def find_source(model: Path) -> Path:
    """Returns the folder of the version that is pushed.

    Args:
        model: A run's folder, whose newest SavedModel is taken; the folder of an
            export's versions; or one version's.

    Raises:
        UserError: If there is none.

    Example:

    >>> find_source(Path("runs/demo"))
    PosixPath('runs/demo/serving/resnet20/1')
    """
    if (model / MADE_FROM).is_file():
        return model
    return newest(model) or find_version(model)


def push(
    source: Path,
    served: Path,
    blessing: Sequence[str] = (),
    check: Callable[[Path], None] = lambda version: None,
) -> tuple[Path, bool]:
    """Makes a version that lies elsewhere the live one of a server.

    Args:
        source: Its folder.
        served: The folder of the server's versions, its `--model_base_path`.
        blessing: What was found before it was pushed, to be noted.
        check: Raises if the copy must not become a version, see `next_version`.

    Returns:
        The folder of the live version, and whether it was pushed now: the same again
        does nothing.

    Raises:
        UserError: If `served` is no folder for versions, files of the source are not
            what was written, or another process is pushing.

    Example:

    >>> push(find_source(Path("runs/demo")), Path("/models/demo"))
    (PosixPath('/models/demo/1'), True)
    """
    _check_folder(served)
    before = newest(served)
    pushed: dict[str, Any] = {"from": str(source.resolve()), "by": _user()}
    if blessing:
        pushed["blessing"] = list(blessing)
    version = copy_version(source, served, pushed, check)
    return version, version != before


def rollback(served: Path) -> tuple[Path, int]:
    """Makes the version before the live one live again, see `versions.roll_back`."""
    return roll_back(served, {"by": _user()})


def listed(served: Path) -> dict[int, dict[str, Any]]:
    """Returns what each version notes, see `read_made_from`, the live one last.

    Raises:
        UserError: If there are none.
    """
    numbers = versions(served) if served.is_dir() else []
    if not numbers:
        raise UserError(f"{served} holds no versions; give the folder of a model's")
    return {number: read_made_from(served / str(number)) for number in numbers}


def _check_folder(served: Path) -> None:
    """Refuses what is no folder of versions, such as the one above it."""
    if served.exists() and not served.is_dir():
        raise UserError(f"--to={served} is a file; give a folder")
    for path in served.glob("[!.]*"):
        # An empty volume has that folder.
        if path.name != "lost+found" and not newest(served):
            raise UserError(
                f"--to={served} has {path.name!r} in it, and no version; give the "
                "folder of one model's versions, a server's --model_base_path"
            )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # As in containers, whose users may have no name.
        return str(os.getuid())
