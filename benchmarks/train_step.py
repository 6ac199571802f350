"""How fast one training step is beside plain Keras and PyTorch, on the CPU.

    python -m benchmarks.train_step --network=resnet50
    python -m benchmarks.train_step --network=resnet20

A step is forward, backward and SGD with momentum 0.9 in float32, and ends when its
loss has been read. All contestants take the same batch of random images through the
same network; that their multiply-adds agree is checked first. Ours is the engine's step
and does what the paper's recipe asks beyond that: weight decay in the gradient and a
learning-rate schedule, and it counts what is right and looks whether all is finite.
"bare" is our network and optimizer without the engine; the others of ours are the
engine with more to do. Our ResNet-20 has the other networks' projection shortcuts
(option B, not the paper's A).

Each contestant is built in a process of its own, since environment variables must stand
before TensorFlow is imported. All processes stay alive, and the parent has them step
strictly in turn, A B C A B C ..., so that whatever else the machine does meets all
alike; ratios are taken within a round. What the waiting ones used of the CPU meanwhile
is printed too.

PyTorch is timed if installed: pip install '.[benchmarks]'. Needs Linux.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pipelines import environment

# Nothing imported above imports TensorFlow or PyTorch: workers import this module
# before they set their environment.

WARM_UP_STEPS = 2
TOLERANCE = 0.01  # Of the multiply-adds, between contestants.
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("tensorflow", "keras", "torch", "transformers")

COMMON_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# Variables that change speed, whether set here or in the shell.
SETTINGS = re.compile("TF_ENABLE_|TF_XLA_|TF_NUM_|XLA_|(G?OMP|KMP|MKL|DNNL|ONEDNN)_")
BUSY = 0.5  # Load average from which times mean little.


class Built(NamedTuple):
    """A contestant ready to run: one training step, and one image's multiply-adds."""

    step: Callable[[], float]
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to train the network.

    Args:
        label: What the table calls it.
        build: Takes images `(batch, size, size, 3)` float32 and labels `(batch,)`.
        environment: Variables that stand before `build` imports anything.
        requires: Packages without which it is left out.
    """

    label: str
    build: Callable[[np.ndarray, np.ndarray], Built]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    requires: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Contest:
    """What is timed for one network, with the defaults of its flags."""

    batch: int
    size: int
    rounds: int
    classes: int
    contestants: Mapping[str, Contestant]


# The networks as users of the peers have them.


def applications_resnet50(size: int) -> Any:
    import keras

    return keras.applications.ResNet50(weights=None, input_shape=(size, size, 3))


def plain_keras_resnet20(size: int) -> Any:
    import keras
    from keras import layers

    def convolution(
        x: Any, filters: int, kernel_size: int = 3, strides: int = 1
    ) -> Any:
        x = layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    images = keras.Input((size, size, 3))
    x = layers.ReLU()(convolution(images, 16))
    for filters, first_strides in ((16, 1), (32, 2), (64, 2)):
        for strides in (first_strides, 1, 1):
            shortcut = x if strides == 1 else convolution(x, filters, 1, strides)
            x = layers.ReLU()(convolution(x, filters, strides=strides))
            x = layers.ReLU()(layers.Add()([convolution(x, filters), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(10, activation="softmax")(x))


def allow_torchvision() -> None:
    """Lets transformers import a torchvision whose operators torch cannot load.

    Its networks need none of them.
    """
    import torch

    torch.library.register_fake = lambda *_, **__: lambda function: function


def transformers_resnet50() -> Any:
    allow_torchvision()
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(num_labels=1000, downsample_in_bottleneck=True)
    return ResNetForImageClassification(config)


def transformers_resnet20() -> Any:
    allow_torchvision()
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.resnet.modeling_resnet import ResNetConvLayer

    model = ResNetForImageClassification(
        ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64],
            depths=[3, 3, 3],
            layer_type="basic",
            num_labels=10,
        )
    )
    stem = model.resnet.embedder
    stem.embedder = ResNetConvLayer(3, 16, kernel_size=3)
    stem.pooler = torch.nn.Identity()
    return model


# The ways to train them.


def plain_keras(
    make_model: Callable[[int], Any], images: np.ndarray, labels: np.ndarray
) -> Built:
    import keras

    model = make_model(images.shape[1])
    optimizer = keras.optimizers.SGD(learning_rate=0.01, momentum=0.9)
    return _keras(model, optimizer, images, labels)


class Training(NamedTuple):
    """Our network and optimizer, and the batch as our input pipeline gives it."""

    model: Any
    optimizer: Any
    recipe: Any
    batch: tuple[Any, Any]


def _training(
    network: str, changes: Mapping[str, Any], images: np.ndarray, labels: np.ndarray
) -> Training:
    environment.prepare("fast")
    import tensorflow as tf

    import keras_resnet
    from keras_resnet.training import RECIPES
    from keras_resnet.training.making import make_optimizer
    from pipelines.training.network import for_training

    spec = dataclasses.replace(keras_resnet.NETWORKS[network], shortcut="B")
    model = keras_resnet.build(spec, input_shape=images.shape[1:])
    recipe = dataclasses.replace(
        RECIPES["he2015"], learning_rate=0.01, batch_size=len(images), **changes
    )
    pixels = tf.constant((255 * images).astype(np.uint8))
    return Training(
        for_training(model, recipe),
        make_optimizer(recipe, steps_per_epoch=1000),
        recipe,
        (pixels, tf.constant(labels)),
    )


def ours(
    network: str, changes: Mapping[str, Any], images: np.ndarray, labels: np.ndarray
) -> Built:
    training = _training(network, changes, images, labels)
    import tensorflow as tf

    from keras_resnet.analysis import cost
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.training.network import for_training, takes_pixels
    from pipelines.training.step import TrainingStep

    model, optimizer, recipe, (pixels, targets) = training
    preprocessing = Preprocessing(crop=images.shape[1], resize=images.shape[1])
    averaged = takes_pixels(for_training(model, recipe), preprocessing)
    classes = model.output_shape[-1]
    step = TrainingStep(
        tf.distribute.get_strategy(),
        takes_pixels(model, preprocessing),
        optimizer,
        recipe,
        classes,
        averaged=averaged if recipe.ema else None,
    )
    if "mixup" in recipe.augmentation:
        targets = tf.one_hot(targets, classes)
    return Built(
        lambda: step(pixels, targets).measured().loss, cost(model).multiply_adds
    )


def bare(network: str, images: np.ndarray, labels: np.ndarray) -> Built:
    """Our network and optimizer in the shortest compiled step that trains them."""
    training = _training(network, {}, images, labels)
    import keras
    import tensorflow as tf

    from keras_resnet.analysis import cost
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.training.network import takes_pixels

    preprocessing = Preprocessing(crop=images.shape[1], resize=images.shape[1])
    model = takes_pixels(training.model, preprocessing)
    variables = model.trainable_variables
    training.optimizer.build(variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(pixels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(targets, model(pixels, training=True))
        training.optimizer.apply(tape.gradient(value, variables), variables)
        return value

    return Built(
        lambda: float(step(*training.batch)), cost(training.model).multiply_adds
    )


def _keras(model: Any, optimizer: Any, images: np.ndarray, labels: np.ndarray) -> Built:
    import tensorflow as tf

    from keras_resnet.analysis import cost

    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    model.make_train_function()
    train = model.train_function
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    return Built(lambda: float(train(batches)["loss"]), cost(model).multiply_adds)


def pytorch(
    make_model: Callable[[], Any],
    memory_format: str,
    images: np.ndarray,
    labels: np.ndarray,
) -> Built:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(CORES)
    layout = getattr(torch, memory_format)
    model = make_model().train().to(memory_format=layout)
    inputs = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    targets = torch.tensor(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs).logits, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(inputs[:2])
    # Two operations to a multiply-add, two images.
    return Built(step, flops.get_total_flops() // 4)


OURS = "ours"
VARIANTS = (
    ("ours_ema", "moving average", {"ema": 0.9999}),
    ("ours_accumulate", "in two parts", {"accumulate": 2}),
    ("ours_mixup", "mixed labels", {"augmentation": "pad_crop(4)|mixup(0.2)"}),
)
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}
NO_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}
PYTORCH = ("torch", "transformers")


def _contestants(
    network: str,
    keras_label: str,
    keras_model: Callable[[int], Any],
    pytorch_model: Callable[[], Any],
) -> dict[str, Contestant]:
    train_keras = partial(plain_keras, keras_model)
    return {
        OURS: Contestant("keras_resnet", partial(ours, network, {})),
        "bare": Contestant("keras_resnet, bare step", partial(bare, network)),
        **{
            key: Contestant(f"keras_resnet, {label}", partial(ours, network, changes))
            for key, label, changes in VARIANTS
        },
        "keras": Contestant(f"{keras_label}, defaults", train_keras),
        "keras_onednn": Contestant(f"{keras_label}, oneDNN", train_keras, ONEDNN),
        # The defaults of a CPU without AVX512-VNNI.
        "keras_no_onednn": Contestant(
            f"{keras_label}, no oneDNN", train_keras, NO_ONEDNN
        ),
        "torch": Contestant(
            "PyTorch",
            partial(pytorch, pytorch_model, "contiguous_format"),
            requires=PYTORCH,
        ),
        "torch_channels_last": Contestant(
            "PyTorch, channels_last",
            partial(pytorch, pytorch_model, "channels_last"),
            requires=PYTORCH,
        ),
    }


CONTESTS = {
    "resnet50": Contest(
        batch=32,
        size=224,
        rounds=7,
        classes=1000,
        contestants=_contestants(
            "resnet50",
            "keras.applications",
            applications_resnet50,
            transformers_resnet50,
        ),
    ),
    "resnet20": Contest(
        batch=128,
        size=32,
        rounds=20,
        classes=10,
        contestants=_contestants(
            "resnet20", "plain Keras", plain_keras_resnet20, transformers_resnet20
        ),
    ),
}


# One process for each contestant.


class Ready(NamedTuple):
    """What a worker says once it is warm."""

    multiply_adds: int
    settings: dict[str, str]


class Step(NamedTuple):
    """What a worker says of a step."""

    seconds: float
    cores_before: float  # Cores' worth of CPU time used while it waited for its turn.


def work(contestant: Contestant, batch: np.ndarray, connection: Connection) -> None:
    """Builds and warms up the contestant, then does one step for every request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer.
    os.environ.update({**COMMON_ENVIRONMENT, **contestant.environment})
    step, multiply_adds = contestant.build(*batch)
    for _ in range(WARM_UP_STEPS):
        step()
    settings = {k: v for k, v in os.environ.items() if SETTINGS.match(k)}
    waiting_since, used = time.perf_counter(), time.process_time()
    connection.send(Ready(multiply_adds, settings))
    with contextlib.suppress(EOFError):  # The parent has ended.
        while True:
            connection.recv()
            start = time.perf_counter()
            cores_before = (time.process_time() - used) / (start - waiting_since)
            step()
            waiting_since, used = time.perf_counter(), time.process_time()
            connection.send(Step(waiting_since - start, cores_before))


