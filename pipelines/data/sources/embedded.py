"""The embedded image set."""

import hashlib
import inspect
from collections.abc import Iterator

from pipelines.data import drawings
from pipelines.data.sources.content import InMemory
from pipelines.data.sources.source import Source, SourceImage
from pipelines.errors import UserError


class Drawings(Source):
    """Images drawn on the spot, see `pipelines.data.drawings`.

    Args:
        count: Number of images, as the user wrote it.

    Raises:
        UserError: If it is not a number of images.
    """

    def __init__(self, count: str = str(drawings.DEFAULT_COUNT)):
        if not count.isdecimal() or int(count) < 1:
            raise UserError(
                f"drawings:{count} does not say how many; write drawings:"
                f"{drawings.DEFAULT_COUNT} or so"
            )
        self._count = int(count)
        self.name = f"drawings-{self._count}"
        key = f"{self._count} {drawings.DEFAULT_SEED} {inspect.getsource(drawings)}"
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()

    def __iter__(self) -> Iterator[SourceImage]:
        for class_name, image, name in drawings.draw(
            self._count, drawings.DEFAULT_SEED
        ):
            yield SourceImage(name, InMemory(image), class_name, split=None)
