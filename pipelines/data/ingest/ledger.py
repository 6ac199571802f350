"""What ingest knows of each image, kept on the disk."""

import dataclasses
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.data.ingest.entry import Entry
from pipelines.data.ingest.values import from_json, to_json
from pipelines.data.records import Shard

_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    position INTEGER PRIMARY KEY,
    name TEXT, class_name TEXT, split TEXT,
    content TEXT, is_made INTEGER, sha256 BLOB,
    format TEXT, height INTEGER, width INTEGER, bytes INTEGER,
    problem TEXT
);
CREATE TABLE IF NOT EXISTS staged (bytes INTEGER);
CREATE TABLE IF NOT EXISTS classes (label INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS records (rank INTEGER PRIMARY KEY, position INTEGER);
CREATE TABLE IF NOT EXISTS shards (
    name TEXT PRIMARY KEY, records INTEGER, bytes INTEGER, sha256 TEXT, blocks BLOB
);
"""
_USABLE = "problem IS NULL"
_PATIENCE = 600  # Seconds to wait for a reader or the writer.


class Ledger(AbstractContextManager["Ledger"]):
    """A database of images, their order and the shards that have been written.

    Every change is whole or not there, whenever the process is killed. Memory does not
    grow with the number of images: SQLite sorts on the disk, in the folder that the
    variable `TMPDIR` names.

    Args:
        path: The database; made if it is not there.
        read_only: Whether it is only read, beside the process that writes it.

    Raises:
        sqlite3.Error: In all methods, if the disk is full or fails.

    Example:

    >>> with Ledger(Path("ledger.sqlite")) as ledger:
    ...     ledger.add(entries, staged=0)
    ...     ledger.progress()
    (256, 0)
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self._path = path
        if read_only:
            location = f"{path.absolute().as_uri()}?mode=ro"
            self._database = sqlite3.connect(location, _PATIENCE, uri=True)
            return
        self._database = sqlite3.connect(path, _PATIENCE)
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._database.close()

    def add(self, entries: Sequence[Entry], staged: int) -> None:
        """Adds the next images of the source.

        Args:
            entries: In the order of the source.
            staged: Number of bytes that the staging file has with them.
        """
        rows = (
            entry._asdict() | {"content": to_json(entry.content)} for entry in entries
        )
        values = ", ".join(f":{field}" for field in Entry._fields)
        with self._database:
            self._database.execute("DELETE FROM staged")
            self._database.execute("INSERT INTO staged VALUES (?)", (staged,))
            self._database.executemany(
                f"INSERT INTO images VALUES (NULL, {values})", rows
            )

    def progress(self) -> tuple[int, int]:
        """Returns the number of images that were added, and that of staged bytes."""
        count = self._value("SELECT COALESCE(MAX(position), 0) FROM images")
        return count, self._value("SELECT COALESCE(MAX(bytes), 0) FROM staged")

    def skipped(self, limit: int) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Returns how many images cannot be used, and name and reason of the first."""
        unusable = f"FROM images WHERE NOT {_USABLE}"
        count = self._value(f"SELECT COUNT(*) {unusable}")
        listed = self._database.execute(
            f"SELECT name, problem {unusable} ORDER BY position LIMIT ?", (limit,)
        )
        return count, tuple(listed)

    def class_names(self) -> list[str]:
        """Returns the names of the classes that have images, sorted."""
        return self._column("SELECT DISTINCT class_name FROM images ORDER BY 1")

    def trainable(self) -> set[str]:
        """Returns the classes with usable images that the data does not hold out."""
        return set(
            self._column(
                f"SELECT DISTINCT class_name FROM images WHERE {_USABLE} "
                "AND split IS NOT 'validation'"
            )
        )

    def mean_bytes(self) -> float:
        """Returns the mean number of bytes of the usable images."""
        return self._value(f"SELECT AVG(bytes) FROM images WHERE {_USABLE}")

    def order(
        self, classes: Iterable[str], validation_share: float, shuffle_seed: int
    ) -> None:
        """Decides the label, split and rank of each usable image.

        Args:
            classes: In the order of the labels.
            validation_share: Held out where the data has no validation images.
            shuffle_seed: Decides the order, see `shuffle_key`.
        """
        self._database.create_function(
            "shuffle_key",
            1,
            lambda sha256: shuffle_key(sha256, shuffle_seed),
            deterministic=True,
        )
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO classes VALUES (?, ?)", enumerate(classes)
            )
            self._split(validation_share)
            self._database.execute(
                f"CREATE INDEX by_sha256 ON images (sha256, split) WHERE {_USABLE}"
            )
            self._database.execute(
                f"INSERT INTO records SELECT NULL, position FROM images WHERE {_USABLE}"
                # Equal images follow each other by name.
                " ORDER BY split, shuffle_key(sha256), name, position"
            )

    def _split(self, validation_share: float) -> None:
        """Holds out the smallest hashes, but neither all nor none of a class.

        A class of which all images are equal goes where their hash sends them.
        """
        usable = self._value(f"SELECT COUNT(*) FROM images WHERE {_USABLE}")
        wanted = max(1, int(validation_share * usable + 0.5))
        greatest = self._value(
            f"SELECT sha256 FROM images WHERE {_USABLE} ORDER BY 1 LIMIT 1 OFFSET ?",
            wanted - 1,
        )
        held_out = f"SELECT 1 FROM images WHERE {_USABLE} AND split = 'validation'"
        if self._value(f"SELECT EXISTS ({held_out})"):
            self._database.execute("UPDATE images SET split = COALESCE(split, 'train')")
        else:
            self._database.execute(
                f"""
                WITH varied AS (
                    SELECT MIN(sha256) AS least, MAX(sha256) AS greatest FROM images
                    WHERE {_USABLE} GROUP BY class_name HAVING least < greatest
                )
                UPDATE images SET split = CASE
                    WHEN sha256 IN (SELECT greatest FROM varied) THEN 'train'
                    WHEN sha256 <= ? THEN 'validation'
                    WHEN sha256 IN (SELECT least FROM varied) THEN 'validation'
                    ELSE 'train'
                END
                """,
                (greatest,),
            )

    def classes(self) -> tuple[str, ...]:
        """Returns the names in the order of the labels; none before `order`."""
        return tuple(self._column("SELECT name FROM classes ORDER BY label"))

    def counts(self) -> dict[str, int]:
        """Returns the number of records in each split; valid after `order`."""
        counts = dict(
            self._database.execute(
                f"SELECT split, COUNT(*) FROM images WHERE {_USABLE} GROUP BY split"
            )
        )
        return {split: counts.get(split, 0) for split in ("train", "validation")}

    def duplicates(self) -> dict[str, int]:
        """Counts the images that are there already; valid after `order`.

        Returns:
            For `"train"` and `"validation"`, how many images repeat another one of that
            split; for `"across"`, how many validation images are training images too.
        """
        columns = self._database.execute(
            f"""
            SELECT TOTAL(MAX(train - 1, 0)), TOTAL(MAX(validation - 1, 0)),
                TOTAL(IIF(train, validation, 0))
            FROM (
                SELECT SUM(split = 'train') AS train,
                    SUM(split = 'validation') AS validation
                FROM images WHERE {_USABLE} GROUP BY sha256
            )
            """
        ).fetchone()
        return dict(
            zip(("train", "validation", "across"), map(int, columns), strict=True)
        )

    def conflicts(self) -> int:
        """Returns how many different images are in more than one class."""
        conflicting = f"""
            SELECT 1 FROM images WHERE {_USABLE}
            GROUP BY sha256 HAVING MIN(class_name) < MAX(class_name)
        """
        return self._value(f"SELECT COUNT(*) FROM ({conflicting})")

    def conflicting(self, limit: int) -> tuple[tuple[str, str], ...]:
        """Returns names of equal images of two classes, a pair for each image."""
        return tuple(
            self._database.execute(
                f"""
                SELECT MIN(one.name), MIN(other.name)
                FROM images AS one JOIN images AS other USING (sha256)
                WHERE one.class_name < other.class_name
                    AND one.{_USABLE} AND other.{_USABLE}
                GROUP BY sha256 ORDER BY 1, 2 LIMIT ?
                """,
                (limit,),
            )
        )

    def leaked(self, limit: int) -> tuple[tuple[str, str], ...]:
        """Returns names of equal training and validation images; see `duplicates`."""
        return tuple(
            self._database.execute(
                f"""
                SELECT MIN(train.name), held_out.name
                FROM images AS held_out JOIN images AS train USING (sha256)
                WHERE held_out.split = 'validation' AND held_out.{_USABLE}
                    AND train.split = 'train' AND train.{_USABLE}
                GROUP BY held_out.position ORDER BY held_out.position LIMIT ?
                """,
                (limit,),
            )
        )

    def records(self, first: int, count: int) -> list[tuple[int, Entry]]:
        """Returns label and entry of `count` records from a rank on, which starts at 0.

        Training images come before validation images.
        """
        columns = ", ".join(f"images.{field}" for field in Entry._fields)
        rows = self._database.execute(
            f"""
            SELECT label, {columns}
            FROM records JOIN images USING (position)
                JOIN classes ON classes.name = class_name
            WHERE rank BETWEEN ? AND ? ORDER BY rank
            """,
            (first + 1, first + count),
        )
        result = []
        for label, *row in rows:
            values = dict(zip(Entry._fields, row, strict=True))
            values["content"] = from_json(values["content"], self._path)
            result.append((label, Entry(**values)))
        return result

    def add_shard(self, shard: Shard, blocks: np.ndarray) -> None:
        """Notes a shard that is whole, and its blocks; see `records.write_shard`."""
        with self._database:
            self._database.execute(
                "INSERT INTO shards VALUES (?, ?, ?, ?, ?)",
                (*dataclasses.astuple(shard), blocks.tobytes()),
            )

    def shards(self) -> list[tuple[Shard, np.ndarray]]:
        """Returns what was noted of the shards, by name."""
        rows = self._database.execute("SELECT * FROM shards ORDER BY name")
        return [
            (Shard(*values), np.frombuffer(blocks, np.int64).reshape(-1, 2))
            for *values, blocks in rows
        ]

    def _value(self, query: str, *values: Any) -> Any:
        return self._database.execute(query, values).fetchone()[0]

    def _column(self, query: str) -> list[Any]:
        return [value for (value,) in self._database.execute(query)]


def shuffle_key(sha256: bytes, seed: int) -> bytes:
    """Returns by what an image is sorted: BLAKE2b of its SHA-256, keyed by the seed.

    Args:
        sha256: Of the image as it was found.
        seed: From 0 to 2**64 - 1.

    Returns:
        16 bytes.
    """
    key = seed.to_bytes(8, "little")
    return hashlib.blake2b(sha256, digest_size=16, key=key).digest()
