"""ExampleGen: any source of images in, sharded records out."""

import dataclasses
import errno
import math
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

import keras_resnet
from pipelines import files
from pipelines.data import records
from pipelines.data.examples import Examples
from pipelines.data.images import MAX_PIXELS
from pipelines.data.ingest.executors import Beam, Executor, Threads
from pipelines.data.ingest.ledger import Ledger
from pipelines.data.ingest.survey import Treatment, survey
from pipelines.data.ingest.workspace import workspace
from pipelines.data.ingest.writing import write_shards
from pipelines.data.sources import Source, open_source
from pipelines.data.sources.source import HeldOut
from pipelines.errors import UserError
from pipelines.runs.differences import differences

_SKIPPED_LISTED = 1_000
_PAIRS_LISTED = 20


def example_gen(
    data: str,
    directory: Path,
    *,
    validation_share: float = 0.1,
    max_bad_share: float = 0.01,
    shard_bytes: int = 128 * 2**20,
    shuffle_seed: int = 0,
    pack: str = "",
    orientation: str = "auto",
    check: str = "full",
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
    beam_args: str | None = None,
    held_out: str = "",
) -> Examples:
    """Writes the images of a source as sharded records, once.

    The records are shuffled: sorted by a hash of the image with the seed as its key.
    Where the data has no validation split, the images with the smallest SHA-256 are
    held out: `round(validation_share * N)` of N, at least one, and more only where
    equal images would fall on both sides, or a class of several images would have none
    held out; of such a class one stays for training. So the split depends on nothing
    but the images and their classes. The same data gives the same bytes, whatever does
    the work.

    Images that cannot be used are left out. The directory appears when it is whole; one
    that was made from the same data with the same parameters is used again without
    reading the data. A call that was killed or failed leaves `<directory>.partial`,
    and the next one for the same thing goes on with it.

    Memory does not grow with the number of images. While it works, the disk holds about
    half a kB for each image beside the records, and images that come in a stream or are
    packed are there twice.

    Args:
        data: What to read, see `open_source`.
        directory: Where to write; does not exist, or is empty.
        validation_share: Between 0 and 1, exclusively.
        max_bad_share: Greatest share of images that may be left out.
        shard_bytes: Approximate size of a shard.
        shuffle_seed: Decides the order of the records, from 0.
        pack: Makes images smaller, see `Packing.parse`; empty to keep them.
        orientation: `"apply"` turns photographs as their EXIF data says; `"ignore"`
            keeps the pixels as they are; `"auto"` is what the source says, see
            `Source.orientation`.
        check: `"full"` decodes every image; `"header"` believes what it says of itself,
            many times faster.
        max_pixels: Larger images are left out without decoding them.
        workers: Threads that do the work; 0 for as many as there are processors.
        beam_args: Not None to have it done by Apache Beam with these arguments, see
            `Beam`.
        held_out: Of what is to be evaluated on, `"train"` or `"validation"`: the split
            of which all images, or all images of data without splits, become validation
            images, and no others are read. Empty for examples to train on.

    Returns:
        The examples.

    Raises:
        UserError: If the data cannot be read, too many images cannot be used, a class
            has no image to train on, the directory holds something else or is being
            written, or the disk is full. What was done stays in `<directory>.partial`.

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
    if held_out:
        source = HeldOut(source, held_out)
    if orientation == "auto":
        orientation = source.orientation
    treatment = Treatment(
        check=check, max_pixels=max_pixels, orientation=orientation, pack=pack
    )
    made_from = {
        "source": source.name,
        "fingerprint": source.fingerprint,
        "format": records.VERSION,
        "validation_share": validation_share,
        "shard_bytes": shard_bytes,
        "shuffle_seed": shuffle_seed,
        **dataclasses.asdict(treatment),
        **({"held_out": held_out} if held_out else {}),
    }
    directory = directory.absolute()
    partial = directory.with_name(f"{directory.name}.partial")
    executor: Executor = Threads(workers)
    if beam_args is not None:
        executor = Beam(beam_args, partial / "tasks")
    try:
        if not _is_taken(directory):
            with workspace(partial, made_from | _made_with()):
                # Another process may have been faster.
                if not _is_taken(directory):
                    examples = _ingest(
                        source,
                        partial,
                        executor,
                        treatment,
                        validation_share=validation_share,
                        max_bad_share=max_bad_share,
                        shard_bytes=shard_bytes,
                        shuffle_seed=shuffle_seed,
                        held_out=held_out,
                    )
                    examples = dataclasses.replace(examples, made_from=made_from)
                    examples.save()
                    examples.directory.rename(directory)
                    files.sync(directory.parent)
    except (OSError, sqlite3.Error) as error:
        if type(error) is sqlite3.DatabaseError:
            shutil.rmtree(partial, ignore_errors=True)
            raise UserError(
                f"what was done in {partial} is damaged ({error}) and was removed; "
                "run again"
            ) from error
        raise UserError(
            f"the examples cannot be written to {directory} ({_reason(error)}); mend "
            "that and run again, which goes on with what is done, or give another "
            "folder"
        ) from error
    examples = _load(directory, made_from)
    shutil.rmtree(partial, ignore_errors=True)  # Of a process killed at the very end.
    _check_skipped(
        examples.skipped_count,
        examples.skipped,
        sum(examples.counts.values()),
        max_bad_share,
    )
    return examples


def _is_taken(directory: Path) -> bool:
    return directory.exists() and (directory.is_file() or any(directory.iterdir()))


def _load(directory: Path, made_from: dict[str, Any]) -> Examples:
    what_to_do = "give another --examples_dir, or remove the folder"
    if not Examples.is_in(directory):
        raise UserError(f"{directory} holds something else than examples; {what_to_do}")
    examples = Examples.load(directory)
    for name, (there, now) in differences(examples.made_from, made_from).items():
        raise UserError(
            f"{directory} holds examples of other data or made in another way "
            f"({name}: {there} there, {now} now); {what_to_do}"
        )
    return examples


def _made_with() -> dict[str, str]:
    return {
        "keras_resnet": keras_resnet.__version__,
        "tensorflow": tf.__version__,
        "pillow": PIL.__version__,
    }


def _reason(error: OSError | sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return os.strerror(errno.ENOSPC)
    return getattr(error, "strerror", None) or str(error)


def _ingest(
    source: Source,
    partial: Path,
    executor: Executor,
    treatment: Treatment,
    *,
    validation_share: float,
    max_bad_share: float,
    shard_bytes: int,
    shuffle_seed: int,
    held_out: str,
) -> Examples:
    """Makes the examples, or goes on with them, in a folder of the workspace."""
    ledger_path = partial / "ledger.sqlite"
    with Ledger(ledger_path) as ledger, _progress() as progress:
        if not ledger.classes():
            advance = _bar(progress, "reading", None)
            survey(source, ledger, partial / "staging", executor, treatment, advance)
        skipped_count, skipped = ledger.skipped(_SKIPPED_LISTED)
        used = ledger.progress()[0] - skipped_count
        _check_skipped(skipped_count, skipped, used, max_bad_share)
        if not ledger.classes():
            classes = source.class_order() or ledger.class_names()
            if not held_out:
                _check_classes(classes, ledger.trainable())
            ledger.order(classes, validation_share, shuffle_seed)
        counts = ledger.counts()
        if not (counts["train"] or held_out):
            raise UserError(
                f"all {used} images would be held out; add different ones, or lower "
                f"--validation_share={validation_share}"
            )
        directory = partial / "examples"
        shards = write_shards(
            ledger,
            ledger_path,
            directory,
            shard_bytes,
            executor,
            _bar(progress, "writing", used),
        )
        return Examples(
            directory=directory,
            classes=ledger.classes(),
            counts=counts,
            shards=tuple(shards),
            skipped_count=skipped_count,
            skipped=skipped,
            duplicates=ledger.duplicates(),
            leaked=ledger.leaked(_PAIRS_LISTED),
            conflicts=ledger.conflicts(),
            conflicting=ledger.conflicting(_PAIRS_LISTED),
            passed_over=dict(source.passed_over()),
            mean_bytes=math.ceil(ledger.mean_bytes()),
            made_with=_made_with(),
        )


def _check_skipped(
    count: int, listed: Sequence[tuple[str, str]], used: int, max_bad_share: float
) -> None:
    total = used + count
    if used and count <= max_bad_share * total:
        return
    first = ", ".join(f"{name} ({reason})" for name, reason in listed[:3])
    raise UserError(
        f"{count} of {total} images ({count / total:.2%}) cannot be used: {first}"
        f"{', ...' if count > 3 else ''}; mend or remove them, or raise "
        f"--max_bad_share={max_bad_share}, which goes on without reading them again"
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


def _bar(
    progress: Progress, description: str, total: int | None
) -> Callable[[int], None]:
    task = progress.add_task(description, total=total)
    return lambda count: progress.advance(task, count)
