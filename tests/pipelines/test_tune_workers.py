"""Several processes search: KerasTuner's chief, its workers, and lost ones."""

import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

import keras_resnet
from keras_resnet.training import RECIPES
from keras_resnet.tuning import Space, SpaceAround
from pipelines.data import folders
from pipelines.errors import UserError
from pipelines.runs.trial import SearchRequest
from pipelines.tuning import workers
from pipelines.tuning.oracles import make_oracle
from pipelines.tuning.search import search
from pipelines.tuning.workers import Client, Place, chief


@pytest.fixture
def address(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    return f"127.0.0.1:{port}"


def opened(directory, trials, tuner="random", **others):
    space = Space.parse("blocks=1..9 shortcut=A,B,C")
    near = SpaceAround(
        space, keras_resnet.NETWORKS["resnet20"], RECIPES["onecycle_cifar"]
    )
    oracle = make_oracle(near, SearchRequest(tuner=tuner), trials, seed=0)
    oracle.open(
        directory / "keras_tuner", lambda values: False, lambda trial: None, **others
    )
    return oracle


class Killed(BaseException):
    """What ends a worker without a word."""


@pytest.mark.parametrize("tuner", ["random", "hyperband"])
def test_two_workers_of_which_one_is_lost(address, tmp_path, monkeypatch, tuner):
    monkeypatch.setattr(workers, "_GRACE", 0.3)
    ran = collections.Counter()
    console = Console(file=(tmp_path / "output.txt").open("w"), width=200)

    def run(name, dies_at):
        client = Client(Place(name, address), console)

        def run_trial(trial):
            with folders.held(tmp_path / "trials" / trial.trial_id):
                ran[trial.trial_id] += 1
                if name == "worker1" and sum(ran.values()) >= dies_at:
                    raise Killed
                time.sleep(0.05)
                return {"top1_error": int(trial.trial_id) / 100}

        with contextlib.suppress(Killed):
            search(client, name, run_trial)

    with chief(Place("chief", address), console) as served:
        # They wait for what is prepared only now.
        threads = [
            threading.Thread(target=run, args=(name, 4))
            for name in ("worker1", "worker2")
        ]
        for thread in threads:
            thread.start()
        oracle = opened(tmp_path, 8, tuner)
        served.serve(oracle, lambda trial: tmp_path / "trials" / trial.trial_id)
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    states = {trial.status for trial in oracle.trials.values()}
    assert states == {"COMPLETED"}
    assert len(oracle.trials) == 8 or tuner == "hyperband"
    # One was run twice: that of the worker that is gone.
    assert sorted(ran.values())[-2:] == [1, 2]
    assert "has lost its worker" in (tmp_path / "output.txt").read_text()


def test_a_chief_that_comes_back_goes_on(address, tmp_path):
    oracle = opened(tmp_path, 4)
    first, second = (oracle.create_trial(name) for name in ("worker1", "worker2"))
    oracle.update_trial(first.trial_id, {"top1_error": 0.5})
    first.status = "COMPLETED"
    oracle.end_trial(first)
    # It is gone, and begun again, while its second worker is still at work.
    oracle = opened(tmp_path, 4, has_workers=True)
    assert oracle.trials.keys() == {first.trial_id, second.trial_id}
    assert oracle.create_trial("worker2").trial_id == second.trial_id
    others = {oracle.create_trial(name).trial_id for name in ("worker1", "worker3")}
    assert not others & {first.trial_id, second.trial_id}
    # A search of one process goes on with all that was begun.
    alone = opened(tmp_path, 4)
    rest = {alone.create_trial(f"again{n}").trial_id for n in range(3)}
    assert rest == others | {second.trial_id}


def test_a_worker_without_chief_is_told_within_seconds(address, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 0.5)
    began = time.monotonic()
    with pytest.raises(UserError, match=f"the chief at {address} does not answer"):
        Client(Place("worker1", address), Console(quiet=True))
    assert time.monotonic() - began < 5


def test_a_worker_whose_chief_is_lost_is_told(address, monkeypatch):
    monkeypatch.setattr(workers, "_PATIENCE", 1.0)
    with chief(Place("chief", address), Console(quiet=True)):
        client = Client(Place("worker1", address), Console(quiet=True))
        assert client.create_trial("worker1").status == "IDLE"
    with pytest.raises(UserError, match="does not answer any more"):
        client.create_trial("worker1")


def test_two_chiefs_do_not_share_an_address(address):
    console = Console(quiet=True)
    with (
        chief(Place("chief", address), console),
        pytest.raises(UserError, match="another process has taken"),
        chief(Place("chief", address), console),
    ):
        pass


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ORACLE_IP": "127.0.0.1"}, "TUNER_ID and KERASTUNER_ORACLE_PORT is not set"),
        (
            {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "x", "TUNER_ID": "chief"},
            "KERASTUNER_ORACLE_PORT=x is no port",
        ),
    ],
)
def test_refuses_half_an_address(monkeypatch, variables, sentence):
    for name in ("ORACLE_IP", "ORACLE_PORT", "TUNER_ID"):
        monkeypatch.delenv(f"KERASTUNER_{name}", raising=False)
    assert Place.from_environment() == Place()
    for name, value in variables.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    with pytest.raises(UserError, match=sentence):
        Place.from_environment()


@pytest.mark.soak
def test_the_commands_search_together_and_one_is_killed(address, tmp_path):
    def start(name):
        log = (tmp_path / f"{name}.txt").open("w")
        command = [sys.executable, "-m", "pipelines.tune", "--data=drawings:300"]
        command += [
            "--trials=5",
            "--epochs=3",
            "--set=image_size=16",
            "--model=resnet20",
        ]
        command += ["--set=batch_size=32", "--space=conv2_blocks=1..9 shortcut=A,B"]
        command += [f"--output_dir={tmp_path / 'search'}", "--checkpoint_every=2 steps"]
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "KERASTUNER_TUNER_ID": name, "COLUMNS": "200"},
        )

    processes = {name: start(name) for name in ("chief", "worker1", "worker2")}
    try:
        deadline = time.monotonic() + 300
        while "epoch" not in (tmp_path / "worker1.txt").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        processes["worker1"].send_signal(signal.SIGKILL)
        for name in ("chief", "worker2"):
            status = processes[name].wait(timeout=deadline - time.monotonic())
            assert status == 0, (tmp_path / f"{name}.txt").read_text()
    finally:
        for process in processes.values():
            process.kill()
    told = (tmp_path / "chief.txt").read_text()
    assert "has lost its worker" in told and "5 of 5 trials done" in told
    assert (tmp_path / "search/best.json").exists()
    # What the killed one had begun was gone on with, not begun again.
    assert "going on" in (tmp_path / "worker2.txt").read_text()
