"""A version is live only after a server of its own has answered with it, and right."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from pipelines.components.infra_validator import TOLERANCE, infra_validator
from pipelines.components.pushed import push
from pipelines.components.pusher import pusher, saved_model
from pipelines.errors import UserError
from pipelines.serving.versions import INFRA_VALIDATION, MADE_FROM

# Takes TF Serving's flags, and loads no TensorFlow.
WRONG_ANSWERS = f"""#!{sys.executable}
import http.server, json, sys
flags = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
path = "/v1/models/" + flags["model_name"]

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, values):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(values).encode())

    def do_GET(self):
        assert self.path == path
        self.answer({{"model_version_status": [{{"state": "AVAILABLE"}}]}})

    def do_POST(self):
        assert self.path == path + ":predict"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        row = {{"classes": ["star"], "probabilities": [NUMBER]}}
        self.answer({{"predictions": [row] * len(body["instances"])}})

port = int(flags["rest_api_port"])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def version(tiny_model, tiny_run):
    return pusher(tiny_model, tiny_run.serving_dir)


@pytest.fixture
def model_server(tmp_path, monkeypatch):
    """Puts a program of TF Serving's name on the path."""

    def put(text):
        program = tmp_path / "bin" / "tensorflow_model_server"
        program.parent.mkdir()
        program.write_text(text)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return put


def test_a_version_that_answers_right_is_live(
    version, tiny_run, tmp_path, model_server
):
    """Asked as TF Serving, by its name and with its flags, over REST and gRPC."""
    model_server(f'#!/bin/sh\nexec {sys.executable} -m pipelines.serve "$@"\n')
    to = tmp_path / "served"
    push(version, to, check=lambda staged: infra_validator(staged, tiny_run))
    record = json.loads((to / "1" / INFRA_VALIDATION).read_text())
    assert record["verdict"] == "INFRA_BLESSED"
    assert record["server"] == "tensorflow_model_server"
    assert record["images"] == 8 and record["tolerance"] == TOLERANCE
    assert set(record["largest_difference"]) == {"REST", "gRPC"}
    assert max(record["largest_difference"].values()) < 1e-5
    assert 0 < record["seconds_until_loaded"] <= record["seconds"] < 120
    assert os.listdir(to) == ["1"]
    # The record is of this version; a copy elsewhere has none.
    assert not (push(to / "1", tmp_path / "other")[0] / INFRA_VALIDATION).exists()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (
            "#!/bin/sh\necho reading; echo 'no such variable' >&2; exit 3\n",
            r"_server ended with status 3 \(no such variable\); nothing is pushed",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "did not load it within 2 s; nothing is pushed"),
        (
            WRONG_ANSWERS.replace("NUMBER", "2"),
            r"over REST the version's probabilities differ by up to [12]\.?\d* from",
        ),
        (
            WRONG_ANSWERS.replace("NUMBER", "json.loads('NaN')"),
            "over REST the version's probabilities differ by up to nan from",
        ),
    ],
    ids=["ended", "silent", "wrong", "no number"],
)
def test_a_version_that_does_not_is_not(
    program, sentence, version, tiny_run, tmp_path, model_server
):
    model_server(program)

    def check(staged):
        infra_validator(staged, tiny_run, seconds=2)

    with pytest.raises(UserError, match=sentence):
        push(version, tmp_path / "served", check=check)
    assert not (tmp_path / "served").exists()


def test_of_another_model(version, tiny_run, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(UserError, match="is not the model that the version was made"):
        infra_validator(tmp_path / "1", tiny_run)


def command(source, to):
    return [
        *(sys.executable, "-m", "pipelines.push"),
        f"--model={source}",
        f"--to={to}",
    ]


@pytest.mark.soak
def test_the_command(version, tiny_run, tiny_model, tmp_path):
    """By the server that is there, which is ours."""
    to = tmp_path / "served"
    result = subprocess.run(
        command(tiny_run.directory, to), capture_output=True, text=True, check=True
    )
    assert result.stdout == f"version 1 of {to} is live: {version}\n"
    record = json.loads((to / "1" / INFRA_VALIDATION).read_text())
    assert record["server"] == "python -m pipelines.serve"

    # Another network, of which it is said that it was made from the run's.
    other = dataclasses.replace(tiny_model, temperature=0.5)
    wrong = saved_model(other, tiny_run.exports_dir / "wrong")
    path = wrong / MADE_FROM
    said = json.loads(path.read_text())
    del said["temperature"]
    path.write_text(json.dumps(said))
    result = subprocess.run(command(wrong, to), capture_output=True, text=True)
    assert result.returncode == 2
    assert "over REST the version's probabilities" in result.stderr.splitlines()[-1]
    assert os.listdir(to) == ["1"]


@pytest.mark.soak
def test_training_has_it_done_where_it_is_asked_to(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.train_imagenet", "--infra_validation"),
            *("--data=drawings:120", "--set=image_size=16", "--set=batch_size=16"),
            *("--model=resnet20", "--set=model.blocks_per_stage=1,1,1", "--epochs=1"),
            f"--output_dir={tmp_path}",
        ],
        check=True,
    )
    record = tmp_path / "serving" / "resnet20" / "1" / INFRA_VALIDATION
    assert json.loads(record.read_text())["verdict"] == "INFRA_BLESSED"


@pytest.mark.soak
def test_a_killed_push_leaves_no_server(version, tmp_path):
    to = tmp_path / "served"

    def servers():
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"--model_base_path={to}".encode() in path.read_bytes():
                    found.append(path.parent.name)
        return found

    process = subprocess.Popen(command(version, to), stderr=subprocess.DEVNULL)
    while not servers():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while servers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert servers() == []
    assert list(to.glob("[0-9]*")) == []
