"""How fast exports answer, beside those of `keras.applications`, and how exactly.

    python -m benchmarks.serving
    python -m benchmarks.serving --photos=FOLDER
    python -m benchmarks.serving --data=data/cifar10 --network=resnet20 --weights=FILE

The first times ResNet-50 with random weights at 224 pixels on decoded images: each
export and its peers in turn, in one process; ratios are of the medians, to the
SavedModel of `keras.applications.ResNet50`. "OpenVINO, plain" is what OpenVINO makes of
that. All compute in float32 but those that say otherwise.

The second times photos from their bytes to the answer of our SavedModel's function, and
beside it the network alone, and the decoding alone without resizing, of one after the
other: the whole should take no longer than both.

The third exports a network with the weights of FILE, or random ones with batch norms
that fit some of the images, to every format and precision, and compares each with the
network on validation images of prepared data.
"""

import argparse
import dataclasses
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PEER = "keras.applications"


def contestants(folder: Path) -> dict[str, Callable[[np.ndarray], object]]:
    """Exports both ResNet-50s to a folder and loads what was written."""
    import keras
    import tensorflow as tf

    import keras_resnet
    from keras_resnet import surgery
    from keras_resnet.preprocessing import MODES
    from pipelines.serving.formats import FORMATS
    from pipelines.training.network import takes_pixels

    def saved_model(network: keras.Model, name: str) -> Callable[[np.ndarray], object]:
        network.export(str(folder / name), verbose=False)
        served = tf.saved_model.load(str(folder / name))
        return lambda images: served.serve(tf.constant(images)).numpy()

    pixels = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), np.uint8)
    peer = keras.applications.ResNet50(weights=None)
    entry = keras.Input((224, 224, 3), dtype="uint8")
    scaled = keras.applications.resnet50.preprocess_input(
        keras.ops.cast(entry, "float32")
    )
    peer = keras.Model(entry, peer(scaled))
    peer(pixels[:1])
    ours = keras_resnet.ResNet50(weights=None)
    ours = takes_pixels(surgery.fold_batch_norm(ours), MODES["caffe"])
    ours(pixels[:1])
    loaded = {
        PEER: saved_model(peer, "peer"),
        "ours, SavedModel": saved_model(ours, "ours"),
    }
    kind = FORMATS["openvino"]
    kind.writers["float32"](peer, folder / "plain.xml", pixels)
    loaded["OpenVINO, plain"] = kind.load(folder / "plain.xml")
    for name, kind in FORMATS.items():
        for precision, write in kind.writers.items():
            path = folder / f"{name}-{precision}" / kind.file
            path.parent.mkdir()
            left = write(ours, path, pixels)
            note = f", {left} float" if left else ""
            loaded[f"ours, {name} {precision}{note}"] = kind.load(path)
    return loaded


def medians_of(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the medians of seconds that calls take, made in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    # The first of each warms up.
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def race(rounds: int, batch_sizes: list[int]) -> None:
    """Prints the medians of each contestant's times, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = contestants(Path(folder))
        for batch in batch_sizes:
            images = np.random.default_rng(1).integers(
                0, 256, (batch, 224, 224, 3), np.uint8
            )
            calls = {
                name: functools.partial(answer, images)
                for name, answer in loaded.items()
            }
            medians = medians_of(calls, rounds)
            print(f"batch {batch}, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
            for name, seconds in medians.items():
                ratio = medians[PEER] / seconds
                print(f"  {name:24} {1000 * seconds:8.1f} ms   {ratio:.2f}x")


def bytes_in(photos: str, rounds: int, batch_sizes: list[int]) -> None:
    """Prints how long encoded photos take to an answer, beside the parts of that."""
    import tensorflow as tf

    import keras_resnet
    from keras_resnet import NETWORKS, surgery
    from keras_resnet.training import RECIPES
    from pipelines.components.pusher import with_features
    from pipelines.serving.signatures import Classifier
    from pipelines.training.network import preprocessing_for, takes_pixels

    preprocessing = preprocessing_for(RECIPES["he2015"], NETWORKS["resnet50"])
    folded = surgery.fold_batch_norm(keras_resnet.ResNet50(weights=None))
    network = takes_pixels(with_features(folded), preprocessing)
    paths = sorted(path for path in Path(photos).rglob("*") if path.is_file())
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as labels:
        labels.writelines(f"{number}\n" for number in range(1000))
        labels.flush()
        classifier = Classifier(network, preprocessing, Path(labels.name), top_k=5)
    for batch in batch_sizes:
        encoded = [path.read_bytes() for path in paths[:batch]]
        together = tf.constant(encoded)
        pixels = classifier.pixels_of_bytes(together)["images"]
        calls = {
            "bytes in, answer out": lambda b=together: classifier.classify_bytes(b),
            "network": lambda p=pixels: classifier.scores_of_pixels(p),
            "decoding, one by one": lambda e=encoded: [
                tf.io.decode_jpeg(one, channels=3) for one in e
            ],
        }
        medians = medians_of(calls, rounds)
        whole, *parts = medians.values()
        print(f"batch {batch}, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
        for name, seconds in medians.items():
            print(f"  {name:24} {1000 * seconds:8.1f} ms")
        print(
            f"  network and decoding, as a share of the whole: {sum(parts) / whole:.2f}"
        )


def compare(name: str, weights: str | None, data: str) -> None:
    """Prints how each export of a network compares with it, on images."""
    from rich.console import Console

    import keras_resnet
    from keras_resnet import surgery
    from keras_resnet.preprocessing import preprocess_input
    from keras_resnet.training import RECIPES
    from pipelines.components.exporter import exporter
    from pipelines.data.examples import Examples
    from pipelines.data.input_pipeline import evaluation_batches
    from pipelines.reports.summary import print_exports
    from pipelines.serving.formats import FORMATS
    from pipelines.training.model import TrainedModel
    from pipelines.training.network import preprocessing_for

    examples = Examples.load(Path(data, "examples"))
    network = dataclasses.replace(
        keras_resnet.NETWORKS[name], classes=len(examples.classes)
    )
    recipe = RECIPES["he2015_cifar" if network.input_size == 32 else "he2015"]
    preprocessing = preprocessing_for(recipe, network)
    with tempfile.TemporaryDirectory() as folder:
        model = TrainedModel(
            Path(folder, "model"), network, preprocessing, examples.classes
        )
        model.directory.mkdir()
        kept = keras_resnet.create(name, weights=weights, classes=network.classes)
        if weights is None:
            # As it starts, its activations grow from block to block beyond all sense.
            train = evaluation_batches(examples, "train", preprocessing, 64)
            images, _ = next(train.dataset.as_numpy_iterator())
            images = preprocess_input(images, mode=preprocessing)
            kept = surgery.precise_batch_norm(kept, images)
        model.save(kept)
        made = [
            exporter(model, examples, Path(folder), to=name, precision=precision)
            for name, kind in FORMATS.items()
            for precision in kind.writers
        ]
        print_exports(made, Console(file=sys.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="answers of each")
    parser.add_argument("--batches", default="1,32", help="images at once")
    parser.add_argument("--data", help="what prepare_data made, to compare answers on")
    parser.add_argument("--network", default="resnet50", help="to compare answers of")
    parser.add_argument("--weights", help="of the network; random without")
    parser.add_argument("--photos", help="a folder of JPEGs, to time from bytes on")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.batches.split(",")]
    if arguments.data:
        compare(arguments.network, arguments.weights, arguments.data)
    elif arguments.photos:
        bytes_in(arguments.photos, arguments.rounds, sizes)
    else:
        race(arguments.rounds, sizes)


if __name__ == "__main__":
    main()
