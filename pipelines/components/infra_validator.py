"""InfraValidator: a version in; what a server answers with it is compared.

What is compared is what comes over the network from a process of its own, so that a
version that loads here alone, or answers otherwise there, is never live.
"""

import base64
import contextlib
import dataclasses
import datetime
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipelines import files
from pipelines.components.exporter import COMPARISON
from pipelines.data.examples import Examples
from pipelines.data.input_pipeline import of_records
from pipelines.data.lookup import find_record
from pipelines.data.preprocessing import prepare
from pipelines.data.quality.samples import read_features
from pipelines.data.quality.summary import IMAGE
from pipelines.data.reading import Blocks
from pipelines.errors import UserError
from pipelines.runs.folder import Run
from pipelines.serving.signatures import BYTES_SIGNATURE
from pipelines.serving.versions import INFRA_VALIDATION, read_made_from
from pipelines.training.model import TrainedModel
from pipelines.training.network import takes_pixels

TOLERANCE = 1e-3
"""Greatest difference of a probability from the network's."""

_IMAGES = 8
_NAME = "candidate"
_OUR_SERVER = "pipelines.serve"
_TF_SERVING = "tensorflow_model_server"
_PAUSE_SECONDS = 0.1
_ROOT = Path(__file__).resolve().parents[2]

# The shell kills the server when our end of its input closes, however we end.
_KEEPER = """
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
(read -r _ <&3; kill -9 $server) & watcher=$!
wait $server; status=$?
kill $watcher
exit $status
"""


@dataclasses.dataclass(frozen=True)
class _Questions:
    """Images of the validation set, and what the network makes of them.

    Args:
        encoded: As they are in the records.
        classes: The names in the order of the network's output.
        expected: Its probabilities, `(images, classes)`.
        tolerance: Greatest difference from those.
    """

    encoded: list[bytes]
    classes: list[str]
    expected: np.ndarray
    tolerance: float


def infra_validator(version: Path, run: Run, *, seconds: float = 120) -> None:
    """Has a version served by a fresh process, and compares its answers.

    The process is `tensorflow_model_server` if that is on the path and the version is a
    SavedModel, else `python -m pipelines.serve`. It is asked about images of the
    validation set over REST and gRPC. The verdict is written to `INFRA_VALIDATION` in
    the version, if it is good.

    Args:
        version: Its folder, which has a number and no other version beside it.
        run: That of the model.
        seconds: Within which all must be answered.

    Raises:
        UserError: If it is not, or otherwise than the network that was evaluated would:
            its probabilities may differ by `TOLERANCE`, and by as much more as they
            did when an export in smaller numbers was compared.

    Example:

    >>> infra_validator(Path("staging/3"), Run(Path("runs/demo")))
    """
    questions = _ask_network(version, run)
    begin = time.monotonic()
    with _served(version, seconds) as server:
        server.wait_until_loaded()
        loaded = time.monotonic() - begin
        found = {
            protocol: _compare(protocol, ask(server, questions.encoded), questions)
            for protocol, ask in (("REST", _by_rest), ("gRPC", _by_grpc))
        }
    record = {
        "verdict": "INFRA_BLESSED",
        "validated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "server": server.name,
        "images": len(questions.encoded),
        "largest_difference": found,
        "tolerance": questions.tolerance,
        "seconds_until_loaded": round(loaded, 3),
        "seconds": round(time.monotonic() - begin, 3),
    }
    files.write_text(version / INFRA_VALIDATION, json.dumps(record, indent=2) + "\n")


def _ask_network(version: Path, run: Run) -> _Questions:
    said = read_made_from(version)
    model = TrainedModel.load(run.model_dir)
    if model.made_from["model"] != said.get("model"):
        raise UserError(
            f"{run.model_dir} is not the model that the version was made from, with "
            "which it must be compared; export that one"
        )
    model = dataclasses.replace(model, temperature=said.get("temperature", 1.0))
    encoded, images = _images(run.examples(run.read_config()), model)
    network = takes_pixels(model.load_keras(), model.preprocessing)
    tolerance = TOLERANCE
    with contextlib.suppress(FileNotFoundError):
        compared = json.loads((version / COMPARISON).read_text(encoding="utf-8"))
        tolerance += compared["largest_difference"]
    return _Questions(encoded, list(model.classes), network(images).numpy(), tolerance)


def _images(examples: Examples, model: TrainedModel) -> tuple[list[bytes], np.ndarray]:
    """Returns the first images that are not damaged, encoded and as they are seen."""
    blocks = Blocks.of(examples, "validation")
    preprocessing = of_records(model.preprocessing, examples)

    def whole() -> Iterator[tuple[bytes, np.ndarray]]:
        for index in range(blocks.records):
            with contextlib.suppress(UserError, tf.errors.OpError):
                features = read_features(blocks.files, find_record(blocks, index))
                encoded = features[IMAGE].bytes_list.value[0]
                yield encoded, prepare(tf.constant(encoded), preprocessing).numpy()

    found = list(itertools.islice(whole(), _IMAGES))
    if not found:
        raise UserError(
            f"{examples.directory} has no validation images to ask a server about; "
            "push with --infra_validation=false"
        )
    return [encoded for encoded, _ in found], np.stack([image for _, image in found])


