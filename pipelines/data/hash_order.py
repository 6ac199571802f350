"""An external sort of images by their SHA-256."""

import contextlib
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from pipelines.data.checks import CheckedImage

_BUCKETS = 64


class HashOrder:
    """Keeps images on the disk, and gives them back in the order of their SHA-256.

    Each image goes into one of 64 temporary files by its first six bits. A file is
    small enough for the page cache when its images are read in order. Equal images
    follow each other by name.

    Args:
        directory: Where the temporary files lie; they have no names there, and vanish
            with the process.

    Example:

    >>> with HashOrder(Path("runs")) as ordered:
    ...     for image in checked(source):
    ...         ordered.add(image)
    ...     for image in ordered:
    ...         print(image.sha256.hex())
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._open = contextlib.ExitStack()
        self._buckets: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(_BUCKETS):
            file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115
            self._buckets.append(self._open.enter_context(file))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.close()

    def add(self, image: CheckedImage) -> None:
        """Adds an image.

        Raises:
            OSError: If the disk is full.
        """
        bucket = self._buckets[image.sha256[0] * _BUCKETS // 256]
        pickle.dump(image, bucket, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[CheckedImage]:
        """Gives the images once, freeing the disk as it goes."""
        for bucket in self._buckets:
            for _, _, position in sorted(_index(bucket)):
                bucket.seek(position)
                yield pickle.load(bucket)
            bucket.close()


def _index(bucket: IO[bytes]) -> Iterator[tuple[bytes, str, int]]:
    bucket.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            position = bucket.tell()
            image = pickle.load(bucket)
            yield image.sha256, image.found.name, position
