"""The exported model in this process, as a server would answer."""

import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import files
from pipelines.data.image_header import Problem
from pipelines.data.images import MAX_PIXELS, inspect
from pipelines.data.ingest.executors import Threads
from pipelines.data.other_formats import decodable
from pipelines.data.sources.content import Content
from pipelines.data.unlabelled import Found
from pipelines.errors import UserError
from pipelines.serving.signatures import TOP_K
from pipelines.serving.versions import read_made_from

BATCH = 64
"""Images that the network looks at together."""

_DECODERS = 2


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says about a batch of images.

    Args:
        paths: Of the images.
        problems: Why an image cannot be used, in a few words; None if it can. What
            stands in its rows else means nothing.
        probabilities: Of the classes, float32 `(images, classes)`.
        features: What the classifier sees of the images, float32 `(images, channels)`.
    """

    paths: tuple[str, ...]
    problems: tuple[str | None, ...]
    probabilities: np.ndarray
    features: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The most probable classes, best first, int64 `(images, 5 at most)`."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        return order[:, :TOP_K]

    @classmethod
    def joined(cls, answers: Sequence["Answers"]) -> "Answers":
        """Returns the answers of several batches as those of one."""
        columns = zip(*(vars(one).values() for one in answers), strict=True)
        paths, problems, *arrays = columns
        return cls(
            tuple(itertools.chain(*paths)),
            tuple(itertools.chain(*problems)),
            *map(np.concatenate, arrays),
        )


@dataclasses.dataclass
class Pace:
    """How fast answers came, after the first batch, which warms up.

    Args:
        images: How many images were answered.
        seconds: How long it took.
        waited: How much of that the network waited for images to be decoded.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0


@dataclasses.dataclass(frozen=True)
class LocalModel:
    """An exported model.

    Args:
        version: Its folder.
        classes: Their names, in the order of the probabilities.
        fingerprint: Of the network that it was made from, hexadecimal.
        saved: What TensorFlow loads.

    Example:

    >>> model = LocalModel.load(find_version(Path("runs/demo")))
    >>> for answers in model.answers(Images.listed(("photos/",))):
    ...     print(answers.paths[0], model.classes[answers.best[0, 0]])
    photos/1.jpg star
    """

    version: Path
    classes: tuple[str, ...]
    fingerprint: str
    saved: Any

    @classmethod
    def load(cls, version: Path) -> "LocalModel":
        """Loads an exported model.

        Args:
            version: Its folder, see `find_version`.

        Raises:
            UserError: If it was exported by an older version of this package, or by
                others.
        """
        saved = tf.saved_model.load(str(version))
        if not hasattr(saved, "pixels_of_bytes"):
            raise UserError(
                f"{version} does not tell all that its network says; remove that "
                "folder and run again the command that exported it"
            )
        labels = (version / "assets" / "labels.txt").read_text(encoding="utf-8")
        return cls(version, tuple(labels.splitlines()), fingerprint_of(version), saved)

    def answers(
        self, images: Iterable[Found], pace: Pace | None = None
    ) -> Iterator[Answers]:
        """Yields what the model says about images, batch by batch, in their order.

        While the network looks at a batch, the next ones are read and decoded. An image
        that cannot be read, or that `python -m pipelines.prepare_data` would leave out,
        has a problem for an answer.

        Args:
            images: The images.
            pace: Is told how fast it goes.
        """
        prepared = Threads(_DECODERS).map(self._prepare, _batches(images))
        pace = pace or Pace()
        begin = 0.0
        while True:
            asked = time.perf_counter()
            batch = next(prepared, None)
            if batch is None:
                return
            paths, problems, pixels = batch
            got = time.perf_counter()
            told = self.saved.scores_of_pixels(pixels)
            answers = Answers(
                paths, problems, told["probabilities"].numpy(), told["features"].numpy()
            )
            if begin:
                pace.images += len(paths)
                pace.waited += got - asked
                pace.seconds = time.perf_counter() - begin
            yield answers
            begin = begin or time.perf_counter()

    def _prepare(
        self, images: Sequence[Found]
    ) -> tuple[tuple[str, ...], tuple[str | None, ...], tf.Tensor]:
        read = [_read(image.content) for image in images]
        decoded = self.saved.pixels_of_bytes(tf.constant([image for image, _ in read]))
        problems = tuple(
            None if valid else unread or _problem(image)
            for valid, (image, unread) in zip(
                decoded["valid"].numpy(), read, strict=True
            )
        )
        return tuple(image.path for image in images), problems, decoded["images"]


def fingerprint_of(version: Path) -> str:
    """Returns what tells a version's network from others, hexadecimal.

    That of what it was made from, or else of its own files.
    """
    made_from = read_made_from(version).get("model") or {
        str(path.relative_to(version)): files.fingerprint(path)
        for path in sorted(version.rglob("*"))
        if path.is_file()
    }
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _batches(images: Iterable[Found]) -> Iterator[list[Found]]:
    left = iter(images)
    while batch := list(itertools.islice(left, BATCH)):
        yield batch


def _read(content: Content) -> tuple[bytes, str | None]:
    """Returns the bytes of an image that TensorFlow may decode, or none and why."""
    try:
        return decodable(content.read(), MAX_PIXELS), None
    except Problem as problem:
        return b"", f"cannot be used ({problem})"
    except UserError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        return b"", f"cannot be read ({reason})"


def _problem(image: bytes) -> str:
    (facts,) = inspect([image])
    why = facts.problem or "not a kind that this model decodes"
    return f"cannot be used ({why})"
