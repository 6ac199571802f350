"""Where a training step runs: on one device, on several, or on those of many hosts."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.data.reading import Worker
from pipelines.errors import UserError, unknown

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TF_CONFIG_FORM = (
    '{"cluster": {"worker": ["HOST0:PORT", "HOST1:PORT"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


class LostWorkerError(UserError):
    """A worker has ended, or cannot be reached, while others computed with it.

    Commands exit with status 75, by which schedulers can tell it from what a new start
    does not mend (`EX_TEMPFAIL` of `sysexits.h`).
    """

    status = 75


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together, and which of them this one is.

    Args:
        index: This worker, from 0.
        addresses: All workers, `"host:port"`, in the order of their indices; empty
            for a process that trains alone.

    Raises:
        ValueError: If there is no such worker.

    Example:

    >>> Cluster.of(make_strategy("one")).is_chief
    True
    """

    index: int = 0
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"worker {self.index} is not one of {self.count}")

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> "Cluster":
        """Returns the processes over which a strategy runs steps."""
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return cls()
        resolver = strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict()
        index = resolver.task_id
        if resolver.task_type == "worker":
            index += len(jobs.get("chief", []))
        return cls(index, (*jobs.get("chief", []), *jobs.get("worker", [])))

    @classmethod
    def from_environment(cls) -> "Cluster":
        """Returns the processes that the variable `TF_CONFIG` names.

        See `tf.distribute.cluster_resolver.TFConfigClusterResolver`. Jobs are
        `"worker"` and, for those who name it, one `"chief"`, which is then the first.

        Raises:
            UserError: If it is not in that form.
        """
        text = os.environ.get("TF_CONFIG", "")
        if not text:
            return cls()
        try:
            values = json.loads(text)
            jobs = dict(values.get("cluster") or {})
            if not jobs:
                return cls()
            chiefs, workers = jobs.pop("chief", []), jobs.pop("worker", [])
            task, index = values["task"]["type"], int(values["task"]["index"])
            number = index + (len(chiefs) if task == "worker" else 0)
            addresses = (*chiefs, *workers)
            is_in_form = (
                not jobs
                and len(chiefs) <= 1
                and task in ("chief", "worker")
                and 0 <= index < len(chiefs if task == "chief" else workers)
                and all(re.fullmatch(r".+:\d+", address) for address in addresses)
                and len(set(addresses)) == len(addresses)
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            is_in_form = False
        if not is_in_form:
            raise UserError(
                f"the environment variable TF_CONFIG is {text!r}; it must name every "
                "worker once, the same in each process, and which of them this process "
                f"is, from 0: {_TF_CONFIG_FORM}"
            )
        return cls(number, addresses)

    @property
    def count(self) -> int:
        """How many workers there are, 1 for a process that trains alone."""
        return max(len(self.addresses), 1)

    @property
    def worker(self) -> Worker:
        """This worker, as readers of the records know it."""
        return Worker(self.index, self.count)

    @property
    def is_chief(self) -> bool:
        """Whether this is the first worker, which alone writes files."""
        return self.index == 0


def make_strategy(name: str = "auto", replicas: int = 0) -> tf.distribute.Strategy:
    """Returns what steps run on; call it before TensorFlow runs anything.

    Under `"multi_worker"` it tells for which workers it waits, and waits without end.

    Args:
        name: A key of `STRATEGIES`: `"one"` device; `"mirrored"`, several devices of
            this host; `"multi_worker"`, those of all processes in `TF_CONFIG`;
            `"auto"`, the last that applies.
        replicas: How many GPUs of this host to take, 0 for all. On a host without
            GPUs, into how many logical devices to split the CPU, which shows what
            several replicas compute and is not faster.

    Returns:
        The strategy, see `tf.distribute`.

    Raises:
        UserError: If there is no such strategy, there are fewer GPUs than `replicas`,
            TensorFlow already runs, `TF_CONFIG` is missing or wrong, or its port is
            taken.
        LostWorkerError: If another worker ends while this one waits for it.

    Example:

    >>> make_strategy("mirrored", replicas=2).num_replicas_in_sync
    2
    """
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    gpus = tf.config.list_physical_devices("GPU")
    if replicas < 0 or (gpus and replicas > len(gpus)):
        raise UserError(
            f"--replicas={replicas} does not fit the {len(gpus)} GPUs of this host; "
            "give 0 to use all"
        )
    return STRATEGIES[name](gpus[: replicas or None], replicas)


def gpus_here() -> list[str]:
    """Returns the names of this process' GPUs, on which steps run if there are any."""
    return [gpu.name for gpu in tf.config.list_logical_devices("GPU")]


def _auto(gpus: list[Any], replicas: int) -> tf.distribute.Strategy:
    if Cluster.from_environment().count > 1:
        return _multi_worker(gpus, replicas)
    if max(len(gpus), replicas) > 1:
        return _mirrored(gpus, replicas)
    return _one(gpus, replicas)


def _one(gpus: list[Any], replicas: int) -> tf.distribute.Strategy:
    if replicas > 1:
        raise UserError(
            f"--strategy=one has one replica, not --replicas={replicas}; leave one of "
            "the two out"
        )
    _hide_others(gpus[:1], "--strategy=one")
    return tf.distribute.get_strategy()


def _mirrored(gpus: list[Any], replicas: int) -> tf.distribute.Strategy:
    if gpus:
        _hide_others(gpus, f"--replicas={replicas}")
        return _mirrored_over("GPU", len(gpus))
    count = max(replicas, 1)
    _split_cpu(count)
    return _mirrored_over("CPU", count)


@functools.cache
def _mirrored_over(kind: str, count: int) -> tf.distribute.Strategy:
    # Once for a process: TensorFlow would number the all-reduces of a second strategy
    # as it has numbered the first one's, and take them for the same.
    return tf.distribute.MirroredStrategy([f"/{kind}:{n}" for n in range(count)])


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) >= count:
        return
    with _before_tensorflow_runs(f"--replicas={count}"):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )


