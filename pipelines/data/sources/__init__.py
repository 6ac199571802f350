"""Where images come from: one small class for each kind of data."""

import glob
from pathlib import Path

from pipelines.data.sources.archive import ARCHIVE_SUFFIXES, Archive
from pipelines.data.sources.catalogue import CatalogueDataset
from pipelines.data.sources.embedded import Drawings
from pipelines.data.sources.folder import Folder
from pipelines.data.sources.layout import IMAGE_SUFFIXES
from pipelines.data.sources.source import Source, SourceImage
from pipelines.data.sources.tfrecords import TFRecordFiles, is_record_file
from pipelines.errors import UserError

__all__ = ["Source", "SourceImage", "open_source"]


def open_source(data: str) -> Source:
    """Finds out what kind of data is meant, and opens it.

    Args:
        data: One of

            - `"drawings"` or `""`: the embedded set; `"drawings:COUNT"` sets its size.
              A folder of that name is `"./drawings"`.
            - `"tfds:NAME[/CONFIG]"`: a data set of TensorFlow Datasets.
            - a folder with one folder of images per class, or with such folders below
              `train/` and `val/`, `validation/` or `test/`.
            - a `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` or `.zip` of such a folder.
            - TFRecord files in the ImageNet layout: a file, the folder that holds them,
              or a pattern such as `"records/train-*"`.

    Raises:
        UserError: If there is no such data, or not enough to train on.

    Example:

    >>> for image in open_source("photos/"):
    ...     print(image.name, image.class_name, len(image.image))
    """
    kind, colon, rest = data.partition(":")
    if kind in ("", "drawings"):
        return Drawings(rest) if colon else Drawings()
    if kind == "tfds" and colon:
        return CatalogueDataset(rest)
    path = Path(data).expanduser()
    if path.is_dir():
        records = [file for file in sorted(path.iterdir()) if is_record_file(file)]
        return TFRecordFiles(path.resolve().name, records) if records else Folder(path)
    if path.is_file():
        return _open_file(path)
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
        f"{data} does not exist; give a folder, an archive or TFRecord files"
    )


def _open_file(path: Path) -> Source:
    if path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return Archive(path)
    if is_record_file(path):
        return TFRecordFiles(path.name, [path])
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        raise UserError(
            f"{path} is a single image; give a folder with one folder of images per "
            "class"
        )
    raise UserError(
        f"{path} is an unknown kind of file; give a folder with one folder of images "
        f"per class, an archive of one ({', '.join(ARCHIVE_SUFFIXES)}) or TFRecord "
        "files (*.tfrecord, *-00000-of-00008)"
    )
