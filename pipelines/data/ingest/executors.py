"""Who does the work of ingest: threads of this process, or Apache Beam."""

import functools
import hashlib
import os
import shlex
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipelines.data.ingest.values import from_json, to_json
from pipelines.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

_TASKS_AHEAD = 2  # For each thread.

LOCAL_BEAM = (
    "--runner=FnApiRunner --direct_running_mode=multi_processing --direct_num_workers=0"
)
"""Beam's local runner with a process for each processor; `DirectRunner` would first try
to download another one."""


class Executor(Protocol):
    """Applies a function to many tasks."""

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Gives the results in the order of the tasks.

        Args:
            function: A module's function, or a `functools.partial` of one; its result
                depends on the task alone.
            tasks: Values that `to_json` takes, like the results; asked for only in
                the calling thread.

        Raises:
            Exception: What the function raises.
        """
        ...


class Threads:
    """Threads of this process; memory for a few tasks of each.

    Reading, hashing and decoding, most of the work, run in all of them at once.

    Args:
        workers: Number of threads; 0 for as many as there are processors.

    Example:

    >>> list(Threads(2).map(len, ["a", "bc"]))
    [1, 2]
    """

    def __init__(self, workers: int = 0):
        self._workers = workers or len(os.sched_getaffinity(0))

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """See `Executor`."""
        pending: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for task in tasks:
                    pending.append(pool.submit(function, task))
                    if len(pending) > _TASKS_AHEAD * self._workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


class Beam:
    """An Apache Beam pipeline, on this machine or on many.

    Tasks and results are files, so that the pipeline itself stays small. A task that
    was done before this process started is not done again.

    Args:
        arguments: For Beam, as its own documentation writes them; `LOCAL_BEAM` goes
            before them if they name no runner.
        folder: Where the files lie; the workers see it, and the data, under the same
            path.

    Raises:
        UserError: If Beam is not installed or does not understand the arguments, or,
            in `map`, if the pipeline fails.

    Example:

    >>> Beam("--runner=FlinkRunner --flink_master=host:8081", Path("/shared/tasks"))
    """

    def __init__(self, arguments: str, folder: Path):
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError as error:
            raise UserError(
                "--beam_args needs Apache Beam, which is not installed; run "
                "pip install apache-beam, or leave --beam_args out"
            ) from error
        try:
            given = shlex.split(arguments)
            names_runner = any(argument.startswith("--runner") for argument in given)
            self._options = PipelineOptions(
                given if names_runner else [*LOCAL_BEAM.split(), *given]
            )
            self._options.get_all_options()
        except (ValueError, SystemExit) as error:
            raise UserError(
                f"Apache Beam does not understand --beam_args={arguments}; write its "
                "own flags, as in a shell"
            ) from error
        self._folder = folder

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """See `Executor`; all tasks are asked for before the first result."""
        self._folder.mkdir(exist_ok=True)
        paths = [_store_task(self._folder, function, task) for task in tasks]
        for path in paths:
            path.with_suffix(_FAILURE).unlink(missing_ok=True)
        undone = [path for path in paths if not path.with_suffix(_RESULT).exists()]
        if undone:
            self._run(function, undone)
        for path in paths:
            if path.with_suffix(_FAILURE).exists():
                raise _error(_load(path.with_suffix(_FAILURE)))
            yield _load(path.with_suffix(_RESULT))

    def _run(self, function: Callable[..., Any], tasks: list[Path]) -> None:
        import apache_beam as beam

        try:
            with beam.Pipeline(options=self._options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create(list(map(str, tasks)))
                    # Else all tasks would go to one worker.
                    | beam.Reshuffle()
                    | beam.Map(functools.partial(_perform, function))
                )
        except Exception as error:  # Each runner fails in its own way.
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise UserError(
                f"the Beam pipeline failed ({reason[0]}); its workers need this "
                f"package and must see {self._folder} and the data under these paths"
            ) from error


_RESULT, _FAILURE = ".result", ".failure"


def _store_task(folder: Path, function: Callable[..., Any], task: Any) -> Path:
    # The function travels with the pipeline; its name only tells tasks apart.
    inner = getattr(function, "func", function)
    name = f"{inner.__module__}.{inner.__qualname__} {getattr(function, 'args', ())!r}"
    text = to_json(task)
    digest = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()
    path = folder / f"{digest}.task"
    _store(path, text)
    return path


def _perform(function: Callable[..., Any], task: str) -> None:
    """Does a task, maybe at the same time as another worker does it."""
    path = Path(task)
    try:
        _store(path.with_suffix(_RESULT), to_json(function(_load(path))))
    except UserError as error:
        _store(path.with_suffix(_FAILURE), to_json([str(error)]))
    except OSError as error:
        reason = [error.errno, error.strerror, error.filename]
        _store(path.with_suffix(_FAILURE), to_json([str(error), *reason]))


def _error(values: list[Any]) -> Exception:
    """Returns an error that happened in a worker, for the process that shows it."""
    return OSError(*values[1:]) if len(values) > 1 else UserError(values[0])


def _load(path: Path) -> Any:
    return from_json(path.read_bytes(), path)


def _store(path: Path, text: str) -> None:
    """Writes a file that is whole when it is there."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
