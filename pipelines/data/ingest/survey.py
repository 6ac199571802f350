"""The first pass of ingest: looks at every image once."""

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from pipelines.data import images
from pipelines.data.image_header import Problem, format_of
from pipelines.data.ingest.executors import Executor
from pipelines.data.ingest.ledger import Entry, Ledger
from pipelines.data.other_formats import decodable
from pipelines.data.packing import Packing, upright
from pipelines.data.sources import Source, SourceImage
from pipelines.data.sources.content import FileContent, InMemory
from pipelines.errors import unknown

_CHUNK_IMAGES = 256
_BATCH_BYTES = 4 * 2**20

_Step = Callable[[bytes], bytes]

_CHECKS = ("full", "header")
_ORIENTATIONS: dict[str, tuple[_Step, ...]] = {
    "ignore": (),
    "apply": (upright,),
}


@dataclasses.dataclass(frozen=True)
class Treatment:
    """How images are checked, and what is made of them; see `example_gen`.

    Raises:
        UserError: If a value is unknown.
    """

    check: str = "full"
    max_pixels: int = images.MAX_PIXELS
    orientation: str = "ignore"
    pack: str = ""

    def __post_init__(self) -> None:
        for field, known in (("check", _CHECKS), ("orientation", _ORIENTATIONS)):
            if getattr(self, field) not in known:
                raise unknown(f"--{field}", getattr(self, field), known)
        self.steps()

    def steps(self) -> list[_Step]:
        """Returns what makes of an image the one to be written."""
        packing = [Packing.parse(self.pack).pack] if self.pack else []
        return [*_ORIENTATIONS[self.orientation], *packing]


def survey(
    source: Source,
    ledger: Ledger,
    staging_path: Path,
    executor: Executor,
    treatment: Treatment,
    advance: Callable[[int], object],
) -> None:
    """Enters every image of a source in the ledger, from where the ledger ends.

    Bytes that came in a stream, or were made of an image, are appended to the staging
    file, so that the second pass finds everything in files.

    Args:
        source: The images.
        ledger: Gets them in the order of the source.
        staging_path: The staging file; what the ledger does not know of is cut off.
        executor: Looks at chunks of images.
        treatment: How.
        advance: Called with numbers of images that are entered.

    Raises:
        UserError: If the data cannot be read.
        OSError: If the disk is full; or `sqlite3.Error`.
    """
    entered, staged = ledger.progress()
    advance(entered)
    chunks = _chunks(itertools.islice(source, entered, None))
    with staging_path.open("ab") as staging:
        staging.seek(staged)
        staging.truncate()

        def in_file(entry: Entry) -> Entry:
            if not isinstance(entry.content, InMemory):
                return entry
            offset = staging.tell()
            staging.write(entry.content.data)
            content = FileContent(str(staging_path), offset, entry.bytes)
            return entry._replace(content=content)

        look = functools.partial(look_at, treatment)
        for entries in executor.map(look, chunks):
            entries = [in_file(entry) for entry in entries]
            staging.flush()
            os.fsync(staging.fileno())
            ledger.add(entries, staging.tell())
            advance(len(entries))


def look_at(treatment: Treatment, found: Iterable[SourceImage]) -> list[Entry]:
    """Reads and checks images, a few MiB at a time.

    Args:
        treatment: How.
        found: The images.

    Returns:
        What is to be entered, in order. Bytes that lie in no file are `InMemory`.

    Raises:
        UserError: If an image cannot be read.
    """
    entries: list[Entry] = []
    batch: list[SourceImage] = []
    encoded: list[bytes] = []
    size = 0
    for image in found:
        batch.append(image)
        encoded.append(image.content.read())
        size += len(encoded[-1])
        if size >= _BATCH_BYTES:
            entries += _look_at_batch(treatment, batch, encoded)
            batch, encoded, size = [], [], 0
    return entries + _look_at_batch(treatment, batch, encoded)


def _look_at_batch(
    treatment: Treatment, found: Sequence[SourceImage], encoded: Sequence[bytes]
) -> list[Entry]:
    first = functools.partial(decodable, max_pixels=treatment.max_pixels)
    opened = [_made(data, [first]) for data in encoded]
    facts = images.inspect(
        [data for data, _ in opened],
        max_pixels=treatment.max_pixels,
        # What packing decodes must be whole.
        check="full" if treatment.pack or treatment.check == "full" else "header",
    )
    steps = treatment.steps()
    entries = []
    for image, data, (made, problem), fact in zip(
        found, encoded, opened, facts, strict=True
    ):
        problem = problem or fact.problem
        if steps and problem is None:
            made, problem = _made(made, steps)
        is_made = made != data
        if is_made and problem is None:
            (fact,) = images.inspect([made], check="header")
        content = InMemory(made) if is_made else image.content
        entries.append(
            Entry(
                name=image.name,
                class_name=image.class_name,
                split=image.split,
                content=content if problem is None else InMemory(b""),
                is_made=is_made,
                sha256=hashlib.sha256(data).digest(),
                format=fact.format,
                height=fact.height,
                width=fact.width,
                bytes=len(made),
                problem=problem,
            )
        )
    return entries


def _made(image: bytes, steps: Sequence[_Step]) -> tuple[bytes, str | None]:
    """Returns what steps make of an image, or why they cannot."""
    try:
        for step in steps:
            image = step(image)
    except Problem as problem:
        return image, str(problem)
    except tf.errors.InvalidArgumentError:
        return image, f"damaged or unsupported {format_of(image)}"
    return image, None


def _chunks(source: Iterable[SourceImage]) -> Iterator[list[SourceImage]]:
    chunk: list[SourceImage] = []
    size = 0
    for image in source:
        chunk.append(image)
        if isinstance(image.content, InMemory):
            size += len(image.content.data)
        if len(chunk) == _CHUNK_IMAGES or size >= _BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
