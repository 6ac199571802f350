"""A network as StableHLO, by `jax.export`, in a process in which Keras runs on JAX.

python -m pipelines.serving.stablehlo NETWORK.keras FILE
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import numpy as np

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write_stablehlo(
    network: "keras.Model", path: Path, images: "np.ndarray | None" = None
) -> None:
    """Writes what `jax.export.deserialize` reads, for batches of any size.

    Its weights are constants; it runs on CPUs, GPUs and TPUs, without Keras.

    Args:
        network: Of layers of Keras and keras_resnet.
        path: The file.
        images: Ignored.
    """
    del images
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "network.keras")
        network.save(saved)
        # A process has one backend. This one computes nothing, so does not optimise.
        settings = {
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        subprocess.run(
            [sys.executable, "-m", __name__, saved, path],
            env=os.environ | settings,
            check=True,
        )


def _main(saved: str, path: str) -> None:
    import jax
    import keras

    from keras_resnet import structure

    structure.allow_recursion(10_000)
    network = keras.saving.load_model(saved, compile=False)
    (batch,) = jax.export.symbolic_shape("batch")
    (_, *shape), dtype = network.input_shape, network.input.dtype
    exported = jax.export.export(
        jax.jit(lambda pixels: network(pixels, training=False)), platforms=_PLATFORMS
    )(jax.ShapeDtypeStruct((batch, *shape), dtype))
    Path(path).write_bytes(exported.serialize())


if __name__ == "__main__":
    _main(*sys.argv[1:])
