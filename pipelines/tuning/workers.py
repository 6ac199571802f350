"""A search by several processes: KerasTuner's chief, which has the oracle, and workers.

Who is who is told by KerasTuner's environment variables. The chief proposes by
KerasTuner's own service; all share the folder of the search, and whoever runs a trial
holds that trial's folder. So the chief knows who is gone, and nothing is written twice.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.engine import conditions
from rich.console import Console

from pipelines.data import folders
from pipelines.errors import UserError
from pipelines.tuning.oracles import KeptOracle

_ID, _IP, _PORT = (
    f"KERASTUNER_{name}" for name in ("TUNER_ID", "ORACLE_IP", "ORACLE_PORT")
)
_PATIENCE = 30.0
"""Seconds that a worker waits for its chief to answer."""

_GRACE = 10.0
"""Seconds until whoever was given a trial must hold its folder."""

_FAREWELL = 10.0
"""Seconds that the chief waits for workers to hear that all is done."""

# It prints a line for each condition of each message.
conditions.print = lambda *words: None


@dataclasses.dataclass(frozen=True)
class Place:
    """Who this process is in a search.

    Args:
        tuner_id: Its name.
        address: Where the chief is, `HOST:PORT`; empty where there is none.
    """

    tuner_id: str = "tuner0"
    address: str = ""

    @property
    def is_chief(self) -> bool:
        """Whether this process proposes the trials that others run."""
        return bool(self.address) and "chief" in self.tuner_id

    @property
    def is_worker(self) -> bool:
        """Whether this process runs what a chief proposes."""
        return bool(self.address) and not self.is_chief

    @classmethod
    def from_environment(cls) -> "Place":
        """Returns what KerasTuner's environment variables tell.

        Raises:
            UserError: If some of them are missing, or the port is none.

        Example:

        >>> Place.from_environment()
        Place(tuner_id='tuner0', address='')
        """
        values = {name: os.environ.get(name, "") for name in (_ID, _IP, _PORT)}
        if not values[_IP] and not values[_PORT]:
            return cls()
        missing = [name for name, value in values.items() if not value]
        if missing:
            raise UserError(
                f"{' and '.join(missing)} is not set, but others of {_ID}, {_IP} and "
                f"{_PORT} are: set all three, {_ID}=chief for the one that proposes "
                "and another for each worker, or none"
            )
        if not values[_PORT].isdigit() or not 0 < int(values[_PORT]) < 65536:
            raise UserError(f"{_PORT}={values[_PORT]} is no port; give 1 to 65535")
        return cls(values[_ID], f"{values[_IP]}:{values[_PORT]}")


class _Waiting:
    """Stands for the oracle while the chief prepares the data."""

    def create_trial(self, tuner_id: str) -> Trial:
        hyperparameters = keras_tuner.HyperParameters()
        return Trial(hyperparameters, trial_id="none", status=TrialStatus.IDLE)


class Chief:
    """Serves an oracle to workers.

    Args:
        servicer: KerasTuner's.
        console: Where to tell of lost workers.
    """

    def __init__(self, servicer: Any, console: Console) -> None:
        self._servicer = servicer
        self._console = console

    def serve(self, oracle: KeptOracle, folder_of: Callable[[Trial], Path]) -> None:
        """Serves until the oracle has enough and the workers know.

        Args:
            oracle: Opened.
            folder_of: Returns where a trial is run.
        """
        self._servicer.oracle = oracle
        farewell = None
        while True:
            time.sleep(0.2)
            lost = oracle.give_up(
                lambda trial: folders.is_held(folder_of(trial)), _GRACE
            )
            for trial in lost:
                self._console.print(
                    f"trial {int(trial.trial_id) + 1} has lost its worker; another "
                    "one goes on with it",
                    style="yellow",
                )
            if not self._servicer.stop_triggered:
                continue
            farewell = farewell or time.monotonic() + _FAREWELL
            if not oracle.tuner_ids or time.monotonic() > farewell:
                return


@contextlib.contextmanager
def chief(place: Place, console: Console) -> Iterator[Chief]:
    """Answers workers, from now on, that they have to wait.

    Args:
        place: This process, the chief.
        console: Where to tell of lost workers.

    Raises:
        UserError: If the address cannot be had.

    Example:

    >>> with chief(place, Console()) as served:
    ...     served.serve(prepared_oracle(), folder_of)
    """
    # A second chief would share the port, and the workers with the first.
    options = [("grpc.so_reuseport", 0)]
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    server = grpc.server(pool, options=options)
    servicer = OracleServicer(_Waiting())
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        port = server.add_insecure_port(place.address)
    except RuntimeError:
        port = 0
    if not port:
        raise UserError(
            f"{_IP} and {_PORT} say {place.address}, which this machine does not have "
            "or another process has taken; give another"
        )
    server.start()
    try:
        yield Chief(servicer, console)
    finally:
        server.stop(grace=1).wait()
        # Else its thread keeps the interpreter from ending.
        pool.shutdown(wait=False)


class Client:
    """The oracle of a chief, as a worker has it.

    Args:
        place: This process, a worker.
        console: Where to tell that the chief does not answer yet.

    Raises:
        UserError: If the chief does not answer, now or later.

    Example:

    >>> search(Client(Place.from_environment(), Console()), "tuner0", run_trial)
    """

    def __init__(self, place: Place, console: Console) -> None:
        self._address = place.address
        with grpc.insecure_channel(place.address) as channel:
            ready = grpc.channel_ready_future(channel)
            told = threading.Timer(
                2.0,
                lambda: console.print(f"waiting for the chief at {place.address}"),
            )
            told.start()
            try:
                ready.result(timeout=_PATIENCE)
            except grpc.FutureTimeoutError:
                raise UserError(self._gone(f"for {_PATIENCE:.0f} s")) from None
            finally:
                told.cancel()
        oracle_client.TIMEOUT = _PATIENCE
        self._oracle = oracle_client.OracleClient(None)

    def _gone(self, since: str) -> str:
        return (
            f"the chief at {self._address} does not answer {since}; see that it runs "
            f"and that {_IP} and {_PORT} are its own, then start this worker again: "
            "what has been trained is kept"
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError:
            raise UserError(self._gone("any more")) from None

    def create_trial(self, tuner_id: str) -> Trial:
        """Returns what to run next, see `Proposes`."""
        with self._told():
            return self._oracle.create_trial(tuner_id)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float]) -> Trial:
        """Takes what came of a trial, see `Proposes`."""
        with self._told():
            return self._oracle.update_trial(trial_id, dict(metrics))

    def end_trial(self, trial: Trial) -> None:
        """Takes that a trial is done, see `Proposes`."""
        with self._told():
            self._oracle.end_trial(trial)

    def get_trial(self, trial_id: str) -> Trial:
        """Returns a trial by its name."""
        with self._told():
            return self._oracle.get_trial(trial_id)
