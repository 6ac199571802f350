"""The runtimes of other formats: a file in, a function from images to answers out."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# uint8 `(batch, size, size, 3)` in, probabilities `(batch, classes)` out.
Runner = Callable[[np.ndarray], np.ndarray]


def answers(run: Runner, images: np.ndarray) -> np.ndarray:
    """Returns probabilities `(images, classes)`, asked for in batches."""
    return np.concatenate([run(batch) for batch in batches(images)])


def batches(images: np.ndarray, size: int = 32) -> Iterator[np.ndarray]:
    """Gives images in batches, the last of which may be smaller."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def load_onnx(path: Path) -> Runner:
    """Loads a file with ONNX Runtime, for processors."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return lambda images: session.run(None, {entry.name: images})[0]


def load_openvino(path: Path) -> Runner:
    """Loads a file with OpenVINO, for processors."""
    import openvino

    # Left alone, OpenVINO computes in bfloat16 where the processor can.
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", exactly)
    own = threading.local()

    def run(images: np.ndarray) -> np.ndarray:
        # A request of OpenVINO's serves one thread at a time.
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer([images])[0]

    return run


def load_litert(path: Path) -> Runner:
    """Loads a file with LiteRT, for processors."""
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


def load_stablehlo(path: Path) -> Runner:
    """Loads a file with JAX, for processors: TensorFlow has the GPUs."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    call = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)
    return lambda images: np.asarray(call(images))
