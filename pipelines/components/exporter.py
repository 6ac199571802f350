"""Exporter: a trained model in, a file for another runtime out, compared with it."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet import surgery
from pipelines import files
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import evaluation_batches
from pipelines.errors import UserError, unknown
from pipelines.serving.formats import FORMATS, PREPROCESSING, Comparison
from pipelines.serving.quantizers import TRAINING_IMAGES
from pipelines.serving.runtimes import Runner, answers
from pipelines.serving.versions import next_version
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels

SAVED_MODEL = "saved_model"
"""The format that training ends with, whose answers are of their own kind."""
COMPARISON = "comparison.json"
"""How an export's answers differ from those of the network that was evaluated."""

_COMPARED_IMAGES = 1024
_ROUNDING = 1e-4


def exporter(
    model: TrainedModel,
    examples: Examples,
    directory: Path,
    *,
    to: str,
    precision: str = "float32",
    about: dict[str, Any] | None = None,
) -> tuple[Path, Comparison]:
    """Writes a trained model, batch norms folded, as the next version in a format.

    What is written is loaded by the format's own runtime and compared with the network
    that was evaluated, on validation images, before it is called a version.

    Args:
        model: The trained model.
        examples: Validation images to compare on, training images to calibrate by.
        directory: The export goes to
            `<directory>/<network name>/<to>-<precision>/<version>/`, see
            `next_version`.
        to: A key of `FORMATS`.
        precision: A key of that format's `writers`. Numbers of `"int8"` are calibrated
            on 256 training images and tried on 2,048 others.
        about: What to note of it.

    Returns:
        The folder of the newest version, and how it compares.

    Raises:
        UserError: If there is no such format or precision, a package is missing, or an
            export of whole precision gives other answers.

    Example:

    >>> exporter(model, examples, Path("runs/demo/exports"), to="onnx")[1]
    Comparison(images=1024, largest_difference=2.4e-07, top1_agreement=1.0, ...)
    """
    check(to, precision)
    kind = FORMATS[to]

    def write(version: Path) -> None:
        count = TRAINING_IMAGES if precision == "int8" else 1
        images, _ = _images(examples, "train", model, count)
        network = surgery.fold_batch_norm(model.load_keras())
        network = takes_pixels(network, model.preprocessing)
        network(images[:1])  # Keras exports only what has been called.
        left = kind.writers[precision](network, version / kind.file, images)
        files.write_text(version / "labels.txt", model.labels)
        text = json.dumps(dataclasses.asdict(model.preprocessing), indent=2)
        files.write_text(version / PREPROCESSING, text + "\n")
        comparison = dataclasses.replace(
            _compare(kind.load(version / kind.file), model, examples),
            float_convolutions=left,
        )
        if precision == "float32" and comparison.largest_difference > _ROUNDING:
            raise UserError(
                f"the {to} export answers otherwise than the network (probabilities "
                f"differ by up to {comparison.largest_difference:.2g}); nothing is "
                "exported"
            )
        text = json.dumps(dataclasses.asdict(comparison), indent=2)
        files.write_text(version / COMPARISON, text + "\n")

    exports = directory / model.network.name / f"{to}-{precision}"
    version = next_version(exports, model.made_from, write, about)
    return version, Comparison(**json.loads((version / COMPARISON).read_text()))


def check(to: str, precision: str) -> None:
    """Refuses an export that cannot be made, before anything is loaded.

    Raises:
        UserError: See `exporter`.
    """
    if to == SAVED_MODEL and precision == "float32":
        return
    if to == SAVED_MODEL:
        raise UserError(f"{to} has no {precision} here; it has float32")
    if to not in FORMATS:
        raise unknown("format", to, (SAVED_MODEL, *FORMATS))
    kind = FORMATS[to]
    if precision not in kind.writers:
        raise UserError(
            f"{to} has no {precision} here; it has {', '.join(kind.writers)}"
        )
    for package in kind.packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"exporting to {to} takes the package {package}; install the extra "
                f"`{kind.extra}` (pip install '.[{kind.extra}]')"
            )


def _compare(run: Runner, model: TrainedModel, examples: Examples) -> Comparison:
    images, labels = _images(examples, "validation", model, _COMPARED_IMAGES)
    network = takes_pixels(model.load_keras(), model.preprocessing)
    expected, found = answers(network, images), answers(run, images)
    ours, theirs = expected.argmax(-1), found.argmax(-1)
    return Comparison(
        images=len(images),
        largest_difference=float(np.abs(found - expected).max()),
        top1_agreement=float((ours == theirs).mean()),
        top1_error=float((ours != labels).mean()),
        exported_top1_error=float((theirs != labels).mean()),
    )


def _images(
    examples: Examples, split: str, model: TrainedModel, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images of a split, uint8, and their labels."""
    found = evaluation_batches(examples, split, model.preprocessing, batch_size=32)
    taken = found.dataset.unbatch().take(count).batch(count)
    images, labels = next(taken.as_numpy_iterator())
    return images, labels