@dataclasses.dataclass(frozen=True)
class _Server:
    """A process that serves one version.

    Args:
        name: What it is.
        process: The process.
        log: What it tells.
        rest_port: Of its REST.
        grpc_port: Of its gRPC.
        seconds: In which it must have answered.
        deadline: When they are over, by `time.monotonic`.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    rest_port: int
    grpc_port: int
    seconds: float
    deadline: float

    @property
    def seconds_left(self) -> float:
        """How long it may still take, at least a moment."""
        return max(self.deadline - time.monotonic(), _PAUSE_SECONDS)

    def refused(self, why: str) -> UserError:
        """Returns the sentence about a version that this server does not serve."""
        return UserError(f"{self.name} {why}; nothing is pushed")

    def get(self, path: str, body: bytes | None = None) -> Any:
        """Returns what REST answers, as JSON has it.

        Raises:
            OSError: If it does not.
        """
        url = f"http://127.0.0.1:{self.rest_port}/v1/models/{_NAME}{path}"
        # No proxy knows this machine's own servers.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, body, timeout=self.seconds_left) as answer:
            return json.load(answer)

    def wait_until_loaded(self) -> None:
        """Returns when the version is available.

        Raises:
            UserError: If it is not in time, or the process ends.
        """
        while True:
            status = self.process.poll()
            if status is not None:
                raise self.refused(f"ended with status {status} ({self._last_line()})")
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
                if self.get("")["model_version_status"][0]["state"] == "AVAILABLE":
                    return
            if time.monotonic() > self.deadline:
                raise self.refused(f"did not load it within {self.seconds:g} s")
            time.sleep(_PAUSE_SECONDS)

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next(filter(str.strip, reversed(lines)), "it told nothing")


@contextlib.contextmanager
def _served(version: Path, seconds: float) -> Iterator[_Server]:
    """Serves a version by a process of its own while the block runs."""
    name, command = f"python -m {_OUR_SERVER}", [sys.executable, "-m", _OUR_SERVER]
    program = shutil.which(_TF_SERVING)
    if program and (version / "saved_model.pb").is_file():
        name, command = _TF_SERVING, [program]
    rest_port, grpc_port = _free_ports(2)
    command += [
        f"--model_name={_NAME}",
        f"--model_base_path={version.parent.resolve()}",
        f"--rest_api_port={rest_port}",
        f"--port={grpc_port}",
    ]
    with tempfile.TemporaryDirectory(prefix="infra-validation-") as scratch:
        log = Path(scratch, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", _KEEPER, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,  # Where our server is found, whatever lies elsewhere.
                start_new_session=True,
            )
        with process:  # Closes its input and waits for its end.
            deadline = time.monotonic() + seconds
            yield _Server(name, process, log, rest_port, grpc_port, seconds, deadline)


def _free_ports(count: int) -> list[int]:
    """Returns ports that are free now; TF Serving takes 0 for none."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


_Answer = list[tuple[list[str], list[float]]]
"""For each image the best classes and their probabilities."""


def _by_rest(server: _Server, encoded: list[bytes]) -> _Answer:
    images = [{"b64": base64.b64encode(image).decode()} for image in encoded]
    body = {"signature_name": BYTES_SIGNATURE, "instances": images}
    try:
        rows = server.get(":predict", json.dumps(body).encode())["predictions"]
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace").strip()
        raise server.refused(f"answered REST with {error.code} ({told})") from error
    except OSError as error:
        raise server.refused(f"did not answer REST ({error})") from error
    return [(row["classes"], row["probabilities"]) for row in rows]


def _by_grpc(server: _Server, encoded: list[bytes]) -> _Answer:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = _NAME
    request.model_spec.signature_name = BYTES_SIGNATURE
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(encoded))
    address = f"127.0.0.1:{server.grpc_port}"
    options = [("grpc.enable_http_proxy", 0)]
    try:
        with grpc.insecure_channel(address, options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(request, timeout=server.seconds_left)
    except grpc.RpcError as error:
        told = f"{error.code().name}: {error.details()}"
        raise server.refused(f"did not answer gRPC ({told})") from error
    classes, probabilities = (
        tf.make_ndarray(answer.outputs[name]) for name in ("classes", "probabilities")
    )
    names = [[name.decode() for name in row] for row in classes]
    return list(zip(names, probabilities.tolist(), strict=True))


def _compare(protocol: str, answer: _Answer, questions: _Questions) -> float:
    """Returns the largest difference from what the network answers.

    Each class must have its probability, and the probabilities be the greatest ones.
    """
    differences = []
    for (names, probabilities), expected in zip(
        answer, questions.expected, strict=True
    ):
        known = dict(zip(questions.classes, expected, strict=True))
        own = np.array([known.get(name, np.inf) for name in names])
        best = np.sort(expected)[::-1][: len(names)]
        differences.append(np.stack([own, best]) - probabilities)
    largest = float(np.max(np.abs(differences)))
    if not largest <= questions.tolerance:
        raise UserError(
            f"over {protocol} the version's probabilities differ by up to "
            f"{largest:.2g} from those of the network that was evaluated, and may by "
            f"{questions.tolerance:.2g}; nothing is pushed"
        )
    return largest
