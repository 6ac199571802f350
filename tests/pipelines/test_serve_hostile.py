"""Requests that mean no good: each its status, and the next good one is answered."""

import base64
import contextlib
import gzip
import io
import json
import socket
import time

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from mutations import flip_bits, mutants
from PIL import Image
from serving_process import save_half_plus_two, served, wait_for
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from pipelines.serving.server.configuration import ModelConfig
from pipelines.serving.server.service import Limits

LIMITS = Limits(body_bytes=200_000, requests=3)


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory):
    path = tmp_path_factory.mktemp("half")
    save_half_plus_two(path / "1")
    return ModelConfig("half", path)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Counts up to its input."""
    module, path = tf.Module(), tmp_path_factory.mktemp("slow")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def count(x):
        end = tf.reduce_max(x)
        return {"y": x + tf.while_loop(lambda y: y < end, lambda y: [y + 1], [0.0])[0]}

    tf.saved_model.save(module, str(path / "1"), signatures=count)
    return ModelConfig("slow", path)


@pytest.fixture(scope="module")
def server(tiny_version, half_plus_two):
    resnet = ModelConfig("resnet20", tiny_version.parent)
    with served(half_plus_two, resnet, limits=LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def hurried(half_plus_two, slow):
    """A server that takes half a second for a request."""
    with served(half_plus_two, slow, limits=Limits(seconds=0.5)) as running:
        yield running


@pytest.fixture(autouse=True)
def the_next_good_request_is_served(server):
    yield
    assert ask(server, {"instances": [1.0]}).json() == {"predictions": [2.5]}


def ask(server, body, path="half:predict", **options):
    data = body if isinstance(body, bytes) else json.dumps(body)
    return requests.post(f"{server.rest}/v1/models/{path}", data=data, **options)


def rows(*values):
    return {"instances": list(values)}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [1.0', "JSON Parse error: "),
        (b"\xff\xfe\x00", "JSON Parse error: "),
        (b"[" * 50_000, "JSON Parse error: "),
        (b"9" * 10_000, "JSON Parse error: "),
        (b"[1.0]", "Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [1.0], "instances": [1.0]}, "only one of 'inputs' or 'instances'"),
        (rows(), "No values in 'instances' array"),
        ({"instances": 1.0}, "'instances' to be an list/array"),
        (rows("a"), "Type: String is not of expected type: float"),
        (rows(True), "Type: True is not of expected type: float"),
        (rows(None), "Type: Null is not of expected type: float"),
        (rows({"b64": "AAAA"}), "is not of expected type: float"),
        (rows([1.0], [1.0, 2.0]), "is no tensor"),
        (rows(1e300), "without loss of precision"),
        (rows({"z": 1.0}), "keys must be equal to: x"),
        (rows({"x": 1.0}, 2.0), "Expecting object but got list at item 1"),
        ({"inputs": {"z": [1.0]}}, "Missing named input: x in 'inputs' object"),
        ({"signature_name": 1, **rows(1.0)}, "'signature_name' key must be a string"),
        ({"signature_name": "no", **rows(1.0)}, '"no" not found in signature def'),
        (rows(*[1.0] * 129), "larger than maximum input batch size 128"),
    ],
)
def test_wrong_rest_bodies(body, sentence, server):
    response = ask(server, body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


@pytest.mark.parametrize(
    "value",
    [{"b64": "***"}, {"b64": "AAAAA"}, {"b64": 1}, {"b64": "AAAA", "z": 1}, 7, None],
)
def test_wrong_images(value, server):
    response = ask(server, {"inputs": [value]}, "resnet20:predict")
    assert response.status_code == 400
    assert response.json().keys() == {"error"}


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("no:predict", 404, "Servable not found for request: Latest(no)"),
        ("half/versions/7:predict", 404, "not found for request: Specific(half, 7)"),
        ("half/labels/no:predict", 400, "Unrecognized servable version label: no"),
        ("half/versions/x:predict", 400, "Malformed request: POST /v1/models/half"),
        ("half/versions/" + "9" * 30 + ":predict", 404, "Servable not found"),
        ("half:train", 400, "Malformed request"),
        ("half:classify", 400, "Was: tensorflow/serving/predict"),
        ("half:regress", 400, "Expected regression signature method_name"),
        ("..%2F..%2Fetc%2Fpasswd:predict", 404, "Latest(../../etc/passwd)"),
        ("%2Fetc%2Fpasswd:predict", 404, "Latest(/etc/passwd)"),
        ("../../../etc/passwd:predict", 404, ""),
        ("half%00:predict", 404, "Servable not found"),
    ],
)
def test_what_is_not_there(path, status, sentence, server):
    response = ask(server, rows(1.0), path)
    assert response.status_code == status
    assert sentence in response.json()["error"]


def test_status_of_what_is_not_there(server):
    def error(path):
        response = requests.get(f"{server.rest}/{path}")
        return response.status_code, response.json()["error"]

    expected = 404, "Could not find any versions of model no"
    assert error("v1/models/no") == expected
    expected = 404, "Could not find version 9 of model half"
    assert error("v1/models/half/versions/9") == expected
    assert error("v1/elsewhere") == (400, "Malformed request: GET /v1/elsewhere")
    assert error("elsewhere")[0] == 404
    response = requests.put(f"{server.rest}/v1/models/half")
    assert response.status_code == 400


def test_images_of_another_shape(server):
    body = {"signature_name": "serving_images", "instances": [[1.0, 2.0]]}
    response = ask(server, body, "resnet20:predict")
    assert response.status_code == 400
    told = "input images has shape (1, 2), and not (None, None, None, 3)"
    assert response.json()["error"] == told


def test_large_bodies(server):
    assert ask(server, b" " * (LIMITS.body_bytes + 1)).status_code == 413
    packed = gzip.compress(b" " * 50_000_000)
    assert len(packed) < LIMITS.body_bytes
    headers = {"Content-Encoding": "gzip"}
    assert ask(server, packed, headers=headers).status_code == 413
    response = ask(server, b"no gzip", headers=headers)
    assert response.status_code == 400


def test_a_bomb_is_an_invalid_row(server):
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "png")
    value = {"b64": base64.b64encode(bomb.getvalue()).decode()}
    answer = ask(server, {"inputs": [value]}, "resnet20:predict").json()
    assert answer["outputs"]["valid"] == [False]


def test_mutated_images_are_answered(server):
    mutated = mutants(50, seed=13)
    values = [{"b64": base64.b64encode(each).decode()} for each in mutated]
    response = ask(server, {"inputs": values}, "resnet20:predict")
    assert response.status_code == 200
    assert len(response.json()["outputs"]["valid"]) == len(values)


@contextlib.contextmanager
def begun(server, sent):
    """A connection on which a request has begun."""
    host, port = server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        yield connection


HALF_A_REQUEST = (
    b"POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{"
)


def test_who_sends_too_slowly_is_cut_off(hurried):
    with begun(hurried, HALF_A_REQUEST) as connection:
        received = connection.recv(9999)
        assert received.startswith(b"HTTP/1.1 408 ")
        connection.settimeout(10)
        assert connection.recv(9999) == b""


def test_too_many_at_once_are_told_to_come_again(server):
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.requests):
            stack.enter_context(begun(server, HALF_A_REQUEST))
        time.sleep(0.1)
        response = ask(server, rows(1.0))
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert requests.get(f"{server.rest}/healthz").status_code == 200


def test_what_takes_too_long_is_given_up(hurried):
    response = ask(hurried, rows(3e5), "slow:predict")
    assert response.status_code == 504
    assert response.json()["error"] == "there was no answer within 0.5 seconds"
    request = predict_request(name="slow", x=np.float32([3e5]))
    with stub(hurried) as predict, pytest.raises(grpc.RpcError) as told:
        predict.Predict(request)
    assert told.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # What has begun is computed to its end.
    wait_for(lambda: ask(hurried, rows(1.0)).ok)


def test_a_thousand_idle_connections(server):
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            sent = b"" if number % 2 else b"POST /v1/models/half:predict HT"
            stack.enter_context(begun(server, sent))
        assert ask(server, rows(1.0)).status_code == 200


def test_what_is_no_http(server):
    with begun(server, b"\x16\x03\x01\x00\xff no http\r\n\r\n") as connection:
        assert connection.recv(9999).startswith(b"HTTP/1.0 400 ")


@contextlib.contextmanager
def stub(server, kind=prediction_service_pb2_grpc.PredictionServiceStub):
    with grpc.insecure_channel(server.grpc) as channel:
        yield kind(channel)


def predict_request(name="half", signature="", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def with_shape(value, *shape):
    """A tensor that says that it has another shape."""
    tensor = tf.make_tensor_proto(value)
    tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return tensor


def request_with(tensor):
    request = predict_request()
    request.inputs["x"].CopyFrom(tensor)
    return request


ONE = np.float32([1])


def test_wrong_messages(server):
    negative = with_shape(ONE, 1)
    negative.tensor_shape.dim[0].size = -5
    short = tf.make_tensor_proto(np.float32([1, 2]))
    short.tensor_content = b"123"
    filtered = predict_request(x=ONE)
    filtered.output_filter.append("z")
    cases = [
        (predict_pb2.PredictRequest(), "Missing ModelSpec"),
        (predict_request(), "Missing but required: {x}"),
        (predict_request(x=ONE, z=ONE), "Sent extra: {z}"),
        (predict_request(x=[b"a"]), "expects to be float but string is provided"),
        (predict_request(signature="no", x=ONE), '"no" not found in signature def'),
        (request_with(with_shape(ONE, 10**12)), "other elements than its shape says"),
        (request_with(negative), "other elements than its shape says"),
        (request_with(short), "is not right"),
        (filtered, "output tensor alias not found in signature: z"),
        (predict_request(x=np.ones(129, np.float32)), "larger than maximum"),
    ]
    with stub(server) as predict:
        for request, sentence in cases:
            with pytest.raises(grpc.RpcError) as told:
                predict.Predict(request, timeout=5)
            assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT, sentence
            assert sentence in told.value.details()
        images = predict_request("resnet20")
        images.inputs["image_bytes"].CopyFrom(with_shape([b"a"], 10**6))
        with pytest.raises(grpc.RpcError, match="other elements"):
            predict.Predict(images)


def test_statuses_of_grpc(server):
    def code(call, request):
        with pytest.raises(grpc.RpcError) as told:
            call(request, timeout=5)
        return told.value.code()

    large = predict_request(x=np.ones(LIMITS.body_bytes, np.float32))
    with stub(server) as predict:
        assert code(predict.Predict, predict_request("no", x=ONE)).name == "NOT_FOUND"
        assert code(predict.Predict, large).name == "RESOURCE_EXHAUSTED"
        classify = classification_pb2.ClassificationRequest()
        assert code(predict.Classify, classify).name == "UNIMPLEMENTED"
    with grpc.insecure_channel(server.grpc) as channel:
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        good = predict_request(x=ONE).SerializeToString()
        for seed in range(50):
            body = flip_bits(good, np.random.default_rng(seed), b"")
            with contextlib.suppress(grpc.RpcError):
                raw(body, timeout=5)
        assert code(raw, b"\xff" * 9).name == "INVALID_ARGUMENT"
        elsewhere = channel.unary_unary("/tensorflow.serving.Elsewhere/Predict")
        assert code(elsewhere, b"").name == "UNIMPLEMENTED"
    with stub(server, model_service_pb2_grpc.ModelServiceStub) as models:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "no"
        assert code(models.GetModelStatus, request).name == "NOT_FOUND"
        request = model_management_pb2.ReloadConfigRequest()
        assert (
            code(models.HandleReloadConfigRequest, request).name == "INVALID_ARGUMENT"
        )
        config = request.config.model_config_list.config.add()
        config.name, config.base_path = "half", "/nowhere"
        assert (
            code(models.HandleReloadConfigRequest, request).name == "INVALID_ARGUMENT"
        )


def test_other_models_by_a_request(half_plus_two, slow):
    with served(half_plus_two) as server:
        request = model_management_pb2.ReloadConfigRequest()
        for config in (half_plus_two, slow):
            wanted = request.config.model_config_list.config.add()
            wanted.name, wanted.base_path = config.name, str(config.base_path)
            wanted.version_labels["stable"] = 1
        with stub(server, model_service_pb2_grpc.ModelServiceStub) as models:
            models.HandleReloadConfigRequest(request)
            assert ask(server, rows(2.0), "slow/labels/stable:predict").ok
            del request.config.model_config_list.config[0]
            models.HandleReloadConfigRequest(request)
        assert ask(server, rows(2.0)).status_code == 404


def test_a_key(half_plus_two):
    with served(half_plus_two, api_key="schlüssel") as server:
        key = "schlüssel".encode()
        assert requests.get(f"{server.rest}/readyz").status_code == 200
        assert ask(server, rows(1.0)).status_code == 401
        for headers in ({"x-api-key": key}, {"Authorization": b"Bearer " + key}):
            assert ask(server, rows(1.0), headers=headers).status_code == 200
        assert ask(server, rows(1.0), headers={"x-api-key": "other"}).status_code == 401
    with served(half_plus_two, api_key="key") as server, stub(server) as predict:
        request = predict_request(x=ONE)
        with pytest.raises(grpc.RpcError) as told:
            predict.Predict(request)
        assert told.value.code() == grpc.StatusCode.UNAUTHENTICATED
        predict.Predict(request, metadata=[("x-api-key", "key")])
        predict.Predict(request, metadata=[("authorization", "Bearer key")])
