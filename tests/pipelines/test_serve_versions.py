"""Versions come, are broken, are mended and go while requests are answered."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
from serving_process import save_half_plus_two, served, wait_for

from pipelines.errors import UserError
from pipelines.serving.server.configuration import ModelConfig


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Models that give their number for 0."""
    path = tmp_path_factory.mktemp("exports")
    for number in range(1, 4):
        save_half_plus_two(path / str(number), plus=number)
    return path


def arrive(exports, number, base_path):
    """Makes a version appear whole."""
    shutil.copytree(exports / str(number), base_path.with_name("arriving"))
    os.rename(base_path.with_name("arriving"), base_path / str(number))


@pytest.fixture
def base_path(exports, tmp_path):
    """The folder of a model with one version."""
    path = tmp_path / "half"
    path.mkdir()
    arrive(exports, 1, path)
    return path


def states(server):
    """The states of the versions, and what is wrong with them."""
    told = requests.get(f"{server.rest}/v1/models/half").json()
    return {
        int(each["version"]): (each["state"], each["status"]["error_message"])
        for each in told["model_version_status"]
    }


def answer(server, which=""):
    response = requests.post(
        f"{server.rest}/v1/models/half{which}:predict", json={"instances": [0.0]}
    )
    return response.json().get("predictions", [response.status_code])[0]


class Clients(threading.Thread):
    """Asks without a pause, and notes what comes back."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.answers = []
        self.goes_on = True
        self.was_cut_off = False

    def run(self):
        with requests.Session() as session:
            while self.goes_on:
                try:
                    response = session.post(self.url, json={"instances": [0.0]})
                except requests.ConnectionError:
                    self.goes_on = False
                    self.was_cut_off = True
                else:
                    self.answers.append((response.status_code, response.text))

    def stop(self):
        self.goes_on = False
        self.join()


def test_no_request_is_lost_when_versions_change(exports, base_path):
    with served(ModelConfig("half", base_path)) as server:
        clients = [Clients(f"{server.rest}/v1/models/half:predict") for _ in range(3)]
        for client in clients:
            client.start()
        for number in (2, 3):
            arrive(exports, number, base_path)
            wait_for(lambda number=number: answer(server) == number)
        wait_for(lambda: states(server)[1][0] == states(server)[2][0] == "END")
        for client in clients:
            client.stop()
        assert not any(client.was_cut_off for client in clients)
        answers = [each for client in clients for each in client.answers]
        texts = [f'{{"predictions": [{number}.0]}}' for number in (1, 2, 3)]
        assert {status for status, _ in answers} == {200}
        assert {text for _, text in answers} == set(texts)
        for client in clients:  # None goes back.
            told = [text for _, text in client.answers]
            assert told == sorted(told)
        page = requests.get(f"{server.rest}/monitoring/prometheus/metrics").text
        assert 'serving_version_available{model="half",version="3"} 1.0' in page
        assert 'version="2"' not in page
        # Back to the one before: the newest is removed.
        shutil.rmtree(base_path / "3")
        wait_for(lambda: answer(server) == 2)


def test_a_half_written_version_is_told_once_and_served_when_whole(
    exports, base_path, capfd
):
    with served(ModelConfig("half", base_path)) as server:
        version = base_path / "2"
        (version / "variables").mkdir(parents=True)
        wait_for(lambda: 2 in states(server))
        shutil.copy(exports / "2" / "saved_model.pb", version)
        time.sleep(0.3)
        assert answer(server) == 1
        state, problem = states(server)[2]
        assert state in ("END", "LOADING")
        for path in (exports / "2").rglob("*.*"):
            if path.is_file() and "data" not in path.name:
                shutil.copy(path, version / path.relative_to(exports / "2"))
        data = next((exports / "2" / "variables").glob("*.data*"))
        (version / "variables" / data.name).write_bytes(data.read_bytes()[:-1])
        time.sleep(0.3)
        assert answer(server) == 1
        assert answer(server, "/versions/2") == 404
        shutil.copy(data, version / "variables")
        wait_for(lambda: answer(server) == 2)
    told = [line for line in capfd.readouterr().err.splitlines() if "version 2" in line]
    assert len(told) == 2
    assert told[0].startswith("half version 2 is not served: ")
    assert told[1] == "half version 2 is served"


def test_a_version_that_is_not_what_was_written_is_not_served(base_path, exports):
    arrive(exports, 2, base_path)
    extra = base_path / "2" / "assets.extra"
    extra.mkdir()
    (extra / "made_from.json").write_text('{"files": {"saved_model.pb": "0123"}}')
    with served(ModelConfig("half", base_path)) as server:
        assert answer(server) == 1
        assert "has the SHA-256" in states(server)[2][1]


def test_versions_that_are_asked_for(exports, base_path):
    for number in (2, 3):
        arrive(exports, number, base_path)
    labels = (("canary", 3), ("stable", 1))
    config = ModelConfig("half", base_path, specific=frozenset([1, 3]), labels=labels)
    with served(config) as server:
        assert [answer(server, f"/versions/{number}") for number in (1, 2, 3)] == [
            1,
            404,
            3,
        ]
        assert answer(server, "/labels/stable") == 1
        assert answer(server, "/labels/canary") == answer(server) == 3
    with served(ModelConfig("half", base_path, latest=2)) as server:
        assert sorted(states(server)) == [2, 3]


def test_what_cannot_be_served_is_one_sentence(tmp_path, base_path):
    missing = ModelConfig("half", tmp_path / "nothing")
    with pytest.raises(UserError, match="there is no folder .*nothing"):
        served(missing).__enter__()
    (tmp_path / "run" / "serving" / "resnet20").mkdir(parents=True)
    run = ModelConfig("half", tmp_path / "run")
    with pytest.raises(UserError, match="no version .* mean .*serving/resnet20"):
        served(run).__enter__()
    (base_path / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match="model half cannot be served: version 1: "):
        served(ModelConfig("half", base_path)).__enter__()
    other = ModelConfig("half", base_path, engine="openvino")
    with pytest.raises(UserError, match=r"1 holds no model\.xml"):
        served(other).__enter__()


def test_the_command(exports, base_path):
    """Swaps a version under requests, and answers what has begun after SIGTERM."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.serve", "--rest_api_port=0", "--port=0"),
            *(f"--model_base_path={base_path}", "--enable_batching"),
            "--file_system_poll_wait_seconds=0.1",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("serving half version 1: REST http://127.0.0.1:")
        address = line.split("REST ")[1].split(",")[0]
        client = Clients(f"{address}/v1/models/half:predict")
        client.start()
        arrive(exports, 2, base_path)
        wait_for(lambda: client.answers and "2.0" in client.answers[-1][1], 30)
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as begun:
            body = b'{"instances": [0.0]}'
            head = "POST /v1/models/half:predict HTTP/1.1\r\nHost: localhost\r\n"
            begun.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            client.join(20)
            begun.sendall(body)
            assert begun.recv(4096).startswith(b"HTTP/1.1 200")
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert {status for status, _ in client.answers} == {200}
