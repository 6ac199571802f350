"""How long networks take to build: ResNet-152 beside its peer's, and ResNet-1202.

    python -m benchmarks.build_time

Building is making the `keras.Model` with random weights. ResNet-152 and
`keras.applications.ResNet152` are built in turn, in one process that has built both
before; the ratios are those of the medians. Ours draws its weights from a Gaussian
(1502.01852), the peer from a uniform distribution, which is drawn faster: ours is also
built with the peer's. ResNet-1202 is built in a process of its own, after a ResNet-20,
so that the growth of the process' greatest memory is its own.
"""

import argparse
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

DEEP = "resnet1202"
OURS, THEIRS = "keras_resnet", "keras.applications"


def seconds(build: Callable[[], object]) -> float:
    """Times one build."""
    start = time.perf_counter()
    build()
    return time.perf_counter() - start


def compare(rounds: int) -> dict[str, float]:
    """Medians of the seconds that each ResNet-152 takes."""
    import keras

    import keras_resnet

    uniform = keras_resnet.Settings(kernel_initializer="glorot_uniform")
    contestants = {
        OURS: functools.partial(keras_resnet.ResNet152, weights=None),
        f"{OURS}, uniform": functools.partial(
            keras_resnet.ResNet152, weights=None, settings=uniform
        ),
        THEIRS: functools.partial(keras.applications.ResNet152, weights=None),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(1 + rounds):
        for name, build in contestants.items():
            keras.backend.clear_session()
            times[name].append(seconds(build))
    # The first of each warms up.
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def build_deep() -> dict[str, float]:
    """Seconds and mebibytes of memory that building the deepest network takes here."""
    import keras_resnet

    keras_resnet.create("resnet20")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = seconds(lambda: keras_resnet.create(DEEP))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": taken, "peak": after / 1024, "growth": (after - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="builds of each")
    parser.add_argument("--deep", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.deep:
        print(json.dumps(build_deep()))
        return

    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {cores} cores, load {load:.2f}")

    # First, while this process is small: a child inherits its parent's greatest memory.
    command = [sys.executable, "-m", "benchmarks.build_time", "--deep"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    deep = json.loads(answer.splitlines()[-1])
    print(
        f"{DEEP}: {deep['seconds']:.1f} s; peak memory {deep['peak']:,.0f} MiB, "
        f"{deep['growth']:,.0f} MiB more than with ResNet-20 alone"
    )

    medians = compare(arguments.rounds)
    for name, median in medians.items():
        ratio = median / medians[THEIRS]
        print(f"ResNet-152 of {name:24} {median:6.2f} s, {ratio:.2f} of {THEIRS}'s")


if __name__ == "__main__":
    main()
