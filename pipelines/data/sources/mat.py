"""MAT files of version 5, as far as ImageNet's development kit needs them.

SciPy's reader takes memory for what a file says of itself, and ends the process at some
wrong ones of 300 bytes. This one reads a struct array of numbers and texts, in time and
memory that grow with the file alone (MathWorks, "MAT-File Format", 2019).
"""

import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _TEXT = 2, 4
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_WIDE = (4, 17)  # Texts of 16-bit units; others are UTF-8, if not ASCII.
_WIDE_ENCODINGS = {"<": "utf-16-le", ">": "utf-16-be"}


def read_struct_array(
    data: bytes, name: str, fields: Sequence[str], max_bytes: int
) -> list[tuple[float | str, ...]]:
    """Reads some fields of a struct array.

    Args:
        data: The file.
        name: Of the variable.
        fields: Each a number, of which only the first is read, or a text.
        max_bytes: Greatest size of the variables when they are unpacked.

    Returns:
        The fields of each struct.

    Raises:
        ValueError: If the file is damaged, larger, or has no such variable.

    Example:

    >>> read_struct_array(data, "synsets", ["ILSVRC2012_ID", "WNID"], 2**22)[0]
    (1.0, 'n02119789')
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER_BYTES])
    if order is None:
        raise ValueError("not a MAT file of version 5")
    try:
        for matrix in _variables(data[_HEADER_BYTES:], order, max_bytes):
            parts = _elements(matrix, order)
            (_, flags), (_, shape), (_, called) = _take(3, parts)
            if called == name.encode():
                if struct.unpack_from(f"{order}I", flags)[0] & 0xFF != _STRUCT:
                    raise ValueError(f"{name} is no struct array")
                count = math.prod(np.frombuffer(shape, f"{order}i4").tolist())
                return _structs(parts, count, fields, order)
    except (struct.error, zlib.error, KeyError) as error:
        raise ValueError(f"it ends too early or is no MAT file ({error})") from error
    raise ValueError(f"it has no variable {name}")


def _variables(data: bytes, order: str, max_bytes: int) -> Iterator[bytes]:
    left = max_bytes
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, left + 1)
        left -= len(content)
        if left < 0:
            raise ValueError(f"more than {max_bytes // 2**20} MiB when unpacked")
        if kind == _COMPRESSED:
            kind, content = next(_elements(content, order), (0, b""))
        if kind == _MATRIX:
            yield content


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Gives type and content of each element."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        begin = start + 8
        if kind >> 16:  # A small one has its content in the place of its size.
            kind, size, begin = kind & 0xFFFF, kind >> 16, start + 4
        end = begin + size
        if end > (len(data) if begin > start + 4 else start + 8):
            raise ValueError("an element leads out of the file")
        yield kind, data[begin:end]
        padded = kind != _COMPRESSED
        start = end + (-(end - start) % 8 if padded else 0)


def _take(count: int, elements: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    taken = list(itertools.islice(elements, count))
    if len(taken) < count:
        raise ValueError("elements are missing")
    return taken


def _structs(
    parts: Iterator[tuple[int, bytes]], count: int, fields: Sequence[str], order: str
) -> list[tuple[float | str, ...]]:
    (_, size), (_, text) = _take(2, parts)
    width = struct.unpack(f"{order}i", size)[0]
    names = [
        text[start : start + width].rstrip(b"\0").decode()
        for start in range(0, len(text), width)
    ]
    places = [names.index(field) for field in fields]
    rows = []
    for _ in range(count):
        row = _take(len(names), parts)
        rows.append(tuple(_value(row[place][1], order) for place in places))
    return rows


def _value(matrix: bytes, order: str) -> float | str:
    parts = _elements(matrix, order)
    (_, flags), _, _, (kind, content) = _take(4, parts)
    if struct.unpack_from(f"{order}I", flags)[0] & 0xFF == _TEXT:
        is_wide = kind in _WIDE
        return content.decode(_WIDE_ENCODINGS[order] if is_wide else "utf-8")
    return float(np.frombuffer(content, order + _NUMBERS[kind], 1)[0])
