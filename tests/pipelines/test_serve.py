"""The server, asked with TF Serving's own messages and in its REST."""

import base64
import json

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from serving_process import save_half_plus_two, served
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipelines.serving.server.configuration import ModelConfig
from pipelines.serving.signatures import BYTES_SIGNATURE


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory):
    path = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus_two(path / "1")
    return path


@pytest.fixture(scope="module")
def server(tiny_version, half_plus_two):
    with served(
        ModelConfig("resnet20", tiny_version.parent),
        ModelConfig("half", half_plus_two, labels=(("stable", 1),)),
    ) as running:
        yield running


def post(server, path, body):
    data = body if isinstance(body, bytes) else json.dumps(body)
    response = requests.post(f"{server.rest}/v1/models/{path}", data=data)
    return response.status_code, response.json()


def test_documented_example(server):
    """The one of https://www.tensorflow.org/tfx/serving/api_rest."""
    status, answer = post(server, "half:predict", {"instances": [1.0, 2.0, 5.0]})
    assert (status, answer) == (200, {"predictions": [2.5, 3.0, 4.5]})
    status, answer = post(server, "half:predict", {"inputs": {"x": [1.0, 2.0]}})
    assert (status, answer) == (200, {"outputs": [2.5, 3.0]})
    response = requests.get(f"{server.rest}/v1/models/half")
    assert response.json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_grpc_predict(server, tiny_version, photos):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "resnet20"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(photos))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=10)
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == BYTES_SIGNATURE
    expected = tf.saved_model.load(tiny_version).signatures[BYTES_SIGNATURE](
        image_bytes=tf.constant(photos)
    )
    for name, values in expected.items():
        found = tf.make_ndarray(answer.outputs[name])
        if found.dtype == np.float32:
            np.testing.assert_allclose(found, values, rtol=1e-4)
        else:
            np.testing.assert_array_equal(found, values)


@pytest.fixture(scope="module")
def photos():
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), np.uint8)
    return [tf.io.encode_jpeg(image).numpy() for image in images]


def test_both_protocols_answer_alike(server, photos):
    rows = [{"b64": base64.b64encode(each).decode()} for each in [*photos, b"no"]]
    _, by_rows = post(server, "resnet20:predict", {"instances": rows})
    _, by_columns = post(
        server, "resnet20/versions/1:predict", {"inputs": {"image_bytes": rows}}
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "resnet20"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([*photos, b"no"]))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=10).outputs
    assert by_columns["outputs"]["valid"] == [True] * 3 + [False]
    for name, column in by_columns["outputs"].items():
        assert column == [row[name] for row in by_rows["predictions"]]
        message = tf.make_ndarray(answer[name])
        texts = message.astype(str) if message.dtype == object else message
        assert column == texts.tolist()


def test_status_and_metadata_of_both(server):
    with grpc.insecure_channel(server.grpc) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "half"
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = stub.GetModelStatus(request).model_version_status
        assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "half"
        request.metadata_field.append("signature_def")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    info = signatures.signature_def["serving_default"].inputs["x"]
    assert info.dtype == tf.float32.as_datatype_enum
    told = requests.get(f"{server.rest}/v1/models/half/metadata").json()
    assert told["model_spec"]["version"] == "1"
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_health(server):
    for path in ("healthz", "readyz", "monitoring/prometheus/metrics"):
        assert requests.get(f"{server.rest}/{path}").status_code == 200
