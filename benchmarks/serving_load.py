"""What `python -m pipelines.serve` adds to the network that it serves.

    python -m benchmarks.serving_load
    python -m benchmarks.serving_load --network=resnet20 --size=32 --rounds=3

Exports a network with random weights and asks for one JPEG at a time: directly in this
process, then over gRPC and REST, in turn. Then the images a second of the network alone
in batches of 32, beside those of the server with 32 clients and batching. Then, at
shares of that pace, the times of requests that arrive at random, whoever else waits;
`--output` gets them as CSV, and as a plot beside it. The clients take their share of
the same processor. Measure on a machine that does nothing else.
"""

import argparse
import asyncio
import base64
import contextlib
import csv
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

CLIENTS = 32
# Encoded images in, their answers out.
Run = Callable[[np.ndarray], object]
SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


def export(folder: Path, name: str, size: int) -> Path:
    """Exports a network with random weights and returns its version."""
    import keras_resnet
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.components.pusher import pusher
    from pipelines.training.model import TrainedModel

    network = keras_resnet.NETWORKS[name]
    classes = tuple(f"class {number}" for number in range(network.classes))
    preprocessing = Preprocessing(resize=size * 256 // 224, crop=size)
    model = TrainedModel(folder / "model", network, preprocessing, classes)
    model.directory.mkdir()
    model.save(keras_resnet.build(network, input_shape=(size, size, 3)))
    return pusher(model, folder / "serving")


def photo(size: int) -> bytes:
    """Returns a JPEG of about twice the network's sides."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((9 * size // 4, 7 * size // 4)).save(file, "jpeg")
    return file.getvalue()


@contextlib.contextmanager
def server(version: Path, *flags: str) -> Iterator[tuple[str, str]]:
    """Serves in the block, which gets the addresses of REST and gRPC."""
    command = [sys.executable, "-m", "pipelines.serve", "--rest_api_port=0", "--port=0"]
    command += [f"--model_base_path={version.parent}", "--model_name=m", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield line.split("REST ")[1].split(",")[0], line.split("gRPC ")[1].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def grpc_request(image: bytes):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    return request


def overhead(version: Path, run: Run, image: bytes, rounds: int) -> None:
    """Prints what each protocol adds to a direct call."""
    import http.client

    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    encoded = np.array([image], object)
    request = grpc_request(image)
    row = {"b64": base64.b64encode(image).decode()}
    body = json.dumps({"instances": [row]})
    with server(version) as (rest, address), grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        connection = http.client.HTTPConnection(rest.removeprefix("http://"))

        def by_rest() -> None:
            connection.request("POST", "/v1/models/m:predict", body)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()

        ways: dict[str, Callable[[], object]] = {
            "directly": lambda: run(encoded),
            "gRPC": lambda: stub.Predict(request),
            "REST": by_rest,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(5 + rounds):
            for name, ask in ways.items():
                start = time.perf_counter()
                ask()
                if number >= 5:  # The first ones warm up.
                    times[name].append(time.perf_counter() - start)
    medians = {name: 1000 * statistics.median(each) for name, each in times.items()}
    for name, median in medians.items():
        print(f"  {name:9} {median:8.2f} ms   {median - medians['directly']:+.2f} ms")


def direct_pace(
    run: Callable[[np.ndarray], object], image: bytes, rounds: int
) -> float:
    """Returns the images a second of the network alone, in batches of 32."""
    batch = np.array([image] * CLIENTS, object)
    run(batch)
    times = []
    for _ in range(max(3, rounds // CLIENTS)):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return CLIENTS / statistics.median(times)


async def closed_loop(address: str, image: bytes, seconds: float) -> float:
    """Returns the answers a second that 32 clients get who wait for each."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    request = grpc_request(image)
    answers = 0
    async with grpc.aio.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await asyncio.gather(*(stub.Predict(request) for _ in range(2 * CLIENTS)))
        start = time.perf_counter()

        async def client() -> None:
            nonlocal answers
            while time.perf_counter() - start < seconds:
                await stub.Predict(request)
                answers += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answers / (time.perf_counter() - start)


async def open_loop(
    address: str, image: bytes, pace: float, seconds: float
) -> tuple[list[float], int]:
    """Sends requests at random times; returns their seconds, and how many were refused.

    Args:
        address: Of gRPC.
        image: What is sent.
        pace: Requests a second, on average.
        seconds: For how long they are sent.
    """
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    request = grpc_request(image)
    gaps = np.random.default_rng(0).exponential(1 / pace, max(20, int(pace * seconds)))
    times: list[float] = []
    refused = 0
    async with grpc.aio.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await stub.Predict(request)
        start = time.perf_counter()

        async def ask(due: float) -> None:
            nonlocal refused
            await asyncio.sleep(start + due - time.perf_counter())
            try:
                await stub.Predict(request)
            except grpc.aio.AioRpcError:
                refused += 1
            else:  # From when it was due: who waits to send waits, too.
                times.append(time.perf_counter() - start - due)

        await asyncio.gather(*(ask(due) for due in np.cumsum(gaps)))
    return times, refused


def curve(address: str, image: bytes, pace: float, seconds: float, output: str) -> None:
    """Prints, and writes and plots, the times at shares of a pace."""
    rows = []
    for share in SHARES:
        times, refused = asyncio.run(open_loop(address, image, share * pace, seconds))
        quantiles = 1000 * np.quantile(times, [0.5, 0.95, 0.99])
        rows.append([share * pace, *quantiles, refused])
        told = ", ".join(f"{each:.1f}" for each in quantiles)
        print(f"  {share:4.0%} {share * pace:7.1f}/s   {told} ms   refused {refused}")
    if not output:
        return
    with open(output, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["requests_per_second", "p50_ms", "p95_ms", "p99_ms", "refused"]
        )
        writer.writerows(rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    offered, *columns, _ = zip(*rows, strict=True)
    for name, column in zip(("p50", "p95", "p99"), columns, strict=True):
        axes.plot(offered, column, marker="o", label=name)
    axes.set(xlabel="requests a second", ylabel="ms", yscale="log")
    axes.legend()
    figure.savefig(Path(output).with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--size", type=int, default=224, help="of the network's images")
    parser.add_argument("--rounds", type=int, default=200, help="answers of each way")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--output", default="", help="a .csv file for the times")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        version = export(Path(folder), arguments.network, arguments.size)
        from pipelines.serving.server import engines

        loaded = engines.load(version)

        def run(images: np.ndarray) -> object:
            return loaded.run("serving_default", {"image_bytes": images})

        image = photo(arguments.size)
        print(f"one image of {len(image)} bytes, load {os.getloadavg()[0]:.1f}")
        overhead(version, run, image, arguments.rounds)
        alone = direct_pace(run, image, arguments.rounds)
        parameters = Path(folder, "batching.txt")
        parameters.write_text(
            "max_batch_size { value: 32 } batch_timeout_micros { value: 2000 }\n"
        )
        flags = "--enable_batching", f"--batching_parameters_file={parameters}"
        with server(version, *flags) as (_, address):
            served = asyncio.run(closed_loop(address, image, arguments.seconds))
            print(f"images a second: alone {alone:.1f}, with 32 clients {served:.1f}")
            print(f"  {served / alone:.0%}; p50, p95, p99 by load:")
            curve(address, image, served, arguments.seconds, arguments.output)


if __name__ == "__main__":
    main()