def _hide_others(gpus: list[Any], flag: str) -> None:
    """Keeps TensorFlow from taking the memory of GPUs on which nothing will run."""
    if gpus != tf.config.get_visible_devices("GPU"):
        with _before_tensorflow_runs(flag):
            tf.config.set_visible_devices(gpus, "GPU")


def _multi_worker(gpus: list[Any], replicas: int) -> tf.distribute.Strategy:
    cluster = Cluster.from_environment()
    if not cluster.addresses:
        raise UserError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, in each "
            "process the same but for the index, which counts the workers from 0: "
            f"TF_CONFIG='{_TF_CONFIG_FORM}'"
        )
    if not gpus and replicas > 1:
        raise UserError(
            f"--replicas={replicas} cannot split the CPU of a worker; start more "
            "workers instead"
        )
    links = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=links.NCCL if gpus else links.RING
    )
    with (
        _before_tensorflow_runs("--strategy=multi_worker"),
        _waiting_for(cluster),
        _naming_lost_workers(cluster),
    ):
        _hide_others(gpus, "--strategy=multi_worker")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=options
            )
        except tf.errors.UnknownError as error:
            raise UserError(
                f"worker {cluster.index} cannot listen on "
                f"{cluster.addresses[cluster.index]}, its address in TF_CONFIG; the "
                f"port is taken, or it is another host's ({error.message})"
            ) from error


