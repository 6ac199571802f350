"""How fast a training step on the JAX backend is beside timm and plain Keras layers.

    python -m benchmarks.jax_step --network=resnet50_v1_5 --batch=256
    python -m benchmarks.jax_step --network=resnet20 --batch=512
    python -m benchmarks.jax_step --size=64 --batch=8 --turn=1       # a CPU's size

A step takes uint8 images that are on the device already, normalises them there, and is
forward, backward and SGD with momentum in bfloat16 with float32 weights. Ours is the
step that `keras_resnet.arrays.fit_arrays` has Keras compile, weight decay,
schedule and accuracies included. timm's network runs under torch.compile with
channels_last memory and autocast; for ResNet-20, which timm lacks, transformers' does.

Each contestant lives in a process of its own, all on one device. They take turns of
`--turn` steps, A B C A B C ..., and a turn ends when the last loss has been read;
images/s are the median over turns, ratios the median of those within a round. All that
a process has on the device or, on a CPU, in memory at its peak is in the table.

The limit is what the device could do at most: the step's multiply-adds at the rate of
a large matrix product, or its activations' bytes at the rate of a large copy, whichever
takes longer, both measured here. The bytes are a lower bound: each convolution's output
is written once and read once in the forward pass, read once in the backward pass, where
its gradient is written once and read once.

PyTorch's networks are timed if installed: pip install '.[benchmarks,peers]'.
"""

import argparse
import dataclasses
import importlib.util
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.train_step import plain_keras_resnet20, transformers_resnet20

WARM_UP_STEPS = 3
PASSES = 5  # Over each convolution's output, see above.
MATMUL_SIDE = {"gpu": 8192, "cpu": 1024}
COPIED_BYTES = {"gpu": 2**31, "cpu": 2**27}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Built(NamedTuple):
    """A contestant ready to run.

    Args:
        step: Starts a training step; returns its loss, which is on the device.
        peak: Returns the most bytes that the process has had on the device.
    """

    step: Callable[[], Any]
    peak: Callable[[], int]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to train the network.

    Args:
        label: What the table calls it.
        build: Takes uint8 images `(batch, size, size, 3)` and int32 labels `(batch,)`.
        requires: Packages without which it is left out.
    """

    label: str
    build: Callable[[np.ndarray, np.ndarray], Built]
    requires: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What the device and the network's step allow.

    Args:
        device: Its name.
        multiply_adds_per_second: Of a bfloat16 matrix product.
        bytes_per_second: Of a copy, read and written bytes together.
        multiply_adds: Of a step, for one image.
        activation_bytes: Of a step, for one image.
    """

    device: str
    multiply_adds_per_second: float
    bytes_per_second: float
    multiply_adds: float
    activation_bytes: float

    def images_per_second(self) -> float:
        return 1 / max(
            self.multiply_adds / self.multiply_adds_per_second,
            self.activation_bytes / self.bytes_per_second,
        )


# Ours, and plain Keras layers.


def spec(network: str) -> Any:
    import keras_resnet

    found = keras_resnet.NETWORKS[network]
    # The networks of the peers have projections.
    return dataclasses.replace(found, shortcut="B" if network == "resnet20" else
                               found.shortcut)  # fmt: skip


def ours(network: str, images: np.ndarray, labels: np.ndarray) -> Built:
    import keras_resnet
    from keras_resnet.arrays.trainee import Trainee
    from keras_resnet.training import Recipe

    recipe = Recipe(
        name="benchmark",
        source="",
        epochs=90,
        batch_size=len(images),
        learning_rate=0.01,
        schedule="cosine",
        augmentation="center",
        precision="bfloat16",
    )
    model = keras_resnet.build(spec(network), input_shape=images.shape[1:])
    trainee = Trainee(model, recipe)
    trainee.compile_for_fit(steps_per_epoch=1000)
    return _jax(trainee, images, labels)


