"""What the processes of the tests of several workers and replicas run.

python worker_program.py TASK ARGUMENT ...
"""

import contextlib
import dataclasses
import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines.components.trainer import trainer
from pipelines.data.examples import Examples
from pipelines.errors import UserError
from pipelines.training.multi_worker_fit import cured
from pipelines.training.strategies import (
    Cluster,
    LostWorkerError,
    agree,
    gather,
    lost_workers,
    make_strategy,
)
from pipelines.training.watching import WatchOptions

NETWORK = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1)
)
RECIPE = dataclasses.replace(
    RECIPES["onecycle"],
    epochs=2,
    batch_size=16,
    image_size=16,
    # A low rate, lest the rounding of sums in another order grow over the steps.
    learning_rate=1e-3,
    batch_norm="synchronized",
)


def train(examples, directory, strategy=None, **changes):
    """Trains `NETWORK` by `RECIPE`."""
    return trainer(
        examples,
        directory,
        network=NETWORK,
        recipe=dataclasses.replace(RECIPE, **changes),
        strategy=strategy,
        watch=WatchOptions(tensorboard=False),
        console=Console(quiet=True),
    )


def initial_weights(examples):
    """Returns the weights that `train` begins with."""
    keras.utils.set_random_seed(0)
    network = dataclasses.replace(NETWORK, classes=len(examples.classes))
    return keras_resnet.build(network, input_shape=(16, 16, 3)).get_weights()


def fit():
    """Returns the history and weights of a `fit` in float64, by whatever strategy."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = random.normal(size=(32, 6, 6, 3))
    labels = random.integers(0, 4, 32)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3), dtype="float64"),
            layers.Conv2D(4, 3, dtype="float64"),
            layers.BatchNormalization(synchronized=True, dtype="float64"),
            layers.ReLU(dtype="float64"),
            layers.GlobalAveragePooling2D(dtype="float64"),
            layers.Dense(4, dtype="float64"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        images,
        labels,
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        validation_data=(images[:16], labels[:16]),
    )
    return history.history, model.get_weights()


def replicas(count, examples, out):
    """Trains over logical CPU devices."""
    strategy = make_strategy("mirrored", replicas=int(count))
    assert strategy.num_replicas_in_sync == int(count)
    train(Examples.load(pathlib.Path(examples)), pathlib.Path(out), strategy)


def workers(examples, out):
    """Does everything that two workers must do together, and saves what came of it."""
    out = pathlib.Path(out)
    strategy = make_strategy()
    index = Cluster.of(strategy).index
    results = {"gathered": gather(strategy, [index, 0.1])}
    agree(strategy, 2**40 + 1, "a number")
    try:
        agree(strategy, 2**40 + index, "the step")
    except UserError as error:
        results["disagreement"] = str(error)

    with strategy.scope(), cured():
        history, weights = fit()
    results.update({f"fit/{name}": values for name, values in history.items()})
    results.update({f"fit/weight{i}": weight for i, weight in enumerate(weights)})

    with written(out / "model") as files:
        train(Examples.load(pathlib.Path(examples)), out / "model", strategy)
    results["written"] = files

    try:
        with strategy.scope():
            fit()
    except Exception as error:
        results["uncured"] = f"{type(error).__name__}: {error}"[:200]
    np.savez(out / f"worker-{index}.npz", **results)


@contextlib.contextmanager
def written(directory):
    """Lists the files under a folder that Python opens for writing, or renames."""
    paths = []
    listening = True

    def note(event, arguments):
        writes = event in ("os.rename", "os.remove") or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if listening and writes and str(directory) in str(arguments[0]):
            paths.append(str(arguments[0]))

    sys.addaudithook(note)
    yield paths
    listening = False


def chatter(out):
    """Computes with the others without end, until one of them is lost."""
    strategy = make_strategy()
    index = Cluster.of(strategy).index
    try:
        with lost_workers(strategy):
            while True:
                gather(strategy, 0)
                pathlib.Path(out, f"up-{index}").touch()
    except LostWorkerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    {"replicas": replicas, "workers": workers, "chatter": chatter}[task](*arguments)