class Worker:
    """The parent's hold on a contestant's process; returns once that is warm."""

    def __init__(
        self, contestant: Contestant, batch: tuple[np.ndarray, np.ndarray]
    ) -> None:
        self.label = contestant.label
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        process = spawn.Process(
            target=work, args=(contestant, batch, theirs), daemon=True
        )
        process.start()
        theirs.close()
        self.ready: Ready = self._receive()

    def step(self) -> Step:
        self._connection.send("step")
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError):
            sys.exit(
                f"error: the process of {self.label!r} ended; if no reason is printed "
                "above, it ran out of memory: give a smaller --batch"
            )


# The report.


def check_multiply_adds(workers: Mapping[str, Worker], console: Console) -> None:
    """Prints every contestant's multiply-adds; ends the program if they differ."""
    counts = {worker.label: worker.ready.multiply_adds for worker in workers.values()}
    lowest, highest = min(counts.values()), max(counts.values())
    if highest > lowest * (1 + TOLERANCE):
        sys.exit(f"error: not the same network, multiply-adds for one image: {counts}")
    console.print(
        f"multiply-adds for one image: {lowest:,} to {highest:,}, "
        f"within {TOLERANCE:.0%} of each other"
    )


def print_machine(console: Console) -> None:
    """Prints what the times depend on."""
    cpu_info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.+)", cpu_info)
    console.print(f"{model[1] if model else platform.machine()}, {CORES} cores")
    default = "on" if "avx512_vnni" in cpu_info else "off"
    console.print(f"TensorFlow's default for oneDNN on this CPU: {default}")
    versions = [f"python {platform.python_version()}"]
    for package in filter(importlib.util.find_spec, PACKAGES):
        versions.append(f"{package} {importlib.metadata.version(package)}")
    console.print(", ".join(versions))
    load = os.getloadavg()[0]
    console.print(f"load average before the start: {load:.1f}")
    if load > BUSY:
        console.print(
            "The machine is busy: measure again when it is not. PyTorch's threads spin "
            "while they wait for each other and lose most, unless the shell sets "
            "OMP_WAIT_POLICY=PASSIVE."
        )