def plain_keras(
    make_model: Callable[[int], Any], images: np.ndarray, labels: np.ndarray
) -> Built:
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    pixels = keras.Input(images.shape[1:], dtype="uint8")
    normalise = keras.layers.Normalization(
        mean=MEAN, variance=np.square(STD), dtype="float32"
    )
    model = keras.Model(pixels, make_model(images.shape[1])(normalise(pixels)))
    model.compile(
        keras.optimizers.SGD(learning_rate=0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
    )
    return _jax(model, images, labels)


def plain_keras_resnet50(size: int) -> Any:
    import keras
    from keras import layers

    def convolution(x: Any, filters: int, kernel: int, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    images = keras.Input((size, size, 3))
    x = layers.ReLU()(convolution(images, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for filters, count, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(count):
            strides = first if block == 0 else 1
            shortcut = x if block else convolution(x, 4 * filters, 1, strides)
            x = layers.ReLU()(convolution(x, filters, 1))
            x = layers.ReLU()(convolution(x, filters, 3, strides))
            x = layers.Add()([convolution(x, 4 * filters, 1), shortcut])
            x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(1000, "softmax", dtype="float32")(x))


def _jax(model: Any, images: np.ndarray, labels: np.ndarray) -> Built:
    import jax

    # What `fit` does before its first step and in each.
    data = jax.device_put((images, labels))
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    # Metrics have no variables before they have seen outputs.
    model._symbolic_build(data_batch=data)
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([variable.value for variable in group] for group in groups)
    compiled = jax.jit(model.train_step, donate_argnums=0)

    def step() -> Any:
        nonlocal state
        logs, state = compiled(state, data)
        return logs["loss"]

    def peak() -> int:
        statistics_of_device = jax.devices()[0].memory_stats()
        if statistics_of_device is None:
            return _resident()
        return statistics_of_device["peak_bytes_in_use"]

    return Built(step, peak)


# The peers.


def timm_resnet50() -> Any:
    import timm

    return timm.create_model("resnet50")


def pytorch(
    make_model: Callable[[], Any],
    compiles: bool,
    images: np.ndarray,
    labels: np.ndarray,
) -> Built:
    import torch

    # timm and transformers import torchvision, whose compiled operators no network here
    # needs, and which may have been built for another PyTorch.
    torch.library.register_fake = lambda *_, **__: lambda function: function
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    model = make_model().train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    targets = torch.tensor(labels, device=device).long()
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))

    def loss_of(pixels: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            outputs = model((pixels.float() - mean) / std)
            logits = getattr(outputs, "logits", outputs)
            return torch.nn.functional.cross_entropy(logits, targets)

    if compiles:
        loss_of = torch.compile(loss_of)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(pixels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def peak() -> int:
        return torch.cuda.max_memory_allocated() if device == "cuda" else _resident()

    return Built(step, peak)


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def contestants(network: str, compiles: bool) -> list[Contestant]:
    how = "torch.compile, " if compiles else ""
    peer, package, plain = {
        "resnet50_v1_5": (timm_resnet50, "timm", plain_keras_resnet50),
        "resnet20": (transformers_resnet20, "transformers", plain_keras_resnet20),
    }[network]
    return [
        Contestant("keras_resnet, JAX", partial(ours, network)),
        Contestant("plain Keras layers, JAX", partial(plain_keras, plain)),
        Contestant(
            f"{package}, {how}channels_last, AMP",
            partial(pytorch, peer, compiles),
            requires=("torch", package),
        ),
    ]


# Processes: one for the ceilings, then one for each contestant.


def measure_ceilings(network: str, size: int, connection: Connection) -> None:
    """Sends the `Ceilings`."""
    _set_environment()
    import jax
    import jax.numpy as jnp
    import keras

    import keras_resnet

    device = jax.devices()[0]
    kind = "cpu" if device.platform == "cpu" else "gpu"

    def seconds(function: Callable[..., Any], *arrays: Any) -> float:
        compiled = jax.jit(function)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            compiled(*arrays).block_until_ready()
            times.append(time.perf_counter() - start)
        return min(times[2:])

    side = MATMUL_SIDE[kind]
    square = jnp.ones((side, side), jnp.bfloat16)
    copied = jnp.zeros(COPIED_BYTES[kind], jnp.uint8)
    model = keras_resnet.build(spec(network), input_shape=(size, size, 3))
    outputs = sum(
        np.prod(layer.output.shape[1:])
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    connection.send(
        Ceilings(
            device=device.device_kind,
            multiply_adds_per_second=side**3 / seconds(jnp.matmul, square, square),
            bytes_per_second=2 * copied.size / seconds(lambda x: x + 1, copied),
            # Forward, and backward for inputs and for weights.
            multiply_adds=3.0 * keras_resnet.analysis.cost(model).multiply_adds,
            activation_bytes=float(PASSES * 2 * outputs),
        )
    )


def work(contestant: Contestant, batch: Any, turn: int, connection: Connection) -> None:
    """Builds and warms up the contestant, then does a turn for every request."""
    _set_environment()
    built = contestant.build(*batch)
    for _ in range(WARM_UP_STEPS):
        float(built.step())
    connection.send(None)
    while connection.recv():
        start = time.perf_counter()
        for _ in range(turn):
            loss = built.step()
        float(loss)
        connection.send((time.perf_counter() - start, built.peak()))


def _set_environment() -> None:
    os.environ["KERAS_BACKEND"] = "jax"
    # The processes share one device.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def start(target: Callable[..., None], *arguments: Any) -> Connection:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    spawn.Process(target=target, args=(*arguments, theirs), daemon=True).start()
    theirs.close()
    return ours


def receive(connection: Connection, label: str) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        sys.exit(f"error: the process of {label!r} ended; its reason is above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--network", default="resnet50_v1_5", choices=["resnet50_v1_5", "resnet20"]
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turn", type=int, default=10, help="steps of a turn")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True,
        help="whether PyTorch's network is compiled",
    )  # fmt: skip
    flags = parser.parse_args()
    size = flags.size or {"resnet50_v1_5": 224, "resnet20": 32}[flags.network]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (flags.batch, size, size, 3)).astype(np.uint8)
    labels = rng.integers(0, 10, flags.batch).astype(np.int32)

    console = Console()
    ceilings = receive(start(measure_ceilings, flags.network, size), "ceilings")
    console.print(
        f"{ceilings.device}: {ceilings.multiply_adds_per_second / 1e12:.2f}e12 "
        f"multiply-adds/s in bfloat16, {ceilings.bytes_per_second / 1e9:.0f} GB/s\n"
        f"{flags.network} at {size}: an image of a step has "
        f"{ceilings.multiply_adds / 1e9:.2f}e9 multiply-adds and "
        f"{ceilings.activation_bytes / 1e6:.1f} MB, so at most "
        f"{ceilings.images_per_second():,.0f} images/s"
    )
    workers = {}
    for contestant in contestants(flags.network, flags.compile):
        if all(map(importlib.util.find_spec, contestant.requires)):
            label = contestant.label
            workers[label] = start(work, contestant, (images, labels), flags.turn)
            receive(workers[label], label)
    speeds: dict[str, list[float]] = {label: [] for label in workers}
    peaks = {}
    for _ in range(flags.rounds):
        for label, connection in workers.items():
            connection.send(True)
            seconds, peaks[label] = receive(connection, label)
            speeds[label].append(flags.turn * flags.batch / seconds)
    for connection in workers.values():
        connection.send(False)

    table = Table(title=f"batch {flags.batch}, median of {flags.rounds} turns")
    for column in ("", "images/s", "ours / this", "of the limit", "peak memory"):
        table.add_column(column, justify="right" if column else "left")
    first = next(iter(speeds.values()))
    for label, own in speeds.items():
        ratio = statistics.median(a / b for a, b in zip(first, own, strict=True))
        speed = statistics.median(own)
        table.add_row(
            label,
            f"{speed:,.1f}",
            f"{ratio:.2f}",
            f"{speed / ceilings.images_per_second():.0%}",
            f"{peaks[label] / 2**30:.2f} GiB",
        )
    console.print(table)


if __name__ == "__main__":
    main()
