"""Trains twice: undisturbed, and in children that are killed at random moments.

python kill_training.py EXAMPLES DIRECTORY REPLICAS KILLS

The children are forked after everything is imported, so that each lives for the seconds
of its training and not for those of an import.
"""

import dataclasses
import os
import pathlib
import random
import signal
import sys
import time
from typing import Any

from pipelines import environment

environment.prepare()

from rich.console import Console  # noqa: E402

import keras_resnet  # noqa: E402
from keras_resnet.training import RECIPES  # noqa: E402
from pipelines.components.trainer import trainer  # noqa: E402
from pipelines.data.examples import Examples  # noqa: E402
from pipelines.training.loop import LoopOptions  # noqa: E402
from pipelines.training.step import Outcome, TrainingStep  # noqa: E402
from pipelines.training.strategies import make_strategy  # noqa: E402
from pipelines.training.watching import WatchOptions  # noqa: E402

# Everything that has a state: averages, momentum, random numbers in the network and in
# the images, a schedule that depends on the validation.

RECIPE = dataclasses.replace(
    RECIPES["onecycle"],
    batch_size=16,
    image_size=8,
    learning_rate=0.05,
    schedule="plateau",
    patience=1,
    ema=0.9,
    augmentation="pad_crop(1)|flip|mixup(0.2)",
)
NETWORK = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"],
    filters=(8,),
    blocks_per_stage=(2,),
    stochastic_depth=0.2,
)


def train(examples: pathlib.Path, directory: pathlib.Path, replicas: int) -> None:
    trainer(
        Examples.load(examples),
        directory,
        network=NETWORK,
        recipe=RECIPE,
        strategy=make_strategy("auto", replicas),
        options=LoopOptions(checkpoint_every="1 step"),
        watch=WatchOptions(tensorboard=False),
        console=Console(quiet=True),
    )


def begun_child(examples: pathlib.Path, directory: pathlib.Path, replicas: int) -> int:
    """Forks a child that trains; returns when its first step is done."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        return child
    step = TrainingStep.__call__

    def step_and_tell(*arguments: Any) -> Outcome:
        outcome = step(*arguments)
        os.write(writing, b".")
        return outcome

    TrainingStep.__call__ = step_and_tell
    train(examples, directory, replicas)
    os._exit(0)


def train_killed(
    examples: pathlib.Path, directory: pathlib.Path, replicas: int, kills: int
) -> float:
    """Kills so many children; returns the seconds of the last one's steps."""
    moments = random.Random(0)
    for _ in range(kills):
        child = begun_child(examples, directory, replicas)
        time.sleep(moments.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit("a child came to its end before it was killed")
    child = begun_child(examples, directory, replicas)
    begin = time.perf_counter()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit("a child failed")
    return time.perf_counter() - begin


LONGEST = 0.0

if __name__ == "__main__":
    root = pathlib.Path(sys.argv[2])
    count, wanted = map(int, sys.argv[3:])
    RECIPE = dataclasses.replace(RECIPE, epochs=2 + wanted // 2)
    whole = train_killed(pathlib.Path(sys.argv[1]), root / "undisturbed", count, 0)
    # So that all kills come before the end of the run.
    LONGEST = whole / (wanted + 1)
    train_killed(pathlib.Path(sys.argv[1]), root / "killed", count, wanted)
