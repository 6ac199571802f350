"""How long `import keras_resnet` takes beside `import keras`.

    python -m benchmarks.import_time --backend=jax

Each import is timed in a process of its own, which has imported Keras before. Bytecode
is written first, as pip does where it installs. Prints medians over the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

PROGRAM = """
import time
start = time.perf_counter()
import keras
between = time.perf_counter()
import keras_resnet
print(between - start, time.perf_counter() - between)
"""


def seconds(environment: dict[str, str]) -> tuple[float, float]:
    """Times both imports in a new process."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    keras, ours = map(float, result.stdout.split())
    return keras, ours


def main() -> None:
    """Prints how long each takes, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "KERAS_BACKEND": arguments.backend,
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": folder,
        }
        seconds(environment)
        rounds = [seconds(environment) for _ in range(arguments.rounds)]
    keras, ours = map(statistics.median, zip(*rounds, strict=True))
    print(
        f"{arguments.backend}: keras {keras:.2f} s, keras_resnet {ours:.3f} s more, "
        f"{ours / keras:.3f} of it"
    )


if __name__ == "__main__":
    main()
