"""Versions of a served model: numbered folders, whole, that say what they are of."""

import contextlib
import datetime
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.data import folders
from pipelines.errors import UserError

MADE_FROM = Path("assets.extra", "made_from.json")
"""What a version was made from; servers leave files there alone."""
INFRA_VALIDATION = MADE_FROM.with_name("infra_validation.json")
"""How a server answered with a version before it was live."""


def versions(served: Path) -> list[int]:
    """Returns the numbers of the versions in a served model's folder, ascending."""
    names = (path.name for path in served.iterdir())
    return sorted(int(name) for name in names if re.fullmatch("[0-9]+", name))


def newest(served: Path) -> Path | None:
    """Returns the version that servers answer with, None where there is none."""
    numbers = versions(served) if served.is_dir() else []
    return served / str(numbers[-1]) if numbers else None


def find_version(model: Path) -> Path:
    """Returns the folder of an exported model's version.

    Args:
        model: A run's folder, whose newest version is taken, or one version's folder.

    Raises:
        UserError: If there is no exported model.
    """
    if (model / "saved_model.pb").is_file():
        return model
    served = [path for path in (model / "serving").glob("[!.]*") if path.is_dir()]
    for found in filter(None, map(newest, served)):
        return found
    raise UserError(
        f"--model={model} holds no exported model; give the --output_dir of a "
        "finished `python -m pipelines.train_imagenet`"
    )


