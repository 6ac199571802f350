"""A table of paths and labels: CSV, TSV or JSON lines."""

import csv
import functools
import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.data.sources.content import MAX_IMAGE_BYTES, FileContent, too_large
from pipelines.data.sources.members import bad_name
from pipelines.data.sources.source import (
    SPLIT_WORDS,
    Source,
    SourceImage,
    check_class_name,
    encodable,
    roles,
    stamp,
)
from pipelines.errors import UserError

COLUMNS = {
    "path": ("path", "image_path", "filename", "file_name", "file"),
    "label": ("label", "label_name", "class", "class_name"),
    "split": ("split",),
}
"""What the columns may be called, in lower or upper case; a split may be missing.

`file_name` is what the `metadata.csv` of an image folder on the Hugging Face hub has.
"""

_MAX_LINE = 2**16


class Row(NamedTuple):
    """An image in a table.

    Attributes:
        line: Its number, the first being 1.
        path: Relative to the table's folder, below which it stays.
        label: Its class; empty without such a column.
        split: A word of the data, as in `SPLIT_WORDS`; None without such a column.
    """

    line: int
    path: str
    label: str
    split: str | None


class _WrongLineError(Exception):
    """What is wrong with a line, as the end of a sentence."""


class Table(Source):
    """Images that a `.csv`, `.tsv` or `.jsonl` names, with their labels.

    Each row has a path, a label, and a split if there is such a column (`train`, `val`,
    `valid`, `validation` or `test`); other columns are passed over. Paths are relative
    to the table's folder and do not lead out of it, so that a table from elsewhere
    reads nothing but its data. Images may have any name.

    Labels that are all whole numbers are classes in the order of the numbers; others
    are sorted.

    Every row is checked before the first image, in 0.2 kB of memory for each.

    Args:
        path: The table, in UTF-8. The first row of a CSV or TSV names the columns.

    Raises:
        UserError: If it has no such columns or no rows; or, with the number of the
            line, if a row is incomplete, repeats a path, or names a file that is
            missing, cannot be read or is larger than `MAX_IMAGE_BYTES`.

    Example:

    >>> print(Path("photos/table.csv").read_text())
    path,label
    1.jpg,cat
    old/2.jpg,dog
    >>> [image.class_name for image in Table(Path("photos/table.csv"))]
    ['cat', 'dog']
    """

    orientation = "apply"

    def __init__(self, path: Path):
        self.name = encodable(path.stem)
        self._path = path
        self._top = os.path.join(os.path.realpath(path.parent), "")
        # Rows follow each other in few folders, whose links are resolved once.
        self._resolved = functools.lru_cache(os.path.realpath)
        digest = hashlib.sha256(stamp(path.name, path.stat()))
        line_of: dict[int, int] = {}
        labels: set[str] = set()
        words: set[str | None] = set()
        for row in read_rows(path):
            first = line_of.setdefault(hash(row.path), row.line)
            if first != row.line:
                raise _wrong(path, row.line, f"repeats {row.path!r} of line {first}")
            digest.update(self._stamp(row.line, row.path))
            check_class_name(row.label, f"line {row.line} of {path}")
            labels.add(row.label)
            words.add(row.split)
        if not line_of:
            raise UserError(f"{path} has no rows; give it one for each image")
        splits = {SPLIT_WORDS[word] for word in words if word}
        if splits and "train" not in splits:
            raise UserError(
                f"{path} has the splits {' and '.join(sorted(splits))} but no train; "
                "add it, or leave the column out"
            )
        self.fingerprint = digest.hexdigest()
        self._roles = roles(splits)
        self._order = (
            tuple(sorted(labels, key=lambda label: (int(label), label)))
            if all(label.isdecimal() and len(label) < 20 for label in labels)
            else None
        )

    def __iter__(self) -> Iterator[SourceImage]:
        top = self._path.parent.absolute()
        for row in read_rows(self._path):
            split = SPLIT_WORDS[row.split] if row.split else None
            if not self._roles or split in self._roles:
                yield SourceImage(
                    name=row.path,
                    content=FileContent(os.path.join(top, row.path)),
                    class_name=row.label,
                    split=self._roles.get(split) if split else None,
                )

    def class_order(self) -> tuple[str, ...] | None:
        """Returns the labels in the order of their numbers, if they are numbers."""
        return self._order

    def _stamp(self, line: int, name: str) -> bytes:
        try:
            status = os.stat(self._path.parent / name)
            place = self._place(name)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise _wrong(
                self._path, line, f"names {name!r}, which cannot be read ({reason})"
            ) from error
        if not place.startswith(self._top):
            raise _wrong(
                self._path,
                line,
                f"names {name!r}, a link that leads out of the table's folder",
            )
        if not stat.S_ISREG(status.st_mode):
            raise _wrong(self._path, line, f"names {name!r}, which is not a file")
        if status.st_size > MAX_IMAGE_BYTES:
            raise too_large(f"{name!r} on line {line} of {self._path}")
        return stamp(name, status)

    def _place(self, name: str) -> str:
        """Returns where a file really lies."""
        path = self._path.parent / name
        if path.is_symlink():
            return os.path.realpath(path)
        return os.path.join(self._resolved(path.parent), path.name)


