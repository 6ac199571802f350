"""Formats of others that a network is exported to, each with the runtime that reads it.

What is written takes uint8 `(batch, size, size, 3)`, RGB, and gives probabilities
`(batch, classes)`. The converters are the formats' own; Keras calls most of them.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

PREPROCESSING = "preprocessing.json"
"""The file beside an export that says how its images come about."""

# uint8 `(batch, size, size, 3)` in, probabilities `(batch, classes)` out.
Runner = Callable[[np.ndarray], np.ndarray]
# A network, the file to write, and images to calibrate by.
Writer = Callable[[keras.Model, Path, np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Args:
        file: The name of the file that is written.
        packages: What its writers and its reader import.
        writers: What writes it, by the precision of its numbers.
        load: Loads what was written, with the format's own runtime.
    """

    file: str
    packages: tuple[str, ...]
    writers: dict[str, Writer]
    load: Callable[[Path], Runner]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An export beside the network that was evaluated, on validation images.

    Args:
        images: How many.
        largest_difference: Of two probabilities.
        top1_agreement: Share of images that get the same class.
        top1_error: The network's share of wrong classes.
        exported_top1_error: The export's.
    """

    images: int
    largest_difference: float
    top1_agreement: float
    top1_error: float
    exported_top1_error: float


def batches(images: np.ndarray, size: int = 32) -> Iterator[np.ndarray]:
    """Gives images in batches, the last of which may be smaller."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _by_keras(name: str) -> Writer:
    def write(network: keras.Model, path: Path, images: np.ndarray) -> None:
        del images
        network.export(str(path), format=name, verbose=False)

    return write


def _onnx_int8(network: keras.Model, path: Path, images: np.ndarray) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    calibration = ({network.input.name: batch} for batch in batches(images))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(calibration, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, ready = Path(folder, "plain.onnx"), Path(folder, "ready.onnx")
        network.export(str(plain), format="onnx", verbose=False)
        # Symbolic inference fails on a batch of any size, and is for transformers.
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(ready, path, Reader(), per_channel=True)


def _load_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return lambda images: session.run(None, {entry.name: images})[0]


def _openvino_float16(network: keras.Model, path: Path, images: np.ndarray) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.xml")
        network.export(str(plain), format="openvino", verbose=False)
        openvino.save_model(openvino.Core().read_model(plain), path)


def _openvino_int8(network: keras.Model, path: Path, images: np.ndarray) -> None:
    import nncf
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.xml")
        network.export(str(plain), format="openvino", verbose=False)
        quantized = nncf.quantize(
            openvino.Core().read_model(plain),
            nncf.Dataset(list(batches(images, 1))),
            subset_size=len(images),
            # Both are slower to make, and lose less.
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
        )
        openvino.save_model(quantized, path, compress_to_fp16=False)


def _load_openvino(path: Path) -> Runner:
    import openvino

    # Left alone, OpenVINO computes in bfloat16 where the processor can.
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", exactly)
    return lambda images: compiled(images)[0]


def _litert_float16(network: keras.Model, path: Path, images: np.ndarray) -> None:
    network.export(
        str(path),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        target_spec={"supported_types": [tf.float16]},
    )


def _litert_int8(network: keras.Model, path: Path, images: np.ndarray) -> None:
    network.export(
        str(path),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([image] for image in batches(images, 1)),
    )


def _load_litert(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (entry,), (exit,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(entry["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(exit["index"])

    return run


FORMATS = {
    "onnx": Format(
        "model.onnx",
        ("tf2onnx", "onnxruntime"),
        {"float32": _by_keras("onnx"), "int8": _onnx_int8},
        _load_onnx,
    ),
    "openvino": Format(
        "model.xml",
        ("openvino", "nncf"),
        {
            "float32": _by_keras("openvino"),
            "float16": _openvino_float16,
            "int8": _openvino_int8,
        },
        _load_openvino,
    ),
    "litert": Format(
        "model.tflite",
        ("ai_edge_litert",),
        {
            "float32": _by_keras("litert"),
            "float16": _litert_float16,
            "int8": _litert_int8,
        },
        _load_litert,
    ),
}
"""The formats by the names that `--format` takes."""
