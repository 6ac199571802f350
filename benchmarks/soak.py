"""Ten minutes at saturation: images of random size, and versions that are swapped.

    python -m benchmarks.soak
    python -m benchmarks.soak --minutes=1 --fuzzed=1000

Exports a small network as two versions in turn, under new numbers, while clients ask
`python -m pipelines.serve` over REST and gRPC without a pause. Half of what they send
are pictures, half mutated images (`tests/pipelines/mutations.py`), one after the other.
Each request must be answered with what the network says in a process of its own; prints
what was lost or wrong, and the server's memory over time. Exits with 1 if anything was,
or if not all images were sent.
"""

import argparse
import base64
import collections
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tests.pipelines.mutations import mutants

CLIENTS = 16
IMAGES = 64


def export(folder: Path, seed: int) -> Path:
    """Exports ResNet-8 with random weights and returns its version."""
    import dataclasses

    import keras

    import keras_resnet
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.components.pusher import pusher
    from pipelines.training.model import TrainedModel

    network = dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1)
    )
    classes = tuple(f"class {number}" for number in range(10))
    model = TrainedModel(
        folder / "model", network, Preprocessing(resize=32, crop=32), classes
    )
    model.directory.mkdir(parents=True)
    keras.utils.set_random_seed(seed)
    model.save(keras_resnet.build(network, input_shape=(32, 32, 3)))
    return pusher(model, folder / "serving")


def pictures() -> list[bytes]:
    """Returns JPEGs of random sizes, and one in eight that is none."""
    from PIL import Image

    rng = np.random.default_rng(0)
    found = []
    for number in range(IMAGES):
        height, width = rng.integers(8, 700, 2)
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((width, height)).save(file, "jpeg")
        whole = file.getvalue()
        found.append(whole if number % 8 else whole[: len(whole) // 2])
    return found


def expected(version: Path, images: list[bytes]) -> list[list]:
    """Returns for each image whether it is one, and its best class."""
    import tensorflow as tf

    answer = tf.saved_model.load(str(version)).signatures["serving_default"]
    rows = [answer(image_bytes=tf.constant([image])) for image in images]
    return [
        [bool(row["valid"][0]), row["classes"][0, 0].numpy().decode()] for row in rows
    ]


class Counts(collections.Counter):
    """What came back, by kind, from all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def note(self, kind: str) -> None:
        with self._lock:
            self[kind] += 1


def ask_rest(address: str):
    """Returns a function from an image to what a server says of it."""
    import requests

    session = requests.Session()

    def ask(image: bytes) -> list:
        url = f"{address}/v1/models/resnet:predict"
        body = {"instances": [{"b64": base64.b64encode(image).decode()}]}
        response = session.post(url, json=body, timeout=60)
        response.raise_for_status()
        (row,) = response.json()["predictions"]
        return [row["valid"], row["classes"][0]]

    return ask


def ask_grpc(address: str):
    """As `ask_rest`."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(address)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(image: bytes) -> list:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "resnet"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
        outputs = stub.Predict(request, timeout=60).outputs
        first = outputs["classes"].string_val[0].decode()
        return [outputs["valid"].bool_val[0], first]

    return ask


def memory(process: int) -> float:
    """Returns the MB that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--fuzzed", type=int, default=10_000)
    arguments = parser.parse_args()
    images = pictures() + list(mutants(arguments.fuzzed, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        versions = [export(root / str(seed), seed) for seed in (1, 2)]
        truths = [expected(version, images) for version in versions]
        return soak(arguments.minutes, arguments.swaps, root, versions, images, truths)


def soak(minutes, swaps, root, versions, images, truths) -> int:
    base_path = root / "resnet"
    base_path.mkdir()

    def arrive(number: int) -> None:
        shutil.copytree(versions[number % 2], root / "arriving")
        os.rename(root / "arriving", base_path / str(number))

    arrive(1)
    server = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "pipelines.serve",
                f"--model_base_path={base_path}",
            ),
            *("--rest_api_port=0", "--port=0", "--enable_batching"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        rest = line.split("REST ")[1].split(",")[0]
        grpc = line.split("gRPC ")[1].strip()
        counts = Counts()
        fuzzed = itertools.cycle(range(IMAGES, len(images)) or range(IMAGES))
        answered: set[int] = set()
        end = time.monotonic() + 60 * minutes

        def client(number: int) -> None:
            ask = ask_grpc(grpc) if number % 2 else ask_rest(rest)
            pictured = itertools.cycle(range(IMAGES))
            turns = itertools.cycle([pictured, fuzzed])
            while time.monotonic() < end:
                which = next(next(turns))
                try:
                    told = ask(images[which])
                except Exception as error:
                    counts.note(f"lost: {type(error).__name__} {str(error)[:200]}")
                else:
                    right = told in [truth[which] for truth in truths]
                    counts.note("right" if right else "wrong")
                    answered.add(which)

        threads = [threading.Thread(target=client, args=[n]) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        held = []
        for swap in range(swaps):
            time.sleep(60 * minutes / (swaps + 1))
            arrive(swap + 2)
            if swap > 2:
                shutil.rmtree(base_path / str(swap - 1))
            held.append(memory(server.pid))
            print(f"swap {swap + 1}: {held[-1]:.0f} MB, {sum(counts.values())} answers")
            sys.stdout.flush()
        for thread in threads:
            thread.join()
        held.append(memory(server.pid))
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    finally:
        server.kill()
    for kind, count in sorted(counts.items()):
        print(f"{count:8} {kind}")
    print(f"{len(answered)} of {len(images)} images answered")
    half = len(held) // 2
    first, last = np.mean(held[1:half]), np.mean(held[half:])
    print(f"memory: {first:.0f} MB in the first half, {last:.0f} MB in the second")
    print(
        f"{sum(counts.values()) / (60 * minutes):.0f} answers a second; exit {status}"
    )
    is_whole = set(counts) == {"right"} and len(answered) == len(images)
    return int(not is_whole or last > 1.1 * first or status != 0)


if __name__ == "__main__":
    sys.exit(main())
