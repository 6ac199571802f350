"""What ingest keeps in files, as JSON: reading it back never executes anything."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.ingest.entry import Entry, ShardTask
from pipelines.data.records import Shard
from pipelines.data.sources import SourceImage
from pipelines.data.sources.content import FileContent, InMemory, ZipContent
from pipelines.errors import UserError

_KINDS: dict[str, Any] = {
    "array": lambda *rows: np.array(rows, np.int64),
    "bytes": base64.b64decode,
    "path": Path,
    "tuple": lambda *items: items,
    **{
        kind.__name__: kind
        for kind in (
            Entry,
            FileContent,
            InMemory,
            Shard,
            ShardTask,
            SourceImage,
            ZipContent,
        )
    },
}


def to_json(value: Any) -> str:
    """Returns a value as text; equal values give equal text.

    Args:
        value: None, a number, a string, bytes, a path, an int64 array, one of ingest's
            tuples, or a list or tuple of such.

    Raises:
        TypeError: If it is or holds anything else.

    Example:

    >>> to_json(FileContent("cat.jpg", 0, 1890))
    '{"FileContent": ["cat.jpg", 0, 1890]}'
    """
    return json.dumps(_encoded(value))


def from_json(text: str | bytes, where: object) -> Any:
    """Returns the value that `to_json` made a text of.

    Args:
        text: As it was read.
        where: From which file, for the message.

    Raises:
        UserError: If it is no such text.
    """
    try:
        return json.loads(text, object_hook=_decoded)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where} is damaged; remove its folder and run again"
        ) from error


def _encoded(value: Any) -> Any:
    kind: str
    items: list[Any]
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_encoded(item) for item in value]
        case bytes():
            kind, items = "bytes", [base64.b64encode(value).decode()]
        case Path():
            kind, items = "path", [str(value)]
        case np.ndarray():
            kind, items = "array", value.tolist()
        case Shard():
            kind, items = "Shard", list(vars(value).values())
        case tuple() if type(value) in (tuple, *_KINDS.values()):
            kind, items = type(value).__name__, [_encoded(item) for item in value]
        case _:
            raise TypeError(f"{type(value).__name__} is no value that ingest keeps")
    return {kind: items}


def _decoded(tagged: dict[str, Any]) -> Any:
    ((kind, items),) = tagged.items()
    return _KINDS[kind](*items)
