"""ExampleGen: any source of images in, sharded records out."""

import contextlib
import dataclasses
import math
import shutil
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from pipelines.artifacts import Examples
from pipelines.data import records
from pipelines.data.checks import CheckedImage, checked
from pipelines.data.hash_order import HashOrder
from pipelines.data.sources import Source, open_source
from pipelines.errors import UserError


def example_gen(
    data: str,
    directory: Path,
    *,
    validation_share: float = 0.1,
    max_bad_share: float = 0.01,
    shard_bytes: int = 128 * 2**20,
) -> Examples:
    """Writes the images of a source as sharded records, once.

    The records are sorted by the SHA-256 of the encoded image, which shuffles them.
    Where the data has no validation split, the images with the smallest SHA-256 are
    held out: `round(validation_share * N)` of N, at least one, and more only where
    equal images would fall on both sides. So the split depends on nothing but the
    images. The same data gives the same bytes.

    Images that cannot be decoded are left out. The directory appears when it is
    whole; one that was made from the same data with the same parameters is used again
    without reading the data. Eight bytes of memory are needed for each image, whatever
    its size, and disk space for little more than the data.

    Args:
        data: What to read, see `open_source`.
        directory: Where to write; does not exist, or is empty.
        validation_share: Between 0 and 1, exclusively.
        max_bad_share: Greatest share of images that may be left out.
        shard_bytes: Approximate size of a shard.

    Returns:
        The examples.

    Raises:
        UserError: If the data cannot be read, too many images cannot be decoded, a
            class has no image to train on, the directory holds something else, or the
            disk is full. Nothing is left behind then.

    Example:

    >>> examples = example_gen("photos/", Path("runs/photos/examples"))
    >>> examples.counts
    {'train': 45000, 'validation': 5000}
    """
    if not 0 < validation_share < 1:
        raise UserError(
            f"--validation_share={validation_share} is not between 0 and 1; the usual "
            "one is 0.1"
        )
    source = open_source(data)
    made_from = {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "format": records.VERSION,
        "validation_share": validation_share,
        "shard_bytes": shard_bytes,
    }
    directory = directory.absolute()
    if directory.exists() and (directory.is_file() or any(directory.iterdir())):
        examples = _reusable(directory, made_from)
        _check_skipped(examples.skipped, sum(examples.counts.values()), max_bad_share)
        return examples
    partial = directory.with_name(f"{directory.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        examples = _ingest(
            source, partial, made_from, validation_share, max_bad_share, shard_bytes
        )
        examples.save()
        partial.rename(directory)
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        reason = getattr(error, "strerror", None) or "No space left on device"
        raise UserError(
            f"the examples cannot be written to {directory} ({reason}); make room "
            "there, or give another --examples_dir"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Examples.load(directory)


def _reusable(directory: Path, made_from: dict[str, Any]) -> Examples:
    what_to_do = "give another --examples_dir, or remove the folder"
    if not Examples.is_in(directory):
        raise UserError(f"{directory} holds something else than examples; {what_to_do}")
    examples = Examples.load(directory)
    for key, value in made_from.items():
        if examples.made_from.get(key) != value:
            raise UserError(
                f"{directory} holds examples of other data or made in another way "
                f"({key}: {examples.made_from.get(key)} there, {value} now); "
                f"{what_to_do}"
            )
    return examples


@dataclasses.dataclass
class _Tally:
    """What is known of the images once all have been read."""

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    class_names: set[str] = dataclasses.field(default_factory=set)
    trainable: set[str] = dataclasses.field(default_factory=set)
    splits: Counter[str | None] = dataclasses.field(default_factory=Counter)
    keys: "array[int]" = dataclasses.field(default_factory=lambda: array("Q"))
    total_bytes: int = 0

    def add(self, image: CheckedImage) -> None:
        found = image.found
        self.class_names.add(found.class_name)
        if image.problem is not None:
            self.skipped.append((found.name, image.problem))
            return
        if found.split != "validation":
            self.trainable.add(found.class_name)
        self.splits[found.split] += 1
        self.keys.append(_key(image))
        self.total_bytes += len(found.image)


def _ingest(
    source: Source,
    directory: Path,
    made_from: dict[str, Any],
    validation_share: float,
    max_bad_share: float,
    shard_bytes: int,
) -> Examples:
    tally = _Tally()
    with HashOrder(directory) as ordered, _progress() as progress:
        for image in progress.track(checked(source), description="reading"):
            tally.add(image)
            if image.problem is None:
                ordered.add(image)

        used = len(tally.keys)
        _check_skipped(tally.skipped, used, max_bad_share)
        classes = source.class_order() or tuple(sorted(tally.class_names))
        _check_classes(classes, tally.trainable)
        counts, split_of = _split(tally, validation_share)
        mean_bytes = tally.total_bytes / used

        labels = {name: label for label, name in enumerate(classes)}
        with contextlib.ExitStack() as stack:
            writers = {}
            for split, count in counts.items():
                shards = math.ceil(count * mean_bytes / shard_bytes)
                writer = records.ShardWriter(directory, split, count, shards)
                writers[split] = stack.enter_context(writer)
            for image in progress.track(ordered, used, description="writing"):
                writers[split_of(image)].write(_record(image, labels))
    return Examples(
        directory=directory,
        classes=classes,
        counts=counts,
        skipped=tuple(tally.skipped),
        mean_bytes=math.ceil(mean_bytes),
        made_from=made_from,
    )


def _key(image: CheckedImage) -> int:
    """Returns as much of the SHA-256 as tells images apart."""
    return int.from_bytes(image.sha256[:8], "big")


def _split(
    tally: _Tally, validation_share: float
) -> tuple[dict[str, int], Callable[[CheckedImage], str]]:
    """Returns the number of images in each split, and what tells an image's."""
    used = len(tally.keys)
    held_out = tally.splits["validation"]
    if held_out:
        counts = {"train": used - held_out, "validation": held_out}
        return counts, lambda image: image.found.split or "train"
    ascending = np.sort(np.frombuffer(tally.keys, np.uint64))
    wanted = max(1, math.floor(validation_share * used + 0.5))
    greatest = int(ascending[wanted - 1])
    held_out = int(np.searchsorted(ascending, greatest, side="right"))
    counts = {"train": used - held_out, "validation": held_out}
    return counts, lambda image: "validation" if _key(image) <= greatest else "train"


def _record(image: CheckedImage, labels: dict[str, int]) -> bytes:
    return records.to_example(
        image.found.image,
        name=image.found.name,
        label=labels[image.found.class_name],
        class_name=image.found.class_name,
        height=image.height,
        width=image.width,
        sha256=image.sha256.hex(),
    )


def _check_skipped(
    skipped: Sequence[tuple[str, str]], used: int, max_bad_share: float
) -> None:
    total = used + len(skipped)
    if used and len(skipped) <= max_bad_share * total:
        return
    first = ", ".join(f"{name} ({reason})" for name, reason in skipped[:3])
    raise UserError(
        f"{len(skipped)} of {total} images ({len(skipped) / total:.2%}) cannot be "
        f"used: {first}{', ...' if len(skipped) > 3 else ''}; mend or remove them, or "
        f"raise --max_bad_share={max_bad_share}"
    )


def _check_classes(classes: Sequence[str], trainable: set[str]) -> None:
    if len(classes) < 2:
        raise UserError(f"there is only one class ({classes[0]}); give at least two")
    for name in classes:
        if name not in trainable:
            raise UserError(
                f"the class {name} has no image that can be used for training; add "
                "some, or take the class out of the data"
            )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} images/s", style="progress.data.speed")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} images"),
        _Rate(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