def read_made_from(version: Path) -> dict[str, Any]:
    """Returns what a version was made from; empty for one that does not say.

    Args:
        version: Its folder.

    Returns:
        `"model"`, fingerprints of the trained model's files; `"temperature"`, if its
        logits are divided by one; `"about"`, what was noted beside them; `"files"`,
        SHA-256 of the version's own; `"made"`, when, in UTC, ISO 8601; and of a copy
        `"pushed"`, what was noted of that.
    """
    try:
        values = json.loads((version / MADE_FROM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def version_problems(version: Path) -> Iterator[str]:
    """Compares a version's files with the checksums that it keeps of them.

    Args:
        version: Its folder.

    Returns:
        A sentence for each file that is missing or another one; none for a version
        that keeps no checksums.

    Example:

    >>> list(version_problems(Path("serving/resnet20/1")))
    []
    """
    for name, sha256 in read_made_from(version).get("files", {}).items():
        yield from files.checksum_problems(version / name, sha256)


def next_version(
    served: Path,
    made_from: dict[str, Any],
    write: Callable[[Path], None],
    about: dict[str, Any] | None = None,
    check: Callable[[Path], None] = lambda version: None,
) -> Path:
    """Makes the next version, unless the newest was made from the same.

    A version appears whole, in one rename, so that a server that watches the folder
    never loads half of one. It says in `MADE_FROM` what it was made from; that is not
    done again, whatever the files' times are.

    Args:
        served: The folder of the versions, which are counted from 1.
        made_from: `"model"`, fingerprints of what it is made from, and
            `"temperature"`, if its logits are divided by one.
        write: Writes a version into a new, empty folder, beside which it may leave
            what is not part of it.
        about: What to note beside them, anything that JSON has.
        check: Raises if what was written must not become a version; nothing lies beside
            it but folders and files whose names are no numbers.

    Returns:
        The folder of the newest version.

    Raises:
        UserError: If another process is making a version there.

    Example:

    >>> next_version(Path("serving/resnet20"), model.made_from, write)
    PosixPath('serving/resnet20/1')
    """
    values = {**made_from, "about": about or {}}

    def make(version: Path) -> None:
        write(version)
        _note(version, values)
        check(version)

    return _next(served, ("model", "temperature"), values, make)


def copy_version(
    source: Path,
    served: Path,
    pushed: dict[str, Any],
    check: Callable[[Path], None] = lambda version: None,
) -> Path:
    """Makes a copy of a version the next one elsewhere, unless the newest is the same.

    Args:
        source: The folder of a version.
        served: The folder of the other versions, see `next_version`.
        pushed: What to note of the copy.
        check: See `next_version`.

    Returns:
        The folder of the newest version.

    Raises:
        UserError: If the source is not what was written, or another process is making
            a version there.

    Example:

    >>> copy_version(Path("runs/demo/serving/resnet20/1"), Path("/models/demo"), {})
    PosixPath('/models/demo/1')
    """
    values = {"files": _checksums(source), **read_made_from(source), "pushed": pushed}

    def make(version: Path) -> None:
        _copy(source, version, values)
        check(version)

    return _next(served, ("files",), values, make)


def roll_back(served: Path, pushed: dict[str, Any]) -> tuple[Path, int]:
    """Makes the version before the newest the newest again, under the next number.

    A number never changes its meaning, so that no server goes on with what it loaded
    under it before, and none finds a version gone while it loads it. Again, it goes
    further back.

    Args:
        served: The folder of the versions.
        pushed: What to note of it.

    Returns:
        The folder of the new version, and which one it is a copy of.

    Raises:
        UserError: If there is none before it, or that one is not what was written.

    Example:

    >>> roll_back(Path("/models/demo"), {})
    (PosixPath('/models/demo/3'), 1)
    """
    if not newest(served):
        raise UserError(f"{served} holds no versions; give the folder of a model's")
    with folders.held(served):
        first = _first(served / str(versions(served)[-1]))
        before = [number for number in versions(served) if number < first]
        if not before:
            raise UserError(f"{served} has no version before {first} to go back to")
        source = served / str(before[-1])
        number = _first(source)
        values = {"files": _checksums(source), **read_made_from(source)}
        pushed = {**values.get("pushed", {}), **pushed, "again": number}
        with _appearing(served) as version:
            _copy(source, version, {**values, "pushed": pushed})
    return served / version.name, number


def _first(version: Path) -> int:
    """Returns the number under which a version was pushed at first."""
    return read_made_from(version).get("pushed", {}).get("again", int(version.name))


def _next(
    served: Path,
    keys: Sequence[str],
    values: dict[str, Any],
    make: Callable[[Path], None],
) -> Path:
    """Makes the next version, unless the newest notes the same values under `keys`."""

    def same() -> Path | None:
        found = newest(served)
        there = read_made_from(found) if found else {}
        is_same = all(there.get(key) == values.get(key) for key in keys)
        return found if is_same else None

    if found := same():
        return found
    with folders.held(served):
        if found := same():  # By another process, just now.
            return found
        with _appearing(served) as version:
            make(version)
    return served / version.name


@contextlib.contextmanager
def _appearing(served: Path) -> Iterator[Path]:
    """Gives an empty folder that is the next version when the block ends well."""
    number = max(versions(served), default=0) + 1
    # Within the folder, since that may be the root of a volume. Servers look only at
    # what is a number.
    temporary = served / ".partial"
    if temporary.exists():  # Of a killed process.
        shutil.rmtree(temporary)
    version = temporary / str(number)
    version.mkdir(parents=True)
    try:
        yield version
        os.rename(version, served / version.name)
        files.sync(served)
    finally:
        shutil.rmtree(temporary)


def _copy(source: Path, version: Path, values: dict[str, Any]) -> None:
    """Copies a version that has the files that `values` tell of, and notes them."""
    without = shutil.ignore_patterns(*_NOTES)
    shutil.copytree(source, version, dirs_exist_ok=True, ignore=without)
    copied = _note(version, values)
    for name, _ in sorted(copied.items() ^ values["files"].items()):
        raise UserError(
            f"{source / name} is not what was written; make that version again"
        )


def _checksums(version: Path) -> dict[str, str]:
    return {
        path.relative_to(version).as_posix(): files.fingerprint(path)
        for path in sorted(version.rglob("*"))
        if path.is_file() and path.name not in _NOTES
    }


def _note(version: Path, values: dict[str, Any]) -> dict[str, str]:
    """Writes what a version was made from and what it consists of; returns that."""
    for path in (version, *version.rglob("*")):
        files.sync(path)
    path, written = version / MADE_FROM, _checksums(version)
    path.parent.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    values = {**values, "made": now, "files": written}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    files.write_text(path, text + "\n")
    return written


_NOTES = (MADE_FROM.name, INFRA_VALIDATION.name)
