"""The constants of docs/scaling.md's model of cost: step, all-reduce, checkpoint.

    python -m benchmarks.scaling --network=resnet50
    python -m benchmarks.scaling --network=resnet20
    python -m benchmarks.scaling --blocks=10000000

Measures, on the CPU in float32: the parts of a training step, by how much longer it
takes with each of them; the all-reduce of the network's gradients between two processes
of this host over gRPC; and writing a checkpoint of weights and momentum. Medians over
rounds, with lowest and highest. With `--blocks`: what the table of so many blocks takes
in time and memory, from the beginning of an epoch and from its middle.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines import environment

SETTINGS = {"resnet50": (224, 32), "resnet20": (32, 128)}  # Pixels, images in a step.


def seconds_of(works: Mapping[str, Callable[[], object]], rounds: int) -> dict:
    """Returns the seconds of some calls, which take turns after one uncounted round."""
    seconds = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def build(name: str):
    """Returns a network as the trainer trains it, and its optimizer."""
    import keras_resnet
    from keras_resnet.training import RECIPES
    from keras_resnet.training.making import make_optimizer
    from pipelines.training.network import for_training

    size, _ = SETTINGS[name]
    recipe = RECIPES["he2015"]
    model = keras_resnet.create(name, input_shape=(size, size, 3))
    optimizer = make_optimizer(recipe, 1000)
    trained = for_training(model, recipe)
    optimizer.build(trained.trainable_variables)
    return trained, optimizer


def measure_step(name: str, rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of a step up to each of its parts."""
    import tensorflow as tf

    model, optimizer = build(name)
    size, batch = SETTINGS[name]
    random = np.random.default_rng(0)
    images = tf.constant(random.standard_normal((batch, size, size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, model.output_shape[1], batch))
    weights = model.trainable_variables

    def loss() -> tf.Tensor:
        logits = model(images, training=True)
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, [weight.value for weight in weights])

    @tf.function(autograph=False)
    def forward() -> tf.Tensor:
        return loss()

    @tf.function(autograph=False)
    def backward() -> list[tf.Tensor]:
        return [tf.reduce_sum(gradient) for gradient in gradients()]

    @tf.function(autograph=False)
    def update() -> None:
        optimizer.apply(gradients(), weights)

    parts = {"forward": forward, "backward": backward, "update": update}
    return seconds_of(parts, rounds)


def measure_checkpoint(name: str, rounds: int) -> dict[str, object]:
    """Returns bytes and seconds of a checkpoint."""
    from keras import ops

    from pipelines.training.checkpoints import Checkpoints

    model, optimizer = build(name)
    variables = [*model.variables, *optimizer.variables]

    with tempfile.TemporaryDirectory(prefix="scaling-", dir=".") as folder:
        checkpoints = Checkpoints(Path(folder), keep_last=1, keep_best=0)

        def save() -> Path:
            arrays = {
                str(index): ops.convert_to_numpy(variable)
                for index, variable in enumerate(variables)
            }
            return checkpoints.save(arrays, {})

        return {**seconds_of({"seconds": save}, rounds), "bytes": save().stat().st_size}


def measure_all_reduce(name: str, rounds: int) -> dict[str, object]:
    """Returns bytes and seconds of an all-reduce of gradients; every worker runs it."""
    import tensorflow as tf

    from pipelines.training.strategies import make_strategy

    strategy = make_strategy("multi_worker")
    model, _ = build(name)
    shapes = [tuple(weight.shape) for weight in model.trainable_variables]

    def reduce_all(number: tf.Tensor) -> tf.Tensor:
        sums = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.fill(shape, number) for shape in shapes]
        )
        return tf.add_n([value[(0,) * len(value.shape)] for value in sums])

    @tf.function(autograph=False)
    def step(number: tf.Tensor) -> tf.Tensor:
        return strategy.run(reduce_all, args=(number,))

    work = {"seconds": lambda: step(tf.constant(1.0)).numpy()}
    return {**seconds_of(work, rounds), "bytes": 4 * sum(map(np.prod, shapes))}


