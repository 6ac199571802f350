"""How much larger a batch of ResNet-152 fits when it is rematerialised, and its price.

    python -m benchmarks.remat_batch --backend=torch --size=224 --batch=8

One step of SGD with momentum, plain with `--batch` images and rematerialised with one
and a half times as many, each in a process of its own, float32, on the CPU. Prints by
how much each process grew at its peak and the seconds for each image, in turns. Needs
Linux.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.remat_memory import MEBIBYTE, PAGE, run_apart

STAGES = ("conv2", "conv3", "conv4", "conv5")
STEPS = 3


def measure(size: int, batch: int, rematerialized: bool) -> dict[str, float]:
    """Returns the mebibytes that a step added at its peak, and seconds per image."""
    import keras

    import keras_resnet

    model = keras_resnet.ResNet152(weights=None, input_shape=(size, size, 3))
    if rematerialized:
        model = keras_resnet.rematerialize(model, STAGES)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        jit_compile=False,
    )
    images = np.random.default_rng(0).standard_normal((batch, size, size, 3), "float32")
    labels = np.arange(batch)
    # The first step traces and allocates; of one image, it hardly shows in the peak.
    model.train_on_batch(images[:1], labels[:1])
    before = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "mebibytes": (peak - before) / MEBIBYTE,
        "seconds": statistics.median(seconds) / batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="torch", choices=("tensorflow", "torch"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.measure:
        print(json.dumps(measure(*json.loads(flags.measure))))
        return

    batches = {False: flags.batch, True: flags.batch * 3 // 2}
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for _ in track(range(flags.rounds), description="Training"):
        for remat, batch in batches.items():
            arguments = [flags.size, batch, remat]
            found[remat].append(
                run_apart("benchmarks.remat_batch", flags.backend, arguments)
            )
    table = Table(title=f"ResNet-152, {flags.size} pixels, {flags.backend}")
    for column in ("", "batch", "peak of a step, MiB", "seconds for an image"):
        table.add_column(column, justify="right")
    for remat, results in found.items():
        table.add_row(
            "rematerialised" if remat else "plain",
            str(batches[remat]),
            f"{statistics.median(r['mebibytes'] for r in results):.0f}",
            f"{statistics.median(r['seconds'] for r in results):.2f}",
        )
    console = Console()
    console.print(table)
    ratios = {
        name: statistics.median(
            remat[name] / plain[name]
            for plain, remat in zip(found[False], found[True], strict=True)
        )
        for name in ("mebibytes", "seconds")
    }
    console.print(
        f"1.5 times the images in {ratios['mebibytes']:.2f} times the memory, at "
        f"{ratios['seconds']:.2f} times the seconds for each"
    )


if __name__ == "__main__":
    main()
