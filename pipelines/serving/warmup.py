"""Requests that TF Serving sends itself before a version is live.

Without them the first users wait while TensorFlow makes its kernels ready.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines.serving.signatures import (
    BYTES_SIGNATURE,
    FEATURES_SIGNATURE,
    FLOATS_SIGNATURE,
    VALID_SIGNATURE,
)

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
"""Where a version keeps them, by TF Serving's rule."""


def warmup_requests(size: int) -> Iterator[predict_pb2.PredictRequest]:
    """Gives one request for each signature that is asked under load.

    Args:
        size: Height and width of the image in them, in pixels.

    Example:

    >>> [request.model_spec.signature_name for request in warmup_requests(32)]
    ['serving_default', 'serving_features', 'serving_images', ...]
    """
    image = tf.fill([size, size, 3], 128)
    encoded = tf.io.encode_jpeg(tf.cast(image, tf.uint8))
    floats = tf.cast(image, tf.float32)
    inputs = {
        BYTES_SIGNATURE: ("image_bytes", encoded),
        FEATURES_SIGNATURE: ("image_bytes", encoded),
        FLOATS_SIGNATURE: ("images", floats),
        VALID_SIGNATURE: ("image_bytes", encoded),
    }
    for signature, (name, value) in inputs.items():
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value[None]))
        yield request


def write_warmup(version: Path, size: int) -> None:
    """Writes these requests.

    Args:
        version: The folder of a SavedModel.
        size: Height and width of the image in them, in pixels.

    Example:

    >>> write_warmup(Path("runs/demo/serving/resnet20/1"), 32)
    """
    path = version / WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in warmup_requests(size):
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def read_warmup(version: Path) -> Iterator[predict_pb2.PredictRequest]:
    """Gives the requests to predict that a version keeps, none if it keeps none.

    Raises:
        tf.errors.OpError: If they cannot be read.
    """
    path = version / WARMUP
    if path.exists():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.HasField("predict_log"):
                yield log.predict_log.request
