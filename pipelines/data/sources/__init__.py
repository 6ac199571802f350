"""Where images come from: one small class for each kind of data."""

import functools
import glob
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from pipelines.data.sources.archive import ARCHIVE_SUFFIXES, Archive
from pipelines.data.sources.catalogue import CatalogueDataset
from pipelines.data.sources.content import (
    Content,
    FileContent,
    InMemory,
    ZipContent,
    unreadable,
)
from pipelines.data.sources.embedded import Drawings
from pipelines.data.sources.folder import Folder
from pipelines.data.sources.ilsvrc import TRAIN, Ilsvrc
from pipelines.data.sources.layout import IMAGE_SUFFIXES
from pipelines.data.sources.source import SPLIT_WORDS, Source, SourceImage
from pipelines.data.sources.table import TABLE_SUFFIXES, Table
from pipelines.data.sources.tfrecords import TFRecordFiles, is_record_file
from pipelines.errors import UserError

__all__ = [
    "Content",
    "FileContent",
    "InMemory",
    "Source",
    "SourceImage",
    "ZipContent",
    "open_source",
]


def open_source(data: str) -> Source:
    """Finds out what kind of data is meant, and opens it.

    Args:
        data: One of

            - `"drawings"` or `""`: the embedded set; `"drawings:COUNT"` sets its size.
              A folder of that name is `"./drawings"`.
            - `"tfds:NAME[/CONFIG]"`: a data set of TensorFlow Datasets.
            - `"ilsvrc:FOLDER"`: ILSVRC-2012 as published, labels sorted by WordNet id;
              `"ilsvrc-devkit:FOLDER"` has them in the order of the development kit. A
              folder that holds `ILSVRC2012_img_train.tar` is read as the former.
            - a folder with one folder of images per class, or with such folders below
              `train/` and `val/`, `validation/` or `test/`.
            - a `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` or `.zip` of such a folder.
            - a `.csv`, `.tsv` or `.jsonl` with a path and a label for each image.
            - TFRecord files in the ImageNet layout: a file, the folder that holds them
              or has such folders as `train/` and `validation/`, or a pattern such as
              `"records/train-*"`.

    Raises:
        UserError: If there is no such data, or not enough to train on.

    Example:

    >>> for image in open_source("photos/"):
    ...     print(image.name, image.class_name, len(image.content.read()))
    """
    if data in ("", "drawings"):
        return Drawings()
    kind, colon, rest = data.partition(":")
    if colon and kind in _KINDS:
        return _KINDS[kind](rest)
    path = Path(os.path.expanduser(data))
    try:
        # Not the path's methods, which fail for names that are no names.
        if os.path.isdir(path):
            return _open_folder(path)
        if os.path.isfile(path):
            return _open_file(path)
    except OSError as error:
        raise unreadable(error) from error
    if glob.has_magic(data):
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))
        records = [file for file in matches if is_record_file(file)]
        if records:
            return TFRecordFiles(records[0].resolve().parent.name, records)
        raise UserError(
            f"no TFRecord files match {data}; their names end with .tfrecord or with a "
            "number such as -00000-of-00008"
        )
    raise UserError(
        f"{data} does not exist; give a folder, an archive, a table, TFRecord files or "
        f"one of {', '.join(f'{kind}:' for kind in _KINDS)}"
    )


def _open_ilsvrc(folder: str, order: str) -> Source:
    return Ilsvrc(Path(os.path.expanduser(folder)), order)


_KINDS: dict[str, Callable[[str], Source]] = {
    "drawings": Drawings,
    "tfds": CatalogueDataset,
    "ilsvrc": functools.partial(_open_ilsvrc, order="wordnet"),
    "ilsvrc-devkit": functools.partial(_open_ilsvrc, order="devkit"),
}
"""What opens data that is named with its kind before a colon."""


def _open_folder(path: Path) -> Source:
    if (path / TRAIN).is_file():
        return Ilsvrc(path)
    found = sorted(path.iterdir())
    splits = [file for file in found if file.name.lower() in SPLIT_WORDS]
    below = (sorted(split.iterdir()) for split in splits if split.is_dir())
    records = [file for file in itertools.chain(found, *below) if is_record_file(file)]
    return TFRecordFiles(path.resolve().name, records) if records else Folder(path)


def _open_image(path: Path) -> Source:
    raise UserError(
        f"{path} is a single image; give a folder with one folder of images per class"
    )


_FILES: dict[str, Callable[[Path], Source]] = {
    **dict.fromkeys(ARCHIVE_SUFFIXES, Archive),
    **dict.fromkeys(TABLE_SUFFIXES, Table),
    **dict.fromkeys(IMAGE_SUFFIXES, _open_image),
}
"""What opens a file, by the end of its name in lower case."""


def _open_file(path: Path) -> Source:
    for suffix, opener in _FILES.items():
        if path.name.lower().endswith(suffix):
            return opener(path)
    if is_record_file(path):
        return TFRecordFiles(path.name, [path])
    raise UserError(
        f"{path} is an unknown kind of file; give a folder with one folder of images "
        f"per class, an archive of one ({', '.join(ARCHIVE_SUFFIXES)}), a table of "
        f"paths and labels ({', '.join(TABLE_SUFFIXES)}) or TFRecord files "
        "(*.tfrecord, *-00000-of-00008)"
    )
