"""How the memory of a training step grows with depth, rematerialised and not.

    python -m benchmarks.remat_memory --backend=torch
    python -m benchmarks.remat_memory --backend=tensorflow --depths=20,56,110

Trains CIFAR networks of the paper's section 4.2 (6n + 2 layers, 32x32, float32) for one
step of SGD with momentum 0.9, each in a process of its own, and prints by how much the
process grew at its peak while it did. The exponent is the slope of that over the depth,
in logarithms: 1 is proportional, 0.5 is the square root. Needs Linux.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

PAGE = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE = 2**20


def measure(depth: int, batch: int, rematerialized: bool) -> dict[str, float]:
    """Returns the mebibytes that a step added at its peak, and its seconds."""
    import keras

    import keras_resnet

    blocks = ((depth - 2) // 6,) * 3
    stages = ("conv2", "conv3", "conv4")
    model = keras_resnet.create("resnet20", blocks_per_stage=blocks)
    if rematerialized:
        model = keras_resnet.rematerialize(model, stages)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        jit_compile=False,
    )
    images = np.random.default_rng(0).standard_normal((batch, 32, 32, 3))
    labels = np.arange(batch) % 10
    # The first step traces and allocates; of one image, it hardly shows in the peak.
    model.train_on_batch(images[:1], labels[:1])
    before = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    start = time.perf_counter()
    loss = model.train_on_batch(images, labels)
    seconds = time.perf_counter() - start
    assert np.isfinite(loss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"mebibytes": (peak - before) / MEBIBYTE, "seconds": seconds}


def run_apart(module: str, backend: str, arguments: list) -> dict:
    """Returns what a module's `measure` does, from a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", module, f"--measure={json.dumps(arguments)}"],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            # Freed memory goes back at once, so that the peak is that of what is used.
            "MALLOC_TRIM_THRESHOLD_": "0",
            "MALLOC_MMAP_THRESHOLD_": "65536",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def exponent(depths: list[int], mebibytes: list[float]) -> float:
    """Returns the power of the depth with which memory grows."""
    return float(np.polyfit(np.log(depths), np.log(mebibytes), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="torch", choices=("tensorflow", "torch"))
    parser.add_argument("--depths", default="20,56,110,218", help="6n + 2 each")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.measure:
        print(json.dumps(measure(*json.loads(flags.measure))))
        return

    depths = [int(depth) for depth in flags.depths.split(",")]
    points = [(depth, remat) for depth in depths for remat in (False, True)]
    found = {
        point: run_apart(
            "benchmarks.remat_memory", flags.backend, [point[0], flags.batch, point[1]]
        )
        for point in track(points, description="Training")
    }
    table = Table(title=f"{flags.backend}, batch {flags.batch}: peak of a step, MiB")
    for column in ("depth", "plain", "rematerialised", "plain, s", "rematerialised, s"):
        table.add_column(column, justify="right")
    for depth in depths:
        plain, remat = found[depth, False], found[depth, True]
        table.add_row(
            str(depth),
            *(f"{result['mebibytes']:.0f}" for result in (plain, remat)),
            *(f"{result['seconds']:.1f}" for result in (plain, remat)),
        )
    exponents = [
        exponent(depths, [found[depth, remat]["mebibytes"] for depth in depths])
        for remat in (False, True)
    ]
    table.add_row("exponent", *(f"{value:.2f}" for value in exponents), "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
