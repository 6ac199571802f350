"""Compares what lies in a folder with the checksums that were written with it."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pipelines import files
from pipelines.components.statistics_gen import Statistics
from pipelines.data.examples import Examples
from pipelines.data.integrity import examples_problems
from pipelines.errors import UserError
from pipelines.runs.folder import Run
from pipelines.serving.versions import MADE_FROM, version_problems
from pipelines.training.model import TrainedModel, model_fingerprint


def verifier(directory: Path) -> Iterator[str]:
    """Looks for what is damaged, missing or of something else.

    Of examples all shards and records are read, of a run also its statistics, model,
    checkpoints, evaluation and exported versions, as far as they have checksums.

    Args:
        directory: Examples, a folder that `python -m pipelines.prepare_data` made, or a
            run's.

    Returns:
        A sentence for each problem.

    Raises:
        UserError: If there is nothing of the kind.

    Example:

    >>> list(verifier(Path("runs/demo")))
    []
    """
    run = Run(directory)
    measured = directory / "statistics"
    found = [
        problems
        for is_there, problems in (
            (Examples.is_in(directory), _examples(directory)),
            (Examples.is_in(run.examples_dir), _examples(run.examples_dir)),
            (measured.is_dir(), _statistics(measured)),
            (run.model_dir.is_dir(), _model(run)),
            (run.evaluation_path.exists(), _evaluation(run)),
            (run.serving_dir.is_dir(), _versions(run.serving_dir)),
            (run.exports_dir.is_dir(), _versions(run.exports_dir)),
        )
        if is_there
    ]
    if not found:
        raise UserError(
            f"{directory} holds neither examples nor a run; give the --output_dir of a "
            "command"
        )
    for problems in found:
        yield from problems


def _examples(directory: Path) -> Iterator[str]:
    try:
        yield from examples_problems(Examples.load(directory))
    except UserError as error:
        yield str(error)


def _statistics(directory: Path) -> Iterator[str]:
    try:
        Statistics.load(directory)
    except UserError as error:
        yield str(error)


def _model(run: Run) -> Iterator[str]:
    # Archives of arrays have a checksum for each of them.
    for path in sorted(run.directory.rglob("*.npz")):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            yield f"{path} cannot be read ({error})"
            continue
        if damaged:
            yield f"{path}: {damaged} is damaged"
    if TrainedModel.is_in(run.model_dir):
        try:
            sha256 = TrainedModel.load(run.model_dir).sha256
        except UserError as error:
            yield str(error)
            return
        if sha256:
            yield from files.checksum_problems(run.model_dir / "model.keras", sha256)


def _evaluation(run: Run) -> Iterator[str]:
    try:
        made_from = json.loads(run.evaluation_path.read_text("utf-8"))["made_from"]
        if made_from["model"] != model_fingerprint(run.model_dir):
            yield f"{run.evaluation_path} is of another model than the one there"
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{run.evaluation_path} is damaged or of an older version ({error})"


def _versions(directory: Path) -> Iterator[str]:
    for note in sorted(directory.rglob(str(MADE_FROM))):
        yield from version_problems(note.parents[1])