def print_result(
    workers: Mapping[str, Worker],
    steps: Mapping[str, list[Step]],
    batch: int,
    console: Console,
) -> None:
    """Prints images/s and, round by round, how many times as fast ours is."""
    table = Table("", "images/s", "ours / it")
    table.add_column("settings", overflow="fold")
    for key, worker in workers.items():
        seconds = [step.seconds for step in steps[key]]
        ratios = [
            theirs / step.seconds
            for theirs, step in zip(seconds, steps[OURS], strict=True)
        ]
        table.add_row(
            worker.label,
            f"{batch / statistics.median(seconds):.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            "\n".join(
                f"{name}={value}"
                for name, value in sorted(worker.ready.settings.items())
            ),
        )
    console.print(table)
    common = " ".join(f"{name}={value}" for name, value in COMMON_ENVIRONMENT.items())
    console.print(
        "Medians; ours / it is taken round by round (lowest-highest). "
        f"PyTorch has {CORES} threads; all have {common}."
    )
    waiting = max(step.cores_before for taken in steps.values() for step in taken)
    console.print(f"A waiting process used at most {waiting:.3f} cores.")


def choose(
    keys: list[str], contest: Contest, console: Console
) -> dict[str, Contestant]:
    """Returns the contestants asked for that can run here, ours always among them."""
    chosen = {}
    for key, contestant in contest.contestants.items():
        if key not in {OURS, *keys}:
            continue
        if missing := [
            p for p in contestant.requires if not importlib.util.find_spec(p)
        ]:
            console.print(
                f"{contestant.label} is left out, it needs {' and '.join(missing)}: "
                "pip install '.[benchmarks]'",
                markup=False,
            )
            continue
        chosen[key] = contestant
    return chosen


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def parse_arguments() -> tuple[argparse.Namespace, Contest]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=CONTESTS, default="resnet50")
    parser.add_argument("--batch", type=positive, help="images in a step")
    parser.add_argument("--size", type=positive, help="height and width in pixels")
    parser.add_argument("--rounds", type=positive, help="steps of each contestant")
    parser.add_argument(
        "--contestants",
        type=lambda text: text.split(","),
        help="names with commas between, ours is always there; default: all of "
        + ", ".join(CONTESTS["resnet50"].contestants),
    )
    arguments = parser.parse_args()
    contest = CONTESTS[arguments.network]
    arguments.contestants = arguments.contestants or list(contest.contestants)
    if unknown := set(arguments.contestants) - set(contest.contestants):
        parser.error(
            f"no contestant {', '.join(sorted(unknown))}; there are "
            + ", ".join(contest.contestants)
        )
    changes = {
        name: value
        for name in ("batch", "size", "rounds")
        if (value := getattr(arguments, name)) is not None
    }
    return arguments, dataclasses.replace(contest, **changes)


def main() -> None:
    arguments, contest = parse_arguments()
    console = Console()
    console.print(
        f"{arguments.network}, {contest.size}x{contest.size}, batch {contest.batch}, "
        f"{contest.rounds} rounds after {WARM_UP_STEPS} steps of warm-up"
    )
    print_machine(console)
    chosen = choose(arguments.contestants, contest, console)

    random = np.random.default_rng(0)
    shape = (contest.batch, contest.size, contest.size, 3)
    images = random.random(shape, dtype=np.float32)
    labels = random.integers(contest.classes, size=contest.batch)
    # Defaults are TensorFlow's, whatever the shell has set.
    for name in environment.CPU_SETTINGS:
        os.environ.pop(name, None)
    workers = {
        key: Worker(contestant, (images, labels))
        for key, contestant in track(chosen.items(), "building", console=console)
    }
    check_multiply_adds(workers, console)

    steps: dict[str, list[Step]] = {key: [] for key in workers}
    for _ in track(range(contest.rounds), "timing", console=console):
        for key, worker in workers.items():
            steps[key].append(worker.step())
    print_result(workers, steps, contest.batch, console)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
