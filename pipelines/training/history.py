"""The tables that a run writes while it trains: history, steps and events."""

import array
import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pipelines import files

Columns: TypeAlias = dict[str, np.ndarray]
"""Columns of a table by name, each float64 `(rows,)`."""


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a CSV file, whole or not at all; nothing where there are no rows.

    Args:
        path: The file.
        rows: The keys of the last one are the columns; those before may lack some, and
            what they have besides is left out.
    """
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(rows[-1]), "", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Reads a table row by row, as text.

    Args:
        path: A CSV file with a heading. There are no rows without a file; a line that
            is still being written is left out.
    """
    if path.exists():
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            whole = (line for line in file if line.endswith("\n"))
            for row in csv.DictReader(whole, restval=""):
                row.pop(None, None)
                yield row


def read_columns(path: Path) -> Columns:
    """Reads a table of numbers that may be growing.

    Args:
        path: See `read_rows`.

    Returns:
        The columns; there are none without rows. What is not a number is `nan`.

    Example:

    >>> read_columns(Path("runs/demo/model/history.csv"))["val_top1"]
    array([0.61, 0.83])
    """
    columns: dict[str, array.array] = {}
    for row in read_rows(path):
        for name, text in row.items():
            columns.setdefault(name, array.array("d")).append(_number(text))
    return {name: np.array(column) for name, column in columns.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