def read_rows(path: Path, *, labelled: bool = True) -> Iterator[Row]:
    """Gives the rows of a table, whose images are not looked at.

    Args:
        path: The table, see `Table`.
        labelled: Whether each row must have a label.

    Raises:
        UserError: If it is damaged, or a row is incomplete; with the line's number.
    """
    read = _READERS[path.suffix.lower()]
    lines = _Lines(path)
    try:
        for row in read(lines, labelled):
            yield _parse(row, lines.number, labelled)
    except _WrongLineError as error:
        raise _wrong(path, lines.number, str(error)) from error
    except csv.Error as error:
        raise _wrong(path, lines.number, f"is damaged ({error})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 after line {lines.number}; save it so"
        ) from error


def _wrong(path: Path, line: int, reason: str) -> UserError:
    return UserError(f"line {line} of {path} {reason}; mend the table")


class _Lines:
    """The lines of a file, of bounded length; counts those that were given."""

    def __init__(self, path: Path):
        self.number = 0
        self._path = path

    def __iter__(self) -> Iterator[str]:
        # A byte order mark is what Excel begins a CSV with.
        with open(self._path, encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_MAX_LINE):
                self.number += 1
                if len(line) == _MAX_LINE:
                    raise _WrongLineError(f"has more than {_MAX_LINE} characters")
                yield line


def _delimited(
    delimiter: str, lines: _Lines, labelled: bool
) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names = tuple(name.strip().lower() for name in next(reader, ()))
    if names:
        _columns(names, labelled)
    for fields in filter(None, reader):
        if len(fields) != len(names):
            raise _WrongLineError(
                f"has {len(fields)} fields where the first has {len(names)}"
            )
        yield dict(zip(names, fields, strict=True))


def _json_lines(lines: _Lines, labelled: bool) -> Iterator[Mapping[str, Any]]:
    del labelled  # Each line names its own columns.
    for line in lines:
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _WrongLineError(f"is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise _WrongLineError("is not a JSON object")
            yield {name.lower(): value for name, value in row.items()}


_READERS: dict[str, Callable[[_Lines, bool], Iterator[Mapping[str, Any]]]] = {
    ".csv": functools.partial(_delimited, ","),
    ".tsv": functools.partial(_delimited, "\t"),
    ".jsonl": _json_lines,
}

TABLE_SUFFIXES = tuple(_READERS)
"""What the names of tables end with, in lower or upper case."""


@functools.lru_cache
def _columns(names: tuple[str, ...], labelled: bool) -> Mapping[str, str]:
    """Returns the name of each of `COLUMNS` that is there."""
    found = {}
    for column, known in COLUMNS.items():
        matching = [name for name in names if name in known]
        if len(matching) > 1:
            raise _WrongLineError(
                f"has the columns {' and '.join(matching)}, which are one {column} too "
                "many"
            )
        if matching:
            found[column] = matching[0]
        elif column == "path" or column == "label" and labelled:
            raise _WrongLineError(f"has no column {column} ({', '.join(known)})")
    return found


def _parse(values: Mapping[str, Any], line: int, labelled: bool) -> Row:
    columns = _columns(tuple(values), labelled)
    path = _text(values[columns["path"]], "path")
    label = _text(values[columns["label"]], "label") if labelled else ""
    reason = bad_name(path)
    if reason:
        raise _WrongLineError(f"names {path!r}, which {reason}")
    word = None
    if "split" in columns:
        word = _text(values[columns["split"]], "split").lower()
        if word not in SPLIT_WORDS:
            raise _WrongLineError(
                f"has the split {word!r} (known: {', '.join(SPLIT_WORDS)})"
            )
    return Row(line, posixpath.normpath(path), label, word)


def _text(value: Any, column: str) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(value).strip() if is_number or isinstance(value, str) else ""
    if not text:
        raise _WrongLineError(f"has no {column}")
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half of a character.
        raise _WrongLineError(f"has the {column} {text!r}, which is not text") from None
    return text
