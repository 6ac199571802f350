"""TFRecord files in the standard ImageNet layout."""

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError

from pipelines.data import records
from pipelines.data.sources.content import (
    MAX_IMAGE_BYTES,
    InMemory,
    too_large,
    unreadable,
)
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

_SCANNED = {
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/class/text": tf.io.FixedLenFeature([], tf.string, ""),
    "image/class/synset": tf.io.FixedLenFeature([], tf.string, ""),
}
_SCAN_BATCH = 256
_SCAN_BYTES = 64 * 2**20  # Of a batch, unless it is a single record.


def is_record_file(path: Path) -> bool:
    """Tells whether a file's name is one that TFRecord files have."""
    named_so = re.search(r"\.tfrecords?\b|-\d+-of-\d+$", path.name)
    return named_so is not None and path.is_file()


class TFRecordFiles(Source):
    """Images in records with `image/encoded` and `image/class/label`.

    Labels from 0 or from 1 are both understood, by the smallest one. Class names are
    the lines of a `labels.txt` beside the records, or come from `image/class/text`, or
    from `image/class/synset`, or are the labels. Splits come from the files' names, or
    else from those of their folders.

    All labels are read and checked before the first image is given.

    Args:
        name: See `Source`.
        paths: The files, at least one.
    """

    def __init__(self, name: str, paths: Sequence[Path]):
        self.name = encodable(name)
        self._paths = tuple(paths)
        self._top = Path(os.path.commonpath([path.parent for path in paths]))
        self._labels_path = self._top / "labels.txt"
        digest = hashlib.sha256()
        beside = [self._labels_path] if self._labels_path.is_file() else []
        for path in [*paths, *beside]:
            digest.update(stamp(str(path.relative_to(self._top)), path.stat()))
        self.fingerprint = digest.hexdigest()
        self._classes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[SourceImage]:
        seen = _scan(self._paths)
        listed = _read_labels(self._labels_path)
        base = _base(seen, listed)
        self._classes = _class_names(seen, listed, base)
        for name in self._classes:
            check_class_name(name, self._paths[0].parent)
        for path, split in _splits(self._paths).items():
            name = encodable(path.relative_to(self._top).as_posix())
            for index, serialized in enumerate(read_records(path)):
                with _damage_told(path):
                    example = tf.train.Example.FromString(serialized)
                features = example.features.feature
                encoded = features["image/encoded"].bytes_list.value
                if not encoded:
                    raise UserError(
                        f"record {index} of {path} has no image/encoded; write it in "
                        "the ImageNet layout"
                    )
                label = features["image/class/label"].int64_list.value[0]
                yield SourceImage(
                    name=f"{name}#{index}",
                    content=InMemory(encoded[0]),
                    class_name=self._classes[label - base],
                    split=split,
                )

    def class_order(self) -> tuple[str, ...]:
        """Returns the class names in the order of the labels."""
        return self._classes


class _Seen(NamedTuple):
    """The first record with a label."""

    text: str
    where: str


def _scan(paths: Sequence[Path]) -> dict[int, _Seen]:
    """Returns what is known of each label, in order."""
    seen: dict[int, _Seen] = {}
    for path in paths:
        for index, (label, text) in enumerate(_labels_and_texts(path)):
            where = f"record {index} of {path}"
            if label < 0:
                raise UserError(
                    f"label {label} in {where} is negative; labels start at 0 or 1"
                )
            first = seen.setdefault(label, _Seen(text, where))
            if first.text != text:
                raise UserError(
                    f"label {label} is called {first.text!r} in {first.where} but "
                    f"{text!r} in {where}; give each class a label of its own"
                )
    if not seen:
        raise UserError(
            f"there are no records in {paths[0]}; give files that hold some"
        )
    return dict(sorted(seen.items()))


def _labels_and_texts(path: Path) -> Iterator[tuple[int, str]]:
    with _damage_told(path):
        largest = 1
        for index, (_, size) in enumerate(records.frames(path)):
            if size > MAX_IMAGE_BYTES:
                raise too_large(f"record {index} of {path}")
            largest = max(largest, size)
        count = max(1, min(_SCAN_BATCH, _SCAN_BYTES // largest))
        dataset = tf.data.TFRecordDataset(str(path)).batch(count)
        dataset = dataset.map(lambda batch: tf.io.parse_example(batch, _SCANNED))
        for batch in dataset.as_numpy_iterator():
            yield from zip(
                batch["image/class/label"].tolist(),
                (
                    (text or synset).decode("utf-8", "backslashreplace")
                    for text, synset in zip(
                        batch["image/class/text"],
                        batch["image/class/synset"],
                        strict=True,
                    )
                ),
                strict=True,
            )


def read_records(path: Path) -> Iterator[bytes]:
    """Gives the records of a file.

    Raises:
        UserError: If it is damaged or cannot be read.
    """
    with _damage_told(path):
        yield from records.read(path)


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (tf.errors.DataLossError, DecodeError) as error:
        raise UserError(
            f"{path} is damaged or not a TFRecord file; make or copy it again"
        ) from error
    except OSError as error:
        raise unreadable(error) from error
    # TensorFlow's own message may quote what is no text.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} has a record without one image/class/label; write it in the "
            "ImageNet layout"
        ) from error


def _read_labels(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    text = path.read_text(encoding="utf-8", errors="backslashreplace")
    return tuple(line.strip() for line in text.strip().split("\n"))


def _base(seen: Mapping[int, _Seen], listed: Sequence[str]) -> int:
    """Returns the first label, 0 or 1, having checked all labels against it.

    Where class 0 has no record, the texts tell what the listed names count from.
    """
    base = 0 if 0 in seen or _fits(seen, listed, 0) > _fits(seen, listed, 1) else 1
    for expected, (label, first) in enumerate(seen.items(), start=base):
        if listed and label - base >= len(listed):
            raise UserError(
                f"label {label} in {first.where} is out of range: labels.txt has "
                f"{len(listed)} names, the first for label {base}"
            )
        if not listed and label != expected:
            raise UserError(
                f"label {label} in {first.where} is out of range: no record has label "
                f"{expected}; number the classes without gaps from 0 or 1, or put a "
                "labels.txt with all names beside the records"
            )
    return base


def _fits(seen: Mapping[int, _Seen], listed: Sequence[str], base: int) -> int:
    """Counts the labels whose text is the listed name, counted from `base`."""
    names = dict(enumerate(listed, start=base))
    return sum(names.get(label) == first.text for label, first in seen.items())


def _class_names(
    seen: Mapping[int, _Seen], listed: Sequence[str], base: int
) -> tuple[str, ...]:
    names = listed or [first.text or str(label) for label, first in seen.items()]
    # Among ImageNet's texts are two cranes.
    counts = Counter(names)
    return tuple(
        name if counts[name] == 1 else f"{name} ({label})"
        for label, name in enumerate(names, start=base)
    )


def _splits(paths: Sequence[Path]) -> dict[Path, str | None]:
    """Returns the split of each file, those that are left out not among them."""
    words = {}
    for path in paths:
        match = re.search(r"(?<![a-z])(train|val|test)", path.name.lower())
        words[path] = SPLIT_WORDS.get(match[0] if match else path.parent.name.lower())
    used = roles({word for word in words.values() if word})
    return {
        path: used.get(word) if word else None
        for path, word in words.items()
        if not used or word is None or word in used
    }
