"""Predictor: image files in, a table with an answer for each out."""

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pipelines.data.sources.layout import IMAGE_SUFFIXES
from pipelines.errors import UserError, printable
from pipelines.serving.local import Answer, load_classifier
from pipelines.serving.versions import find_version, read_made_from

_BATCH = 64


def image_files(arguments: Iterable[str]) -> list[Path]:
    """Returns the image files that arguments name, those of folders sorted.

    Args:
        arguments: Files, and folders that are looked through.

    Raises:
        UserError: If a folder holds no images, or there are none at all.

    Example:

    >>> image_files(["photos/", "other.jpg"])
    """
    found: list[Path] = []
    for argument in arguments:
        if not os.path.isdir(argument):
            found.append(Path(argument))
            continue
        inside = sorted(
            Path(folder, name)
            for folder, _, names in os.walk(argument)
            for name in names
            if name.lower().endswith(IMAGE_SUFFIXES)
        )
        if not inside:
            raise UserError(f"there are no images in {argument}; give another folder")
        found += inside
    if not found:
        raise UserError("no images given; name one or more, or their folder")
    return found


def check_output(output: Path) -> None:
    """Refuses a table that cannot be written, before anything is loaded.

    Raises:
        UserError: If it has another suffix than there are writers, or exists.
    """
    if output.suffix not in FORMS:
        raise UserError(
            f"--output={output} does not end with {' or '.join(FORMS)}, which say "
            "how it is written"
        )
    if output.exists():
        raise UserError(f"--output={output} is there; remove it, or give another name")
    if not output.parent.is_dir():
        raise UserError(f"--output={output} is in no folder that exists; make it first")


def predictor(
    model: Path,
    paths: Sequence[Path],
    output: Path,
    *,
    embeddings: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Writes a row for each image: its path, its best classes, their probabilities.

    The table appears when it is whole. What a stopped process has written is kept
    beside it, and the same call goes on behind the last whole row.

    Args:
        model: A run's folder, or that of one exported version.
        paths: The images.
        output: The table, see `check_output`.
        embeddings: Whether rows have the pooled features, too.
        progress: Is told how many images are done.

    Returns:
        What is wrong with images, a sentence for each; their rows say so, too.

    Raises:
        UserError: If there is no such model, `output` cannot be written, or another
            process writes it.

    Example:

    >>> predictor(Path("runs/demo"), image_files(["photos/"]), Path("photos.csv"))
    []
    """
    check_output(output)
    version = find_version(model)
    form = FORMS[output.suffix]
    # What goes on must be the same: another model or list of images has another file.
    made_from = read_made_from(version)
    of = (str(version.resolve()), made_from, embeddings, [*map(str, paths)])
    digest = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]
    partial = output.with_name(f".partial-{digest}-{output.name}")
    with _held(partial, output) as table:
        done = max(_whole_lines(table) - form.header_lines, 0)
        classify = load_classifier(version, features=embeddings)
        progress(done)
        while batch := paths[done : done + _BATCH]:
            answers = classify(batch)
            text = "" if done else form.header(answers[0])
            text += "".join(map(form.row, batch, answers))
            table.write(text.encode())
            table.flush()
            done += len(batch)
            progress(done)
        os.replace(partial, output)
    with output.open(newline="", encoding="utf-8") as table:
        rows = form.read(table)
        return [f"{row['path']}: {row['problem']}" for row in rows if row["problem"]]


@contextlib.contextmanager
def _held(partial: Path, output: Path) -> Iterator[IO[bytes]]:
    """Opens what has been written of a table, for this process alone."""
    try:
        table = partial.open("a+b")
    except OSError as error:
        raise UserError(
            f"--output={output} cannot be written ({error.strerror}); give another name"
        ) from error
    with table:
        try:
            fcntl.flock(table, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing --output={output}") from None
        yield table


def _whole_lines(table: IO[bytes]) -> int:
    """Cuts off what follows the last line's end, and returns how many lines there are.

    No row has a line's end within: names are written as they are printed.
    """
    table.seek(0)
    lines = end = 0
    for line in table:
        if line.endswith(b"\n"):
            lines, end = lines + 1, end + len(line)
    table.truncate(end)
    return lines


@dataclasses.dataclass(frozen=True)
class _Form:
    """How a table is written and read.

    Args:
        header_lines: How many there are.
        header: Makes them, given an answer.
        row: Makes a line of a path and its answer.
        read: Gives the rows of a table, with `path` and `problem` in each.
    """

    header_lines: int
    header: Callable[[Answer], str]
    row: Callable[[Path, Answer], str]
    read: Callable[[IO[str]], Iterator[dict[str, Any]]]


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _csv_header(answer: Answer) -> str:
    ranks = range(1, 1 + len(answer.classes))
    best = [f"{name}_{rank}" for rank in ranks for name in ("class", "probability")]
    channels = [f"feature_{index}" for index in range(len(answer.features))]
    return _csv_line(["path", "problem", *best, *channels])


def _csv_row(path: Path, answer: Answer) -> str:
    pairs = zip(map(printable, answer.classes), answer.probabilities, strict=True)
    values = [*itertools.chain(*pairs), *answer.features]
    if answer.problem:
        values = [""] * len(values)
    return _csv_line([printable(path), answer.problem or "", *values])


def _json_row(path: Path, answer: Answer) -> str:
    values: dict[str, Any] = {"path": str(path), "problem": answer.problem}
    if not answer.problem:
        values["classes"] = answer.classes
        values["probabilities"] = answer.probabilities
        if answer.features:
            values["features"] = answer.features
    return json.dumps(values) + "\n"


FORMS = {
    ".csv": _Form(1, _csv_header, _csv_row, csv.DictReader),
    ".jsonl": _Form(
        0, lambda answer: "", _json_row, lambda table: map(json.loads, table)
    ),
}
"""How tables are written, by what their names end with."""