STRATEGIES: dict[str, Callable[[list[Any], int], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one": _one,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}
"""What makes a strategy of the GPUs to use and the replicas asked for, by name."""


@contextlib.contextmanager
def _before_tensorflow_runs(flag: str) -> Iterator[None]:
    """Turns the error that comes too late for a setting into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"{flag} cannot be set up after TensorFlow has started; start a new process"
        ) from error


@contextlib.contextmanager
def _waiting_for(cluster: Cluster) -> Iterator[None]:
    """Tells for whom this process waits, and lets Ctrl-C end it meanwhile.

    TensorFlow waits in compiled code, where Python comes to nothing: no thread runs,
    and no signal is handled. SIGTERM it takes for itself, and gets back here.
    """
    others = [*cluster.addresses]
    del others[cluster.index]
    if others:
        print(f"waiting for workers {', '.join(others)}", file=sys.stderr, flush=True)
    before = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the errors of a worker that another one has left into a sentence.

    TensorFlow raises them at once where a process ends in the middle of a computation
    over all workers, and otherwise when its heartbeat has been missed for 10 seconds:
    where it ended between two of them, hangs, or cannot be reached.

    Args:
        strategy: Over whose workers the block computes.

    Raises:
        LostWorkerError: If one of them has ended or cannot be reached.

    Example:

    >>> with lost_workers(strategy):
    ...     loop.run()
    """
    with _naming_lost_workers(Cluster.of(strategy)):
        yield


_LOSS = re.compile(
    r"Collective ops is aborted|CoordinationService|coordination service|"
    r"remote target|failed to connect to all addresses"
)


@contextlib.contextmanager
def _naming_lost_workers(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if cluster.count == 1 or not _LOSS.search(error.message):
            raise
        raise LostWorkerError(
            f"{_lost_worker(cluster, error.message)} has ended or cannot be reached; "
            "its output says why; start all workers again, with the same commands, and "
            "the run goes on from its last checkpoint"
        ) from error


def _lost_worker(cluster: Cluster, message: str) -> str:
    """Returns which worker TensorFlow's message is about."""
    chiefs = "/job:chief" in message
    for job, task in re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", message):
        index = int(task) + (1 if chiefs and job == "worker" else 0)
        if index != cluster.index and index < cluster.count:
            return f"worker {index} ({cluster.addresses[index]})"
    if cluster.index and "CoordinationService/" in message:
        # Heartbeats go to the first worker.
        return f"worker 0 ({cluster.addresses[0]})"
    return "another worker"


def gather(strategy: tf.distribute.Strategy, values: Any) -> np.ndarray:
    """Returns what every worker gives; all of them must call it.

    Args:
        strategy: Over whose workers to gather.
        values: Numbers, of one shape and dtype in all workers.

    Returns:
        An array `(workers, *shape)`, bit by bit the same in all workers.

    Raises:
        tf.errors.OpError: If a worker is lost, see `lost_workers`.

    Example:

    >>> gather(strategy, 3)
    array([3])
    >>> gather(strategy, np.array([2.0, 5.0])).sum(axis=0)
    array([2., 5.])
    """
    cluster = Cluster.of(strategy)
    own = np.asarray(values)
    rows = np.zeros((cluster.count, *own.shape), own.dtype)
    if cluster.count == 1:
        rows[0] = own
        return rows
    replicas = len(strategy.extended.worker_devices)

    def place(context: Any) -> tf.Tensor:
        # One replica of a worker gives its values; all others give zeros.
        part = rows.copy()
        if context.replica_id_in_sync_group % replicas == 0:
            part[cluster.index] = own
        return tf.constant(part)

    placed = strategy.experimental_distribute_values_from_function(place)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, placed, axis=None).numpy()


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers have come here, see `gather`."""
    gather(strategy, 0)


def agree(strategy: tf.distribute.Strategy, value: int, what: str) -> None:
    """Ends all workers if they do not hold the same number, see `gather`.

    Args:
        strategy: Over whose workers to compare.
        value: This worker's number.
        what: What the number is.

    Raises:
        UserError: If the numbers differ.

    Example:

    >>> agree(strategy, checkpoint.step, "the step of the last checkpoint")
    """
    values = gather(strategy, np.int64(value)).tolist()
    if len(set(values)) > 1:
        raise UserError(
            f"{what} differs between the workers ({', '.join(map(str, values))}, by "
            "index); all of them must see the same files under --output_dir and "
            "--data, on storage that they share, and be started with the same flags"
        )
