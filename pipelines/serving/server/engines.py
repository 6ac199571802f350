"""What computes a version of a model."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.folders import read_values
from pipelines.errors import UserError
from pipelines.serving.formats import FORMATS, PREPROCESSING
from pipelines.serving.runtimes import Runner
from pipelines.serving.server.batching import Arrays, Run
from pipelines.serving.signatures import (
    BYTES_SIGNATURE,
    FLOATS_SIGNATURE,
    TOP_K,
    VALID_SIGNATURE,
    Classifier,
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


class _Exported:
    """A network in another runtime, in the place of one in Keras."""

    variables = ()

    def __init__(self, run: Runner, classes: int) -> None:
        self._run = run
        self._classes = classes

    def __call__(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, None]:
        del training
        probabilities = tf.numpy_function(self._run, [images], tf.float32)
        return tf.ensure_shape(probabilities, (None, self._classes)), None


def _load_exported(to: str) -> Callable[[Path], Loaded]:
    def load_version(version: Path) -> Loaded:
        with read_values(
            version / PREPROCESSING,
            missing=f"{version} does not say how to prepare images (no "
            f"{PREPROCESSING}); export it again",
            mend="export it again",
        ) as values:
            preprocessing = Preprocessing(**values)
        labels = version / "labels.txt"
        classes = len(labels.read_text(encoding="utf-8").splitlines())
        kind = FORMATS[to]
        network = _Exported(kind.load(version / kind.file), classes)
        classifier = Classifier(network, preprocessing, labels, min(TOP_K, classes))
        functions = {
            BYTES_SIGNATURE: classifier.classify_bytes.get_concrete_function(),
            FLOATS_SIGNATURE: classifier.classify_images.get_concrete_function(),
            VALID_SIGNATURE: classifier.check_bytes.get_concrete_function(),
        }

        def run(name: str, inputs: Arrays) -> Arrays:
            (array,) = inputs.values()
            answer = functions[name](tf.constant(array))
            return {key: value.numpy() for key, value in answer.items()}

        for request in warmup_requests(preprocessing.size):
            if request.model_spec.signature_name in functions:
                _warm(run, request)
        signatures = {name: _signature(each) for name, each in functions.items()}
        return Loaded(signatures, run, functions.clear)

    return load_version


def _warm(run: Run, request: Any) -> None:
    inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
    run(request.model_spec.signature_name or BYTES_SIGNATURE, inputs)


def _signature(function: Any) -> meta_graph_pb2.SignatureDef:
    """Returns what a SavedModel would say of a function."""
    told = meta_graph_pb2.SignatureDef(method_name=PREDICT_METHOD)
    inputs = {tensor.op.name: tensor for tensor in function.inputs[:1]}
    for tensors, named in (
        (inputs, told.inputs),
        (function.structured_outputs, told.outputs),
    ):
        for name, tensor in tensors.items():
            named[name].name = name
            named[name].dtype = tensor.dtype.as_datatype_enum
            named[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return told


ENGINES = {
    "tensorflow": Engine("saved_model.pb", "tensorflow", _load_saved_model),
    "openvino": Engine(
        FORMATS["openvino"].file, "openvino", _load_exported("openvino")
    ),
    "onnxruntime": Engine(FORMATS["onnx"].file, "onnxruntime", _load_exported("onnx")),
}
"""The engines by the names that `--engine` takes."""
