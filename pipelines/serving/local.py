"""The exported model in this process, as a server would answer."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.data.images import inspect
from pipelines.errors import UserError
from pipelines.serving.signatures import BYTES_SIGNATURE, FEATURES_SIGNATURE


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says about one image.

    Args:
        problem: Why the image cannot be used, in a few words; None if it can.
        classes: The best classes, best first; empty names if it cannot be used.
        probabilities: Theirs.
        features: Of the image, one for each channel, if they were asked for.
    """

    problem: str | None = None
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    features: tuple[float, ...] = ()


# Image files in, an answer for each out.
Classify = Callable[[Sequence[Path]], list[Answer]]


def load_classifier(version: Path, *, features: bool = False) -> Classify:
    """Loads an exported model.

    Args:
        version: Its folder, see `pipelines.serving.versions.find_version`.
        features: Whether answers have features.

    Returns:
        A function from image files to answers. A file that cannot be read, or that
        `python -m pipelines.prepare_data` would leave out, has a problem for one.

    Raises:
        UserError: If the model gives no features and they are asked for.

    Example:

    >>> classify = load_classifier(find_version(Path("runs/demo")))
    >>> classify([Path("photo.jpg")])[0].classes[0]
    'star'
    """
    saved = tf.saved_model.load(str(version))
    names = [BYTES_SIGNATURE, FEATURES_SIGNATURE] if features else [BYTES_SIGNATURE]
    for name in names:
        if name not in saved.signatures:
            raise UserError(
                f"{version} has no signature {name}; remove that folder and run again "
                "the command that exported it"
            )

    def classify(paths: Sequence[Path]) -> list[Answer]:
        read = [_read(path) for path in paths]
        encoded = tf.constant([image for image, _ in read])
        told: dict[str, Any] = {}
        for name in names:
            told |= saved.signatures[name](image_bytes=encoded)
        columns = {name: values.numpy().tolist() for name, values in told.items()}
        return [
            Answer(
                problem=None if valid else unread or _problem(image),
                classes=tuple(each.decode() for each in classes),
                probabilities=tuple(probabilities),
                features=tuple(found),
            )
            for (image, unread), valid, classes, probabilities, found in zip(
                read,
                columns["valid"],
                columns["classes"],
                columns["probabilities"],
                columns.get("features", [()] * len(read)),
                strict=True,
            )
        ]

    return classify


def _read(path: Path) -> tuple[bytes, str | None]:
    """Returns the bytes of a file, or none and why."""
    try:
        return path.read_bytes(), None
    except OSError as error:
        return b"", f"cannot be read ({error.strerror})"


def _problem(image: bytes) -> str:
    (facts,) = inspect([image])
    why = facts.problem or "not a kind that this model decodes"
    return f"cannot be used ({why})"
