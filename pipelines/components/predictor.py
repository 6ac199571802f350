"""Predictor: images in, a table with an answer for each out."""

import dataclasses
import functools
import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipelines import files
from pipelines.data.examples import Examples
from pipelines.data.ingest.executors import Beam
from pipelines.data.ingest.workspace import workspace
from pipelines.data.sources.content import Content
from pipelines.data.unlabelled import Found, Images, recorded
from pipelines.errors import UserError
from pipelines.reports.answer_tables import Columns, form_of
from pipelines.runs.folder import Run
from pipelines.serving.local import (
    BATCH,
    Answers,
    LocalModel,
    Pace,
    fingerprint_of,
)
from pipelines.serving.neighbours import Index
from pipelines.serving.versions import find_version, read_made_from

_PART = 8 * BATCH
"""Images of which the answers are kept together when the process stops."""

_SHARD = 256 * BATCH
"""Images that a task of Beam's answers."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be told of images.

    Args:
        probabilities: Whether of all classes, not of the best only.
        embeddings: Whether the pooled features, too.
        neighbours: Where the images lie among which the most similar are to be found: a
            Parquet file with embeddings, see `Index.read`, or a run's folder, of which
            the training images are taken; empty for none.
        neighbour_count: How many of them.
    """

    probabilities: bool = False
    embeddings: bool = False
    neighbours: str = ""
    neighbour_count: int = 5


def check_output(output: Path) -> None:
    """Refuses a table that cannot be written, before anything is loaded.

    Raises:
        UserError: If it has another suffix than there are forms, or exists.
    """
    form_of(output)
    if output.exists():
        raise UserError(f"--output={output} is there; remove it, or give another name")
    if not output.parent.is_dir():
        raise UserError(f"--output={output} is in no folder that exists; make it first")


