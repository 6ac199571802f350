"""Tables of what a model says about images: CSV, JSON lines, Parquet."""

import csv
import dataclasses
import importlib.util
import io
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from pipelines.errors import UserError, printable, unknown
from pipelines.serving.local import Answers
from pipelines.serving.neighbours import Neighbours


@dataclasses.dataclass(frozen=True)
class Columns:
    """What a table tells of an image beside its path, its problem and its best classes.

    Args:
        classes: The names of all classes, in the order of the probabilities.
        model: Fingerprint of the model, which a Parquet file keeps.
        probabilities: Whether each class has a column.
        embeddings: Whether there are the features.

    Raises:
        UserError: If a class is called as another column, and has one.
    """

    classes: tuple[str, ...]
    model: str = ""
    probabilities: bool = False
    embeddings: bool = False

    def __post_init__(self) -> None:
        others = {"path", "problem", "features"}
        kinds = ("class_", "probability_", "feature_", "neighbour_", "similarity_")
        for name in self.classes if self.probabilities else ():
            kind, _, number = name.rpartition("_")
            if name in others or number.isdecimal() and f"{kind}_" in kinds:
                raise UserError(
                    f"the class {name!r} is called as another column of the table; "
                    "leave --probabilities out"
                )


@dataclasses.dataclass(frozen=True)
class Form:
    """How tables are written.

    Args:
        write: Writes a table of some answers, and of neighbours if there are any.
        join: Makes one table of several, given their files and that of the whole.
        packages: What must be installed.
    """

    write: Callable[[Path, Columns, Answers, Neighbours | None], None]
    join: Callable[[Sequence[Path], Path], None]
    packages: tuple[str, ...] = ()


def form_of(output: Path) -> Form:
    """Returns how a table is written, by what its name ends with.

    Raises:
        UserError: If there is no such form, or a package it takes is missing.
    """
    if output.suffix not in FORMS:
        raise unknown("form of tables", output.suffix or output.name, FORMS)
    form = FORMS[output.suffix]
    for package in form.packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--output={output} takes the package {package}; install it, or write "
                "a .csv or .jsonl"
            )
    return form


def _values(
    columns: Columns, answers: Answers, neighbours: Neighbours | None
) -> dict[str, list[str] | np.ndarray]:
    """Returns the columns with one value each, texts or float32, by their names."""
    found: dict[str, list[str] | np.ndarray] = {}
    best = answers.best
    probabilities = np.take_along_axis(answers.probabilities, best, axis=1)
    for rank in range(best.shape[1]):
        found[f"class_{rank + 1}"] = [columns.classes[one] for one in best[:, rank]]
        found[f"probability_{rank + 1}"] = probabilities[:, rank]
    if columns.probabilities:
        found |= zip(columns.classes, answers.probabilities.T, strict=True)
    if neighbours:
        for rank, paths in enumerate(zip(*neighbours.paths, strict=True)):
            found[f"neighbour_{rank + 1}"] = list(paths)
            found[f"similarity_{rank + 1}"] = neighbours.similarities[:, rank]
    return found


def _write_csv(
    path: Path, columns: Columns, answers: Answers, neighbours: Neighbours | None
) -> None:
    found = _values(columns, answers, neighbours)
    if columns.embeddings:
        names = (f"feature_{channel}" for channel in itertools.count())
        found |= zip(names, answers.features.T, strict=False)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "problem", *map(printable, found)])
    texts = (
        values.tolist() if isinstance(values, np.ndarray) else map(printable, values)
        for values in found.values()
    )
    for image, problem, *row in zip(
        answers.paths, answers.problems, *texts, strict=True
    ):
        # No row has a line's end within: names are written as they are printed.
        values = [""] * len(row) if problem else row
        writer.writerow([printable(image), printable(problem or ""), *values])
    files.write_text(path, text.getvalue())


def _write_json(
    path: Path, columns: Columns, answers: Answers, neighbours: Neighbours | None
) -> None:
    best = answers.best
    lines = []
    for row, (image, problem) in enumerate(
        zip(answers.paths, answers.problems, strict=True)
    ):
        values: dict[str, Any] = {"path": image, "problem": problem}
        if not problem:
            probabilities = answers.probabilities[row]
            values["classes"] = [columns.classes[one] for one in best[row]]
            values["probabilities"] = probabilities[best[row]].tolist()
            if columns.probabilities:
                pairs = zip(columns.classes, probabilities.tolist(), strict=True)
                values["class_probabilities"] = dict(pairs)
            if neighbours:
                values["neighbours"] = neighbours.paths[row]
                values["similarities"] = neighbours.similarities[row].tolist()
            if columns.embeddings:
                values["features"] = answers.features[row].tolist()
        lines.append(json.dumps(values) + "\n")
    files.write_text(path, "".join(lines))


def _join_text(parts: Sequence[Path], output: Path, header_lines: int) -> None:
    with files.replacing(output) as temporary, temporary.open("wb") as whole:
        for number, part in enumerate(parts):
            with part.open("rb") as lines:
                for _ in range(header_lines if number else 0):
                    lines.readline()
                shutil.copyfileobj(lines, whole)


def _join_csv(parts: Sequence[Path], output: Path) -> None:
    _join_text(parts, output, header_lines=1)


def _join_json(parts: Sequence[Path], output: Path) -> None:
    _join_text(parts, output, header_lines=0)


def _write_parquet(
    path: Path, columns: Columns, answers: Answers, neighbours: Neighbours | None
) -> None:
    import pyarrow
    import pyarrow.parquet

    missing = np.array([problem is not None for problem in answers.problems])
    arrays = {
        "path": pyarrow.array(answers.paths, pyarrow.string()),
        "problem": pyarrow.array(answers.problems, pyarrow.string()),
    }
    for name, values in _values(columns, answers, neighbours).items():
        kind = pyarrow.string() if isinstance(values, list) else pyarrow.float32()
        arrays[name] = pyarrow.array(values, kind, mask=missing)
    if columns.embeddings:
        # Not of fixed size: Parquet cannot read such back where some are missing.
        arrays["features"] = pyarrow.array(
            list(answers.features), pyarrow.list_(pyarrow.float32()), mask=missing
        )
    table = pyarrow.table(arrays).replace_schema_metadata({"model": columns.model})
    with files.replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def _join_parquet(parts: Sequence[Path], output: Path) -> None:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(parts[0])
    with (
        files.replacing(output) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as whole,
    ):
        for part in parts:
            whole.write_table(pyarrow.parquet.read_table(part))


FORMS = {
    ".csv": Form(_write_csv, _join_csv),
    ".jsonl": Form(_write_json, _join_json),
    ".parquet": Form(_write_parquet, _join_parquet, ("pyarrow",)),
}
"""How tables are written, by what their names end with."""