def measure_between_processes(name: str, rounds: int) -> dict[str, object]:
    """Returns what `measure_all_reduce` does, between two new processes."""
    with socket.socket() as first, socket.socket() as second:
        for bound in (first, second):
            bound.bind(("localhost", 0))
        addresses = [f"localhost:{s.getsockname()[1]}" for s in (first, second)]
    command = [sys.executable, "-m", "benchmarks.scaling", "--worker"]
    workers = []
    for index in range(2):
        config = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        workers.append(
            subprocess.Popen(
                [*command, f"--network={name}", f"--rounds={rounds}"],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    printed = [worker.communicate()[0] for worker in workers]
    return json.loads(printed[0].splitlines()[-1])


def measure_blocks(count: int) -> None:
    """Prints what a table of blocks takes, all of which are the same one of a shard."""
    import io

    from PIL import Image

    from keras_resnet.preprocessing import Preprocessing
    from pipelines.data import records
    from pipelines.data.augmentation import Augmentation
    from pipelines.data.examples import Examples
    from pipelines.data.input_pipeline import training_batches

    table = Table("", "seconds", "MB", title=f"{count:,} blocks")
    begin = time.perf_counter()

    def add(what: str) -> None:
        nonlocal begin
        seconds = time.perf_counter() - begin
        status = Path("/proc/self/status").read_text()
        kilobytes = int(re.search(r"RssAnon:\s*(\d+)", status)[1])
        table.add_row(what, f"{seconds:,.2f}", f"{kilobytes / 1e3:,.0f}")
        begin = time.perf_counter()

    with tempfile.TemporaryDirectory(prefix="scaling-", dir=".") as folder:
        directory = Path(folder)
        file = io.BytesIO()
        Image.new("RGB", (32, 32)).save(file, "JPEG")
        record = records.to_example(
            file.getvalue(),
            name="black.jpg",
            label=0,
            class_name="black",
            image_format="JPEG",
            height=32,
            width=32,
            sha256="",
        )
        path = directory / "train-00000-of-00001.tfrecord"
        most = records.BLOCK_RECORDS
        shard, blocks = records.write_shard(path, [record] * most, directory)
        of_shard = np.repeat(blocks, 32, axis=0)  # As shards of 128 MiB have them.
        shards = [of_shard] * (count // len(of_shard))
        add("before")
        records.write_blocks(directory, "train", shards)
        add("writing the table")
        examples = Examples(
            directory,
            ("black", "white"),
            {"train": count * most},
            (shard,) * len(shards),
            mean_bytes=records.BLOCK_BYTES // most,
            are_checked=True,
        )
        examples.blocks("train")
        add("reading it once")
        for what, first_step in (("beginning", 0), ("middle", count // 2)):
            batches = training_batches(
                examples,
                Preprocessing(crop=32, resize=32),
                Augmentation.parse("center"),
                most,
                range(1),
                seed=0,
                first_step=first_step,
            )
            next(iter(batches.dataset))
            add(f"first batch, from the {what} of an epoch")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=SETTINGS, default="resnet50")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    environment.prepare()
    name, rounds = arguments.network, arguments.rounds
    if arguments.worker:
        print(json.dumps(measure_all_reduce(name, rounds), default=int))
        return
    if arguments.blocks:
        measure_blocks(arguments.blocks)
        return
    size, batch = SETTINGS[name]
    busy = os.getloadavg()[0]
    reduced = measure_between_processes(name, rounds)
    checkpoint = measure_checkpoint(name, rounds)
    steps = measure_step(name, rounds)

    table = Table(
        title=f"{name}, {size} pixels, batch {batch}; load before: {busy:.1f}"
    )
    table.add_column("seconds")
    for title in ("median", "lowest", "highest", ""):
        table.add_column(title, justify="right", no_wrap=True)

    def add(what: str, seconds: np.ndarray, note: str) -> None:
        values = (np.median(seconds), np.min(seconds), np.max(seconds))
        table.add_row(what, *(f"{value:,.3f}" for value in values), note)

    upto = np.array(list(steps.values()))
    add("step", upto[-1], "")
    parts = np.diff(upto, axis=0, prepend=0)
    for part, seconds in zip(steps, parts, strict=True):
        add(f"  {part}", seconds, f"{np.median(seconds / upto[-1]):.0%} of the step")
    for what, values in (("all-reduce", reduced), ("checkpoint", checkpoint)):
        rate = values["bytes"] / np.median(values["seconds"]) / 1e6
        size_told = f"{values['bytes'] / 1e6:,.1f} MB, {rate:,.0f} MB/s"
        add(what, values["seconds"], size_told)
    Console().print(table)


if __name__ == "__main__":
    main()
