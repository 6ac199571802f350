"""What computes a version of a model."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.folders import read_values
from pipelines.data.preprocessing import resize_and_crop
from pipelines.errors import UserError
from pipelines.serving.formats import FORMATS, PREPROCESSING
from pipelines.serving.server.batching import Arrays, Run
from pipelines.serving.signatures import (
    BYTES_SIGNATURE,
    FLOATS_SIGNATURE,
    TOP_K,
    VALID_SIGNATURE,
    decoded,
)
from pipelines.serving.versions import version_problems
from pipelines.serving.warmup import read_warmup, warmup_requests

PREDICT_METHOD = "tensorflow/serving/predict"
"""By TF Serving's rule, of a signature that predicts."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A version that is ready to answer.

    Args:
        signatures: What it answers to.
        run: Computes; several threads may call it.
        close: Gives its memory back.
    """

    signatures: dict[str, meta_graph_pb2.SignatureDef]
    run: Run
    close: Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Engine:
    """A runtime.

    Args:
        file: By which a version is known to be for it.
        package: What it imports.
        load: Loads a version, not yet warm.
    """

    file: str
    package: str
    load: Callable[[Path], Loaded]


def load(version: Path, engine: str = "") -> Loaded:
    """Loads a version and lets it answer once to what it will be asked.

    Args:
        version: Its folder.
        engine: A key of `ENGINES`; empty for the one that its files are for.

    Raises:
        UserError: If it is damaged or for another engine, or a package is missing.

    Example:

    >>> loaded = load(Path("runs/demo/serving/resnet20/1"))
    >>> loaded.run("serving_default", {"image_bytes": images})["classes"]
    """
    for problem in version_problems(version):
        raise UserError(problem)
    fitting = [name for name in ENGINES if (version / ENGINES[name].file).is_file()]
    if not fitting or engine and engine not in fitting:
        wanted = [ENGINES[engine]] if engine else ENGINES.values()
        raise UserError(
            f"{version} holds no {' or '.join(each.file for each in wanted)}"
        )
    chosen = ENGINES[engine or fitting[0]]
    if importlib.util.find_spec(chosen.package) is None:
        raise UserError(
            f"{version} takes the package {chosen.package}; install the extra `export` "
            "(pip install '.[export]')"
        )
    return chosen.load(version)


def _load_saved_model(version: Path) -> Loaded:
    # As TF Serving does: a session, which also gives all of its memory back.
    tf1 = tf.compat.v1
    graph = tf.Graph()
    session = tf1.Session(graph=graph)
    try:
        with graph.as_default():
            loaded = tf1.saved_model.loader.load(session, ["serve"], str(version))
        graph.finalize()
        signatures = {
            name: signature
            for name, signature in loaded.signature_def.items()
            if signature.method_name == PREDICT_METHOD
        }

        def run(name: str, inputs: Arrays) -> Arrays:
            signature = signatures[name]
            outputs = {key: info.name for key, info in signature.outputs.items()}
            fed = {signature.inputs[key].name: value for key, value in inputs.items()}
            return session.run(outputs, fed)

        for request in read_warmup(version):
            _warm(run, request)
    except BaseException:
        session.close()
        raise
    return Loaded(signatures, run, session.close)


def _load_exported(to: str) -> Callable[[Path], Loaded]:
    def load_version(version: Path) -> Loaded:
        with read_values(
            version / PREPROCESSING,
            missing=f"{version} does not say how to prepare images (no "
            f"{PREPROCESSING}); export it again",
            mend="export it again",
        ) as values:
            preprocessing = Preprocessing(**values)
        labels = (version / "labels.txt").read_bytes().splitlines()
        names = np.array(labels, object)
        top_k = min(TOP_K, len(names))
        network = FORMATS[to].load(version / FORMATS[to].file)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def of_bytes(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return decoded(image_bytes, preprocessing)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def of_floats(images: tf.Tensor) -> tf.Tensor:
            return resize_and_crop(images, preprocessing)

        def run(name: str, inputs: Arrays) -> Arrays:
            (given,) = (tf.constant(array) for array in inputs.values())
            if name == FLOATS_SIGNATURE:
                return answer(of_floats(given).numpy())
            images, valid = (tensor.numpy() for tensor in of_bytes(given))
            if name == VALID_SIGNATURE:
                return {"valid": valid}
            told = answer(images)
            told["classes"][~valid] = b""
            told["probabilities"][~valid] = 0
            return {**told, "valid": valid}

        def answer(images: np.ndarray) -> Arrays:
            scores = network(images)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
            probabilities = np.take_along_axis(scores, best, axis=1)
            return {"classes": names[best], "probabilities": probabilities}

        answers = {
            "classes": tf.TensorSpec([None, top_k], tf.string),
            "probabilities": tf.TensorSpec([None, top_k]),
        }
        encoded = {"image_bytes": tf.TensorSpec([None], tf.string)}
        valid = {"valid": tf.TensorSpec([None], tf.bool)}
        floats = {"images": tf.TensorSpec([None, None, None, 3])}
        signatures = {
            BYTES_SIGNATURE: _signature(encoded, answers | valid),
            FLOATS_SIGNATURE: _signature(floats, answers),
            VALID_SIGNATURE: _signature(encoded, valid),
        }
        for request in warmup_requests(preprocessing.size):
            if request.model_spec.signature_name in signatures:
                _warm(run, request)
        return Loaded(signatures, run, lambda: None)

    return load_version


def _warm(run: Run, request: Any) -> None:
    inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
    run(request.model_spec.signature_name or BYTES_SIGNATURE, inputs)


def _signature(
    inputs: dict[str, tf.TensorSpec], outputs: dict[str, tf.TensorSpec]
) -> meta_graph_pb2.SignatureDef:
    """Returns what a SavedModel would say of its tensors."""
    told = meta_graph_pb2.SignatureDef(method_name=PREDICT_METHOD)
    for specs, infos in ((inputs, told.inputs), (outputs, told.outputs)):
        for name, spec in specs.items():
            infos[name].name = name
            infos[name].dtype = spec.dtype.as_datatype_enum
            infos[name].tensor_shape.CopyFrom(spec.shape.as_proto())
    return told


ENGINES = {
    "tensorflow": Engine("saved_model.pb", "tensorflow", _load_saved_model),
    "openvino": Engine(
        FORMATS["openvino"].file, "openvino", _load_exported("openvino")
    ),
    "onnxruntime": Engine(FORMATS["onnx"].file, "onnxruntime", _load_exported("onnx")),
}
"""The engines by the names that `--engine` takes."""
