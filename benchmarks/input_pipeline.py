"""How many training images a second are ready for the accelerator, beside peers.

    python -m benchmarks.input_pipeline --data=imagenet_sample/
    python -m benchmarks.input_pipeline --data=cifar10_jpeg_train.tar.gz --small

Every contestant reads the same images for ever, in batches, on all cores:

large images (RandomResizedCrop of 8% to 100% to 224 pixels, and a flip)
    ours            sharded records through pipelines.data.input_pipeline
    ours, packed    the same from records packed to a shorter side of 256, quality 90
    any order       the same views by a shuffle buffer and a map that keep no order
    naive           tf.data: decode all, crop, resize, flip; as tutorials have it
    decode only     tf.data: decode, nothing else; a limit for what decodes all
    torchvision     ImageFolder, transforms.v2 and DataLoader, a worker for each core
small images (pad by 4, crop 32, flip)
    ours, any order, naive, torchvision     likewise

naive and torchvision are timed twice: with batches of uint8, as ours are, and with
normalised floats, as their tutorials and recipes have it.

Each contestant lives in a process of its own, and they are timed in turn, A B C A B C,
so that whatever else the machine does meets all alike; ratios are taken within a round.
Those that wait are stopped, lest they fill their buffers on the others' time.
torchvision is timed if installed: pip install '.[peers]'.
"""

import argparse
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import resource
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import environment

CORES = len(os.sched_getaffinity(0))
LARGE, SMALL = "inception_crop(0.08,1)|flip", "pad_crop(4)|flip"

Batches = Iterator[Any]


def _examples(directory: str) -> Any:
    from pipelines.data.examples import Examples

    return Examples.load(Path(directory))


