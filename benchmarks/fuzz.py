"""Sends damaged images and records through ingest and the input pipeline.

    python -m benchmarks.fuzz --cases=10000

Mutated images (`tests/pipelines/mutations.py`) go through `inspect`, by header and in
full, and what it accepts through `decode`, `upright` and `pack`; then all of them go
through `example_gen` and an epoch of training batches; then mutated shards through the
latter. Each part runs in processes with limits of memory and time. Printed are how many
were decoded or reported, the slowest case, and the greatest memory. The exit status is
1 if a process crashed, hung or needed more, or if an answer was wrong; that case can be
repeated with `--first=NUMBER --cases=1`.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from typing import Any

import numpy as np

from tests.pipelines.mutations import MUTATIONS, mutants

PER_PROCESS = 1_000  # Cases.
SECONDS_PER_CASE = 20
DATA_GIB = 3  # A process' heap; TensorFlow alone takes about 0.5.


def images(first: int, count: int, seed: int, progress: pathlib.Path) -> dict[str, Any]:
    """Inspects and decodes mutated images."""
    import tensorflow as tf

    from pipelines.data.images import decode, inspect
    from pipelines.data.packing import Packing, upright

    packing = Packing(short_side=16)
    used, slowest = 0, (0.0, first)
    for number, image in enumerate(mutants(count, seed, first), start=first):
        progress.write_text(str(number))
        start = time.perf_counter()
        (by_header,) = inspect([image], check="header")
        (facts,) = inspect([image])
        if facts.problem is None:
            # A frame that claims to be huge may lie behind where the decoder gives up.
            assert by_header == facts or facts.format == "GIF"
            assert decode(tf.constant(image)).shape[:2] == (facts.height, facts.width)
            for made in (upright(image), packing.pack(image)):
                assert inspect([made])[0].problem is None
        slowest = max(slowest, (time.perf_counter() - start, number))
        used += facts.problem is None
    return {"decoded": used, "reported": count - used, "slowest": slowest}


def ingest(first: int, count: int, seed: int, progress: pathlib.Path) -> dict[str, Any]:
    """Ingests mutated images among drawings, and reads an epoch of what was kept."""
    from pipelines.components.example_gen import example_gen
    from pipelines.data.drawings import draw

    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data.zip")
        with zipfile.ZipFile(data, "w") as archive:
            for number, drawing in enumerate(draw(64, 0)):
                archive.writestr(f"{number % 2}/drawing{number}.png", drawing.image)
            for number, image in enumerate(mutants(count, seed, first)):
                archive.writestr(f"{number % 2}/mutant{number}.jpg", image)
        examples = example_gen(
            str(data), pathlib.Path(folder, "examples"), max_bad_share=1
        )
        read = _epoch(examples)
    used = sum(examples.counts.values())
    assert used + len(examples.skipped) == 64 + count
    assert read == examples.counts["train"]
    return {"decoded": used - 64, "reported": len(examples.skipped)}


def shards(first: int, count: int, seed: int, progress: pathlib.Path) -> dict[str, Any]:
    """Reads an epoch of shards that were mutated after they had been written."""
    import tensorflow as tf

    from pipelines.components.example_gen import example_gen
    from pipelines.errors import UserError

    whole = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        examples = example_gen("drawings:40", pathlib.Path(folder, "examples"))
        path = pathlib.Path(examples.files("train")[0])
        shard = path.read_bytes()
        for number in range(first, first + count):
            progress.write_text(str(number))
            rng = np.random.default_rng((seed, number))
            mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
            path.write_bytes(mutate(shard, rng, shard))
            try:
                whole += _epoch(examples) == examples.counts["train"]
            except (UserError, tf.errors.OpError):
                refused += 1
    return {"decoded": whole, "reported": refused}


PARTS = {"images": images, "ingest": ingest, "shards": shards}


def _epoch(examples: Any) -> int:
    """Reads every training image once; returns how many came."""
    from keras_resnet.preprocessing import Preprocessing
    from pipelines.data.augmentation import Augmentation
    from pipelines.data.input_pipeline import training_batches

    augmentation = Augmentation.parse("inception_crop|flip")
    batches = training_batches(
        examples, Preprocessing(crop=16, resize=18), augmentation, 1, range(1), 0,
        max_bad_share=1,
    )  # fmt: skip
    return sum(len(labels) for _, labels in batches.dataset)


def work(part: str, first: int, count: int, seed: int, progress: pathlib.Path) -> None:
    """Does a part in this process, and prints what came of it."""
    limit = DATA_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    result = PARTS[part](first, count, seed, progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**result, "peak_mib": peak // 1024}))


def supervise(part: str, cases: int, first: int, seed: int) -> bool:
    """Does a part in processes of its own; returns whether all went well."""
    totals: dict[str, Any] = {"decoded": 0, "reported": 0}
    slowest, peak, failures = (0.0, first), 0, 0
    begin = time.perf_counter()
    for start in range(first, first + cases, PER_PROCESS):
        count = min(PER_PROCESS, first + cases - start)
        with tempfile.TemporaryDirectory() as folder:
            progress = pathlib.Path(folder, "case")
            command = [sys.executable, "-m", "benchmarks.fuzz", f"--worker={part}"]
            command += [f"--first={start}", f"--cases={count}", f"--seed={seed}"]
            try:
                done = subprocess.run(
                    [*command, f"--progress={progress}"],
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
                    capture_output=True,
                    text=True,
                    timeout=120 + SECONDS_PER_CASE * count,
                )
                result = json.loads(done.stdout) if done.returncode == 0 else None
                why = f"exit status {done.returncode}: {done.stderr[-2000:]}"
            except subprocess.TimeoutExpired:
                result, why = None, "no end"
            if result is None:
                failures += 1
                number = progress.read_text() if progress.exists() else "unknown"
                print(f"{part}: case {number} of seed {seed}: {why}")
                continue
        for key in totals:
            totals[key] += result[key]
        slowest = max(slowest, tuple(result.get("slowest", slowest)))
        peak = max(peak, result["peak_mib"])
    print(
        f"{part:7} {cases:6} cases: {totals['decoded']} decoded, {totals['reported']} "
        f"reported, {failures} failures; peak {peak} MiB; "
        f"{time.perf_counter() - begin:.0f} s"
        + (f"; slowest {slowest[0]:.2f} s (case {slowest[1]})" if slowest[0] else "")
    )
    return not failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="mutated images")
    parser.add_argument("--shards", type=int, default=100, help="mutated shards")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    first, seed = arguments.first, arguments.seed
    if arguments.worker:
        work(arguments.worker, first, arguments.cases, seed, arguments.progress)
        return
    cases = {part: arguments.cases for part in PARTS} | {"shards": arguments.shards}
    if not all([supervise(part, cases[part], first, seed) for part in PARTS]):
        sys.exit(1)


if __name__ == "__main__":
    main()