def predictor(
    model: Path,
    images: Images,
    output: Path,
    *,
    wanted: Wanted = Wanted(),
    beam_args: str | None = None,
    pace: Pace | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Writes a row for each image: its path, its best classes, their probabilities.

    The table appears when it is whole. What a stopped process has written is kept
    in `<output>.partial`, and the same call goes on behind it, to the same bytes.

    Args:
        model: A run's folder, or that of one exported version.
        images: The images.
        output: The table, see `check_output`.
        wanted: What else rows have.
        beam_args: Not None to have it done by Apache Beam with these arguments, see
            `Beam`; then `output` is a folder of tables,
            `part-00000-of-00008.parquet` and so on, of the same rows.
        pace: Is told how fast it goes; nothing of Beam.
        progress: Is told how many images are done.

    Returns:
        What is wrong with images, a sentence for each; their rows say so, too.

    Raises:
        UserError: If there is no such model or index, `output` cannot be written, or
            another process writes it.

    Example:

    >>> predictor(Path("runs/demo"), Images.listed(("photos/",)), Path("photos.csv"))
    []
    """
    check_output(output)
    version = find_version(model).resolve()
    partial = output.absolute().with_name(f"{output.name}.partial")
    made_from = {
        "model": fingerprint_of(version),
        "temperature": read_made_from(version).get("temperature"),
        "images": images.fingerprint,
        "wanted": dataclasses.asdict(wanted),
        "among": _among(wanted.neighbours),
        "part": _PART if beam_args is None else _SHARD,
    }
    with workspace(partial, made_from):
        if beam_args is not None:
            executor = Beam(beam_args, partial / "tasks")
            return _by_beam(
                executor, version, images, partial, output, wanted, progress
            )
        return _here(version, images, partial, output, wanted, pace, progress)


def open_index(wanted: Wanted, model: LocalModel) -> Index | None:
    """Returns where similar images are looked for; None if they are not asked for.

    Raises:
        UserError: If there is no such index, or another model made it.
    """
    if not wanted.neighbours:
        return None
    examples = _examples(wanted.neighbours)
    if examples is None:
        return Index.read(Path(wanted.neighbours), model)
    return Index.of(model.answers(recorded(examples, "train")))


def _examples(neighbours: str) -> Examples | None:
    run = Run(Path(neighbours))
    if run.config_path.is_file():
        return run.examples(run.read_config())
    return Examples.prepared(neighbours)


def _among(neighbours: str) -> list[str]:
    """Returns what decides which images are similar, besides the model."""
    if not neighbours:
        return []
    if examples := _examples(neighbours):
        return [examples.fingerprint]
    path = Path(neighbours)
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [files.fingerprint(file) for file in found if file.is_file()]


def _here(
    version: Path,
    images: Images,
    partial: Path,
    output: Path,
    wanted: Wanted,
    pace: Pace | None,
    progress: Callable[[int], None],
) -> list[str]:
    """Writes the parts that are not there, and then the table."""
    table = _Table.open(version, wanted)
    parts = [
        partial / f"{number:08}{output.suffix}"
        for number in range(math.ceil(images.count / _PART))
    ]
    left = [part for part in parts if not part.exists()]
    done = min(_PART * (len(parts) - len(left)), images.count)
    progress(done)
    batches = table.model.answers(itertools.islice(images, done, images.count), pace)
    for part in left:
        answers = []
        for batch in itertools.islice(batches, _PART // BATCH):
            answers.append(batch)
            done += len(batch.paths)
            progress(done)
        if not answers:
            break
        # A part that is there is whole with what is wrong with its images.
        text = json.dumps(_problems(answers))
        files.write_text(part.with_suffix(_PROBLEMS), text)
        table.write(part, answers)
    _check(done, images)
    form_of(output).join(parts, output)
    return [
        problem
        for part in parts
        for problem in json.loads(part.with_suffix(_PROBLEMS).read_text("utf-8"))
    ]


def _by_beam(
    beam: Beam,
    version: Path,
    images: Images,
    partial: Path,
    output: Path,
    wanted: Wanted,
    progress: Callable[[int], None],
) -> list[str]:
    """Has a task for each part, and makes the folder of them the table."""
    folder = partial / "parts"
    folder.mkdir(exist_ok=True)
    parts = math.ceil(images.count / _SHARD)
    left = iter(images)
    tasks = (
        (
            folder / f"part-{part:05}-of-{parts:05}{output.suffix}",
            [tuple(image) for image in itertools.islice(left, _SHARD)],
        )
        for part in range(parts)
    )
    done, problems = 0, []
    for answered, some in beam.map(functools.partial(_answer, version, wanted), tasks):
        done += answered
        problems += some
        progress(done)
    _check(done, images)
    os.rename(folder, output)
    return problems


def _answer(
    version: Path, wanted: Wanted, task: tuple[Path, list[tuple[str, Content]]]
) -> tuple[int, list[str]]:
    """Writes a part, in a process of Beam's.

    Returns:
        Of how many images, and what is wrong with some.
    """
    part, images = task
    table = _opened(version, wanted)
    answers = list(table.model.answers(itertools.starmap(Found, images)))
    # Another worker may do the same at the same time.
    with tempfile.TemporaryDirectory(dir=part.parent.parent) as own:
        table.write(Path(own, part.name), answers)
        os.replace(Path(own, part.name), part)
    return len(images), _problems(answers)


def _problems(answers: Iterable[Answers]) -> list[str]:
    return [
        f"{path}: {problem}"
        for some in answers
        for path, problem in zip(some.paths, some.problems, strict=True)
        if problem
    ]


def _check(done: int, images: Images) -> None:
    if done != images.count:
        raise UserError("the images have changed while they were read; run again")


_PROBLEMS = ".problems"


@dataclasses.dataclass(frozen=True)
class _Table:
    """What writes the parts of a table.

    Args:
        model: What answers.
        columns: What is written of its answers.
        index: Where similar images are looked for; None if they are not.
        neighbours: How many of them.
    """

    model: LocalModel
    columns: Columns
    index: Index | None
    neighbours: int

    @classmethod
    def open(cls, version: Path, wanted: Wanted) -> "_Table":
        model = LocalModel.load(version)
        columns = Columns(
            model.classes,
            model.fingerprint,
            probabilities=wanted.probabilities,
            embeddings=wanted.embeddings,
        )
        return cls(model, columns, open_index(wanted, model), wanted.neighbour_count)

    def write(self, path: Path, answers: Sequence[Answers]) -> None:
        joined, found = Answers.joined(answers), None
        if self.index:
            found = self.index.nearest(joined.features, self.neighbours)
        form_of(path).write(path, self.columns, joined, found)


_opened = functools.lru_cache(maxsize=1)(_Table.open)  # A process does many tasks.
