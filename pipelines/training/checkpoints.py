"""Checkpoints: everything that the rest of a run depends on, in one file."""

import dataclasses
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipelines import files
from pipelines.errors import UserError

_VERSION = 2
_NOTES = "notes.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One moment of a run.

    Args:
        arrays: Values of all variables by name.
        notes: What JSON can hold: position, history, settings.
        path: Where it lies.
    """

    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]
    path: Path


class Checkpoints:
    """The checkpoints in a folder: the newest ones and the best ones.

    A file is a zip of `.npy` members with checksums, as `numpy.savez` writes, and
    becomes visible when it is whole and on the disk; so whatever ends the process, the
    one before is still there.

    Args:
        directory: The folder; made when something is saved.
        keep_last: How many of the newest to keep.
        keep_best: How many of those with the highest scores to keep besides.

    Example:

    >>> checkpoints = Checkpoints(Path("runs/demo/model/checkpoints"))
    >>> checkpoints.save({"weight": np.zeros(3)}, {"epoch": 1}, score=0.9)
    >>> checkpoints.newest({"weight": (3,)}, Console()).notes["epoch"]
    1
    """

    def __init__(
        self, directory: Path, *, keep_last: int = 2, keep_best: int = 1
    ) -> None:
        self.directory = directory
        self._keep_last = keep_last
        self._keep_best = keep_best
        self._damaged: set[Path] = set()

    def paths(self) -> list[Path]:
        """Returns the files, oldest first."""
        numbers = {
            int(match[1]): path
            for path in self.directory.glob("checkpoint-*.npz")
            if (match := re.fullmatch(r"checkpoint-(\d+)\.npz", path.name))
        }
        return [numbers[number] for number in sorted(numbers)]

    def save(
        self,
        arrays: Mapping[str, np.ndarray],
        notes: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> Path:
        """Writes a checkpoint, then removes those that need not be kept.

        Args:
            arrays: Values by name.
            notes: Whatever JSON can hold.
            score: The higher, the better; None where nothing was measured.

        Returns:
            The file.

        Raises:
            OSError: If it cannot be written; those before are still there.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        paths = self.paths()
        number = int(paths[-1].stem.split("-")[1]) + 1 if paths else 1
        path = self.directory / f"checkpoint-{number:06}.npz"
        head = {"version": _VERSION, "score": score, "notes": dict(notes)}
        text = np.frombuffer(json.dumps(head).encode(), np.uint8)
        members: dict[str, Any] = {_NOTES: text, **arrays}
        with files.replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **members)
        for old in {*self.paths(), *self.directory.glob(".partial-*")} - self._kept():
            old.unlink()
        return path

    def newest(
        self, shapes: Mapping[str, tuple[int, ...]], console: Console
    ) -> Checkpoint | None:
        """Returns the newest usable checkpoint, None where none was ever saved.

        Those that are damaged go when the next one is saved.

        Args:
            shapes: Names and shapes of the arrays that it must have.
            console: Where damaged and foreign ones are named.

        Raises:
            UserError: If there are files, but none can be used.
        """
        # What is damaged must not count among those that are kept.
        self._damaged = {path for path in self.paths() if not _is_whole(path)}
        return self._first_usable(list(reversed(self.paths())), shapes, console)

    def best(
        self, shapes: Mapping[str, tuple[int, ...]], console: Console
    ) -> Checkpoint | None:
        """Returns the usable checkpoint of the highest score, the later one of equals.

        See `newest`.
        """
        scores = self._scores()
        order = sorted(scores, key=lambda path: (scores[path], path), reverse=True)
        return self._first_usable(order, shapes, console)

    def _first_usable(
        self, paths: list[Path], shapes: Mapping[str, tuple[int, ...]], console: Console
    ) -> Checkpoint | None:
        for path in paths:
            try:
                checkpoint = _read(path)
                _check_shapes(checkpoint, shapes)
                return checkpoint
            except UserError as error:
                console.print(f"left out: {error}", style="yellow", soft_wrap=True)
        if paths:
            raise UserError(
                f"no checkpoint in {self.directory} can be used; --overwrite starts "
                "the run afresh, another --output_dir keeps them"
            )
        return None

    def _kept(self) -> set[Path]:
        scores = self._scores()
        best = sorted(scores, key=lambda path: (scores[path], path))
        whole = [path for path in self.paths() if path not in self._damaged]
        return {
            *whole[-self._keep_last :],
            *(best[-self._keep_best :] if self._keep_best else ()),
        }

    def _scores(self) -> dict[Path, float]:
        scores = {}
        for path in self.paths():
            if path in self._damaged:
                continue
            try:
                with np.load(path) as values:
                    score = json.loads(values[_NOTES].tobytes())["score"]
            except _DAMAGE:
                continue
            if score is not None:
                scores[path] = score
        return scores


# What reading a zip of arrays raises where a bit is wrong.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def _read(path: Path) -> Checkpoint:
    try:
        with np.load(path) as values:
            arrays = {name: values[name] for name in values.files}
        head = json.loads(arrays.pop(_NOTES).tobytes())
        version, notes = head["version"], head["notes"]
    except _DAMAGE as error:
        raise UserError(
            f"{path} is not a whole checkpoint ({error or type(error).__name__})"
        ) from error
    if version != _VERSION:
        raise UserError(f"{path} has version {version}, not {_VERSION}")
    return Checkpoint(arrays, notes, path)


def _is_whole(path: Path) -> bool:
    """Tells whether all bytes are those that were written, by their checksums."""
    try:
        with zipfile.ZipFile(path) as members:
            return members.testzip() is None
    except _DAMAGE:
        return False


def _check_shapes(
    checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    there = {name: array.shape for name, array in checkpoint.arrays.items()}
    for name in (*shapes, *there):
        if there.get(name) != shapes.get(name):
            raise UserError(
                f"{checkpoint.path} is of another network or optimizer: {name} has "
                f"shape {there.get(name)} there and {shapes.get(name)} here"
            )