def _long_epoch(examples: Any) -> Any:
    """Lists the shards often enough for an epoch of at least 10,000 images.

    ImageNet's epochs are long; a few hundred images would time their beginnings.
    """
    from pipelines.data.records import write_blocks

    times = -(-10_000 // examples.counts["train"])
    directory = Path(tempfile.mkdtemp())
    blocks = examples.blocks("train")
    shards, tables = [], []
    for index, shard in enumerate(examples.shards_of("train")):
        (directory / shard.name).symlink_to(examples.directory / shard.name)
        shards += [shard] * times
        tables += [blocks[blocks[:, 0] == index, 1:3]] * times
    write_blocks(directory, "train", tables)
    return dataclasses.replace(
        examples,
        directory=directory,
        shards=tuple(shards),
        counts={"train": examples.counts["train"] * times, "validation": 0},
    )


def ours(directory: str, batch: int, augmentation: str, size: int) -> Batches:
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.data.augmentation import Augmentation
    from pipelines.data.input_pipeline import training_batches

    return iter(
        training_batches(
            _long_epoch(_examples(directory)),
            Preprocessing(crop=size, resize=size),
            Augmentation.parse(augmentation),
            batch,
            range(10**6),
            seed=0,
        ).dataset
    )


def any_order(directory: str, batch: int, augmentation: str, size: int) -> Batches:
    import tensorflow as tf

    from keras_resnet.preprocessing import Preprocessing
    from pipelines.data import records
    from pipelines.data.augmentation import Augmentation

    preprocessing = Preprocessing(crop=size, resize=size)
    operations = Augmentation.parse(augmentation)
    examples = _examples(directory)

    def view(number: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        record = records.parse(serialized)
        seed = tf.stack([tf.constant(0, tf.int64), number])
        image = operations.view(record["image/encoded"], preprocessing, seed)
        return image, record["image/class/label"], seed

    options = tf.data.Options()
    options.deterministic = False
    return iter(
        tf.data.TFRecordDataset(examples.files("train"))
        .repeat()
        .shuffle(min(examples.counts["train"], 10_000))
        .enumerate()
        .map(view, tf.data.AUTOTUNE, deterministic=False)
        .batch(batch)
        .map(
            lambda images, labels, seeds: (
                operations.on_chunk(images, seeds, preprocessing),
                labels,
            ),
            tf.data.AUTOTUNE,
        )
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def naive(
    directory: str, batch: int, augmentation: str, size: int, normalize: bool = False
) -> Batches:
    import tensorflow as tf

    from keras_resnet import preprocess_input
    from pipelines.data import records

    def large(image: tf.Tensor) -> tf.Tensor:
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        return tf.image.resize(tf.slice(image, begin, extent), [size, size])

    def small(image: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize_with_crop_or_pad(image, size + 8, size + 8)
        return tf.image.random_crop(image, [size, size, 3])

    def view(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = records.parse(serialized)
        image = tf.io.decode_jpeg(record["image/encoded"], channels=3)
        image = large(image) if augmentation == LARGE else small(image)
        image = tf.image.random_flip_left_right(image)
        if normalize:
            image = preprocess_input(image, "channels_last", "torch")
        else:
            image = tf.cast(image, tf.uint8)
        return image, record["image/class/label"]

    return iter(
        tf.data.TFRecordDataset(_examples(directory).files("train"))
        .repeat()
        .shuffle(1000)
        .map(view, tf.data.AUTOTUNE)
        .batch(batch)
        .prefetch(tf.data.AUTOTUNE)
    )


def decode_only(directory: str, batch: int, augmentation: str, size: int) -> Batches:
    import tensorflow as tf

    from pipelines.data import records

    def decoded_bytes(serialized: tf.Tensor) -> tf.Tensor:
        encoded = records.parse(serialized)["image/encoded"]
        return tf.size(tf.io.decode_jpeg(encoded, channels=3))

    return iter(
        tf.data.TFRecordDataset(_examples(directory).files("train"))
        .repeat()
        .map(decoded_bytes, tf.data.AUTOTUNE)
        .batch(batch)
        .prefetch(tf.data.AUTOTUNE)
    )


def torchvision(
    folder: str, batch: int, augmentation: str, size: int, normalize: bool = False
) -> Batches:
    import torch

    # torchvision declares operators that a CPU build of PyTorch does not have.
    torch.library.register_fake = lambda *_, **__: lambda function: function
    from torchvision import datasets
    from torchvision.transforms import v2

    crops = {
        LARGE: v2.RandomResizedCrop(size, antialias=True),
        SMALL: v2.RandomCrop(size, padding=4),
    }
    steps = [crops[augmentation], v2.RandomHorizontalFlip(), v2.PILToTensor()]
    if normalize:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    transform = v2.Compose(steps)
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(folder, transform),
        batch_size=batch,
        shuffle=True,
        num_workers=CORES,
        multiprocessing_context="fork",
        persistent_workers=True,
        drop_last=True,
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _serve(connection: Connection, make: Callable[[], Batches], warm_up: int) -> None:
    os.setpgrp()  # With its helpers, so that all can be stopped together.
    environment.prepare()
    batches = make()
    for _ in range(warm_up):
        next(batches)
    connection.send(None)
    while True:
        count = connection.recv()
        begin = time.perf_counter()
        for _ in range(count):
            next(batches)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        connection.send((seconds, peak))


def _unpacked(data: str, folder: Path) -> str:
    """Returns a folder of images, which torchvision needs."""
    import tarfile

    if Path(data).is_dir():
        return data
    with tarfile.open(data) as archive:
        archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return str(inner)


def _ingest(data: str, directory: Path, pack: str) -> str:
    from pipelines.components.example_gen import example_gen

    example_gen(data, directory, validation_share=0.02, max_bad_share=1.0, pack=pack)
    return str(directory)


def _contestants(
    data: str, small: bool, batch: int, scratch: Path
) -> dict[str, Callable[[], Batches]]:
    augmentation, size = (SMALL, 32) if small else (LARGE, 224)
    raw = _ingest(data, scratch / "raw", "")
    settings = (batch, augmentation, size)
    contestants: dict[str, Callable[[], Batches]] = {
        "ours": partial(ours, raw, *settings),
        "any order": partial(any_order, raw, *settings),
        "naive": partial(naive, raw, *settings),
        "naive, floats": partial(naive, raw, *settings, normalize=True),
    }
    if not small:
        packed = _ingest(data, scratch / "packed", "short_side:256,quality:90")
        contestants["ours, packed"] = partial(ours, packed, *settings)
        contestants["decode only"] = partial(decode_only, raw, *settings)
    folder = _unpacked(data, scratch / "images")
    contestants["torchvision"] = partial(torchvision, folder, *settings)
    contestants["torchvision, floats"] = partial(
        torchvision, folder, *settings, normalize=True
    )
    return contestants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a folder or archive of JPEGs")
    parser.add_argument("--small", action="store_true", help="32x32 images")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--images", type=int, default=0, help="in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="names, comma between")
    arguments = parser.parse_args()
    batch = arguments.batch or (128 if arguments.small else 64)
    images = arguments.images or (51_200 if arguments.small else 1024)
    count = max(1, images // batch)

    environment.prepare()
    console = Console()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        contestants = _contestants(
            arguments.data, arguments.small, batch, Path(scratch)
        )
        names = arguments.only.split(",") if arguments.only else list(contestants)
        pipes: dict[str, Connection] = {}
        rates: dict[str, list[float]] = {name: [] for name in names}
        peaks: dict[str, int] = {}
        groups: dict[str, int] = {}
        with contextlib.ExitStack() as started:
            for name in names:
                pipes[name], other = context.Pipe()
                process = context.Process(
                    target=_serve, args=(other, contestants[name], max(2, count // 4))
                )
                process.start()
                groups[name] = process.pid
                started.callback(os.killpg, process.pid, signal.SIGKILL)
                other.close()  # So that the end of the process is noticed.
                pipes[name].recv()
                os.killpg(groups[name], signal.SIGSTOP)
            for _ in range(arguments.rounds):
                for name, pipe in pipes.items():
                    pipe.send(count)
                    os.killpg(groups[name], signal.SIGCONT)
                    seconds, peaks[name] = pipe.recv()
                    os.killpg(groups[name], signal.SIGSTOP)
                    rates[name].append(count * batch / seconds)
        _print(rates, peaks, console)


def _print(
    rates: dict[str, list[float]], peaks: dict[str, int], console: Console
) -> None:
    first = next(iter(rates))
    table = Table(title=f"{CORES} cores, load {os.getloadavg()[0]:.1f} at the end")
    for title in ("", "images/s", "per core", f"{first} is faster by", "peak MiB"):
        table.add_column(title, justify="right")
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(rates[first], values, strict=True)]
        rate = statistics.median(values)
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        table.add_row(
            name,
            f"{rate:,.0f}",
            f"{rate / CORES:,.0f}",
            f"{statistics.median(ratios):.2f}x {spread}",
            f"{peaks[name]:,}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
