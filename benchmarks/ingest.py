"""How fast images become records, beside what does the work and beside the disk.

    python -m benchmarks.ingest ../shared/data/cifar10_jpeg_train.tar.gz --images=10000
    python -m benchmarks.ingest ../shared/data/imagenet_sample

The images are laid out as a folder first, so that all read the same files. `threads`, a
pool of as many processes and the local Beam runner ingest them in turn, over the same
functions and to the same bytes; `copy` reads the files and writes them to one, which is
the speed of the disk as far as it is not in memory. The pool's processes have started
before; Beam starts its own for every pipeline, which is part of its time.
`statistics` reads the training records again and measures them, with and without their
pixels.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from pipelines.components import example_gen as component
from pipelines.components.example_gen import example_gen
from pipelines.data.examples import Examples
from pipelines.data.quality.statistics import summarize
from pipelines.data.reading import Blocks
from pipelines.data.sources import open_source

MIB = 2**20


class Processes:
    """An executor of as many processes as there are processors."""

    def __init__(self) -> None:
        workers = len(os.sched_getaffinity(0))
        # TensorFlow does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context)
        list(self._pool.map(_import, range(4 * workers)))

    def map(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[Any]:
        return self._pool.map(function, tasks)


def _import(_: int) -> None:
    from pipelines.data.images import inspect
    from pipelines.data.sources.embedded import Drawings

    inspect([image.content.read() for image in Drawings("20")])


def lay_out(data: str, folder: Path, images: int) -> list[Path]:
    """Writes the first images of a source as files, in folders of classes."""
    taken = itertools.islice(open_source(data), images) if images else open_source(data)
    paths = []
    for number, image in enumerate(taken):
        path = folder / image.class_name / f"{number}{Path(image.name).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.content.read())
        paths.append(path)
    return paths


def copy(paths: list[Path], target: Path) -> None:
    """Reads files and writes them to one."""
    with target.open("wb") as file:
        for path in paths:
            file.write(path.read_bytes())


def main() -> None:
    """Prints a line for each contestant and check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="anything that --data takes")
    parser.add_argument("--images", type=int, default=0, help="take only so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shard_mib", type=int, default=8)
    parser.add_argument("--contestants", default="threads,processes,beam")
    flags = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        paths = lay_out(flags.data, root / "photos", flags.images)
        mebibytes = sum(path.stat().st_size for path in paths) / MIB
        number = itertools.count()

        def ingest(check: str, beam_args: str | None = None) -> None:
            example_gen(
                str(root / "photos"),
                root / f"out-{next(number)}",
                shard_bytes=flags.shard_mib * MIB,
                check=check,
                beam_args=beam_args,
            )

        def ingest_in_processes(check: str) -> None:
            with mock.patch.object(component, "Threads", lambda _: processes):
                ingest(check)

        wanted = flags.contestants.split(",")
        processes = Processes() if "processes" in wanted else None
        contestants: dict[str, Callable[[], None]] = {
            "copy": lambda: copy(paths, root / f"copy-{next(number)}")
        }
        for check in ("full", "header"):
            known = {
                "threads": lambda check=check: ingest(check),
                "processes": lambda check=check: ingest_in_processes(check),
                "beam": lambda check=check: ingest(check, beam_args=""),
            }
            contestants |= {f"{name}, {check}": known[name] for name in wanted}

        def measure(most_decoded: int) -> None:
            examples = Examples.load(next(root.glob("out-*")))
            summarize(Blocks.of(examples, "train"), most_decoded)

        contestants["statistics, records"] = lambda: measure(0)
        contestants["statistics, pixels"] = lambda: measure(len(paths))

        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(1 + flags.rounds):
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)

    processors = len(os.sched_getaffinity(0))
    print(f"{len(paths):,} images, {mebibytes:.0f} MiB, {processors} processors")
    print("with its check, its seconds as a multiple of those of threads last:")
    # The first round of each warms up.
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        reference = medians.get(f"threads, {name.partition(', ')[2]}", median)
        print(
            f"{name:20} {median:7.2f} s {len(paths) / median:9,.0f} images/s "
            f"{mebibytes / median:7.1f} MiB/s {median / reference:7.2f}"
        )


if __name__ == "__main__":
    main()
