"""Requests that come at about the same time go through the network together."""

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from grpc import StatusCode

from pipelines.serving.server.refusal import Refusal, invalid

Arrays = dict[str, np.ndarray]
"""Tensors by their names in a signature."""

Run = Callable[[str, Arrays], Arrays]
"""Computes the outputs of a signature from its inputs."""

Observe = Callable[[int, Sequence[float], float], None]
"""Takes a batch's rows, the seconds that each request waited, and those it took."""


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are put together: TF Serving's `BatchingParameters`.

    Args:
        max_batch_size: Rows, which are images, in a batch and in a request.
        batch_timeout_micros: How long the first of a batch waits for others, if there
            is a thread for it.
        max_enqueued_batches: Batches that may wait for a thread.
        num_batch_threads: Batches that are computed at the same time.
        allowed_batch_sizes: Sizes that a batch is filled up to, ascending, with copies
            of its first row; empty for any.
        together: Whether requests share batches.
    """

    max_batch_size: int = 128
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    together: bool = True


@dataclasses.dataclass
class _Request:
    inputs: Arrays
    rows: int
    answer: asyncio.Future[Arrays]
    since: float


@dataclasses.dataclass
class _Batch:
    """What is computed at once. It grows until a thread takes it."""

    signature: str
    key: Hashable
    requests: list[_Request] = dataclasses.field(default_factory=list)
    rows: int = 0
    is_due: bool = False


class Batcher:
    """The queue of one version of a model, and the threads that compute.

    Args:
        run: What computes; called in threads.
        batching: How requests are put together.
        observe: Told of each batch.

    Example:

    >>> batcher = Batcher(loaded.run, Batching())
    >>> await batcher.submit("serving_default", {"image_bytes": images})
    """

    def __init__(
        self,
        run: Run,
        batching: Batching,
        observe: Observe = lambda rows, waited, seconds: None,
    ) -> None:
        self._run = run
        self._batching = batching
        self._observe = observe
        self._open: dict[Hashable, _Batch] = {}
        self._due: asyncio.Queue[_Batch] = asyncio.Queue()
        self._waiting = 0
        self._threads = ThreadPoolExecutor(batching.num_batch_threads, "batches")
        self._workers = [
            asyncio.create_task(self._work()) for _ in range(batching.num_batch_threads)
        ]

    async def submit(self, signature: str, inputs: Arrays) -> Arrays:
        """Returns the outputs of a signature for the inputs of one request.

        Raises:
            Refusal: If it has too many rows, too many batches wait, or it fails.
        """
        limits = self._batching
        sizes = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        rows = sizes.pop() if len(sizes) == 1 else 0
        if rows > limits.max_batch_size:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size "
                f"{limits.max_batch_size}"
            )
        # Images of other sizes make another batch; what has no rows goes alone.
        shapes = sorted((name, array.shape[1:]) for name, array in inputs.items())
        is_shared = limits.together and rows > 0
        key: Hashable = (signature, *shapes) if is_shared else object()
        batch = self._open.get(key)
        if batch and batch.rows + rows > limits.max_batch_size:
            self._make_due(self._open.pop(key))
            batch = None
        if batch is None:
            if self._waiting >= limits.max_enqueued_batches:
                raise Refusal(
                    StatusCode.RESOURCE_EXHAUSTED,
                    "The batch scheduling queue to which this task was submitted is "
                    "full",
                )
            self._waiting += 1
            batch = self._open[key] = _Batch(signature, key)
            wait = limits.batch_timeout_micros / 1e6 if is_shared else 0
            asyncio.get_running_loop().call_later(wait, self._make_due, batch)
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        batch.requests.append(_Request(inputs, rows, answer, time.perf_counter()))
        batch.rows += rows
        if batch.rows == limits.max_batch_size:
            self._make_due(batch)
        return await answer

    def close(self) -> None:
        """Ends the threads. Who still waits is refused."""
        for worker in self._workers:
            worker.cancel()
        self._threads.shutdown(wait=False)

    def _make_due(self, batch: _Batch) -> None:
        if not batch.is_due:
            batch.is_due = True
            self._due.put_nowait(batch)

    async def _work(self) -> None:
        while True:
            batch = await self._due.get()
            self._waiting -= 1
            if self._open.get(batch.key) is batch:
                del self._open[batch.key]
            # Who gave up is done.
            requests = [each for each in batch.requests if not each.answer.done()]
            if not requests:
                continue
            start = time.perf_counter()
            answers = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._compute, batch.signature, requests
            )
            now = time.perf_counter()
            rows = sum(request.rows for request in requests)
            self._observe(rows, [start - each.since for each in requests], now - start)
            for request, answer in zip(requests, answers, strict=True):
                if request.answer.done():
                    continue
                if isinstance(answer, Exception):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)

    def _compute(
        self, signature: str, requests: list[_Request]
    ) -> list[Arrays | Exception]:
        try:
            if len(requests) == 1 and not self._batching.allowed_batch_sizes:
                return [self._run(signature, requests[0].inputs)]
            return list(self._together(signature, requests))
        except Exception as error:
            if len(requests) == 1:
                return [error]
            # One bad request must not be the others' failure.
            return [self._compute(signature, [each])[0] for each in requests]

    def _together(self, signature: str, requests: list[_Request]) -> list[Arrays]:
        inputs = {
            name: np.concatenate([each.inputs[name] for each in requests])
            for name in requests[0].inputs
        }
        rows = sum(each.rows for each in requests)
        allowed = [size for size in self._batching.allowed_batch_sizes if size >= rows]
        if missing := allowed[0] - rows if allowed and rows else 0:
            inputs = {
                name: np.concatenate([array, np.repeat(array[:1], missing, axis=0)])
                for name, array in inputs.items()
            }
        outputs = self._run(signature, inputs)
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows + missing:
                raise invalid(f"output {name} has not one row for each of the inputs'")
        ends = np.cumsum([each.rows for each in requests])
        return [
            {name: array[end - each.rows : end] for name, array in outputs.items()}
            for each, end in zip(requests, ends, strict=True)
        ]
