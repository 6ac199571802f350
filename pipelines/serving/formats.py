"""Formats of others that a network is exported to, each with the runtime that reads it.

What is written takes uint8 `(batch, size, size, 3)`, RGB, and gives probabilities
`(batch, classes)`. The converters are the formats' own; Keras calls most of them.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipelines.serving.quantizers import (
    int8,
    quantize_litert,
    quantize_onnx,
    quantize_openvino,
)
from pipelines.serving.runtimes import (
    Runner,
    load_litert,
    load_onnx,
    load_openvino,
    load_stablehlo,
)
from pipelines.serving.stablehlo import write_stablehlo

PREPROCESSING = "preprocessing.json"
"""The file beside an export that says how its images come about."""

# A network, the file to write, and training images, of which only int8 takes any. What
# comes back is how many of the first convolutions int8 leaves in float32, else None.
Writer = Callable[[keras.Model, Path, np.ndarray], int | None]


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Args:
        file: The name of the file that is written.
        packages: What its writers and its reader import.
        writers: What writes it, by the precision of its numbers.
        load: Loads what was written, with the format's own runtime.
        extra: Of this distribution, which installs the packages.
    """

    file: str
    packages: tuple[str, ...]
    writers: dict[str, Writer]
    load: Callable[[Path], Runner]
    extra: str = "export"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An export beside the network that was evaluated, on validation images.

    Args:
        images: How many.
        largest_difference: Of two probabilities.
        top1_agreement: Share of images that get the same class.
        top1_error: The network's share of wrong classes.
        exported_top1_error: The export's.
        float_convolutions: How many of its first convolutions an export in int8
            computes in float32, so that it answers as the network does; None for
            others.
    """

    images: int
    largest_difference: float
    top1_agreement: float
    top1_error: float
    exported_top1_error: float
    float_convolutions: int | None = None


def _by_keras(name: str) -> Writer:
    def write(network: keras.Model, path: Path, images: np.ndarray) -> None:
        del images
        network.export(str(path), format=name, verbose=False)

    return write


def _openvino_float16(network: keras.Model, path: Path, images: np.ndarray) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.xml")
        network.export(str(plain), format="openvino", verbose=False)
        openvino.save_model(openvino.Core().read_model(plain), path)


def _litert_float16(network: keras.Model, path: Path, images: np.ndarray) -> None:
    network.export(
        str(path),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        target_spec={"supported_types": [tf.float16]},
    )


FORMATS = {
    "onnx": Format(
        "model.onnx",
        ("tf2onnx", "onnxruntime"),
        {"float32": _by_keras("onnx"), "int8": int8(quantize_onnx, load_onnx)},
        load_onnx,
    ),
    "openvino": Format(
        "model.xml",
        ("openvino", "nncf"),
        {
            "float32": _by_keras("openvino"),
            "float16": _openvino_float16,
            "int8": int8(quantize_openvino, load_openvino),
        },
        load_openvino,
    ),
    "litert": Format(
        "model.tflite",
        ("ai_edge_litert",),
        {
            "float32": _by_keras("litert"),
            "float16": _litert_float16,
            "int8": int8(quantize_litert, load_litert),
        },
        load_litert,
    ),
    "stablehlo": Format(
        "model.jax_export",
        ("jax",),
        {"float32": write_stablehlo},
        load_stablehlo,
        extra="jax",
    ),
}
"""The formats by the names that `--format` takes."""
