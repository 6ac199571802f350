"""What docs/serving holds to be copied: it is read, and its clients ask our server."""

import pathlib
import runpy
import subprocess
import sys

import pytest
import tensorflow as tf
import yaml
from serving_process import served
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipelines.components.pusher import pusher
from pipelines.data import records
from pipelines.serving.server.configuration import (
    ModelConfig,
    model_configs,
    read_batching,
    read_message,
)

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "serving"


def load(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    version = pusher(tiny_model, tmp_path_factory.mktemp("files") / "serving")
    with served(ModelConfig("resnet20", version.parent)) as running:
        yield running


@pytest.fixture(scope="module")
def photo(drawings, tmp_path_factory):
    dataset = tf.data.TFRecordDataset(drawings.files("validation")).map(records.parse)
    path = tmp_path_factory.mktemp("photo") / "it's a photo.jpg"
    path.write_bytes(next(dataset.as_numpy_iterator())["image/encoded"])
    return path


@pytest.mark.parametrize("kind", ["sh", "REST", "gRPC"])
def test_clients(kind, server, photo, monkeypatch, capsys):
    model = f"{server.rest}/v1/models/resnet20"
    if kind == "sh":
        result = subprocess.run(
            ["sh", str(FOLDER / "client.sh"), str(photo), model],
            capture_output=True,
            text=True,
            check=True,
        )
        (row,) = yaml.safe_load(result.stdout)["predictions"]
        assert len(row["classes"]) == len(row["probabilities"]) == 5 and row["valid"]
        return
    program, address = {
        "REST": ("client_rest.py", model),
        "gRPC": ("client_grpc.py", server.grpc),
    }[kind]
    monkeypatch.setattr(sys, "argv", [program, str(photo), address])
    runpy.run_path(str(FOLDER / program))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    shares = [float(line.split("%")[0]) for line in lines]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.1


def test_configuration_is_right():
    """By the messages of tensorflow-serving-api, and of its source for batching."""
    message = read_message(FOLDER / "models.config", ModelServerConfig())
    (config,) = model_configs(message)
    assert (config.name, str(config.base_path)) == ("resnet20", "/models/resnet20")
    batching = read_batching(FOLDER / "batching_parameters.txt")
    assert batching.max_batch_size == 32


def test_compose_and_kubernetes_are_given_the_files():
    (compose,) = load("compose.yaml")
    serving = compose["services"]["serving"]
    mounts = [each.rsplit(":", 2) for each in serving["volumes"]]
    assert [kind for _, _, kind in mounts] == ["ro"] * 3
    files = {source: target for source, target, _ in mounts if source.startswith("./")}
    deployment, service = load("kubernetes.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (kustomization,) = load("kustomization.yaml")
    (config,) = kustomization["configMapGenerator"]
    assert kustomization["resources"] == ["kubernetes.yaml"]
    assert {f"./{name}": f"/config/{name}" for name in config["files"]} == files
    assert all((FOLDER / name).is_file() for name in config["files"])
    flags = [flag.partition("=")[2] for flag in container["args"]]
    assert serving["command"] == container["args"]
    assert {flag for flag in flags if flag} == set(files.values())
    assert {each["mountPath"] for each in container["volumeMounts"]} == {
        "/models",
        "/config",
    }
    named = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert named == {"grpc": 8500, "rest": 8501}
    assert [named[each["targetPort"]] for each in service["spec"]["ports"]] == [
        each["port"] for each in service["spec"]["ports"]
    ]
    assert container["readinessProbe"]["httpGet"]["port"] in named


def test_health_check_of_compose(server):
    (compose,) = load("compose.yaml")
    kind, *command = compose["services"]["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    port = server.rest.rpartition(":")[2]

    def status(model):
        here = command[-1].replace("8501", port).replace("resnet20", model)
        return subprocess.run([*command[:-1], here]).returncode

    assert status("resnet20") == 0
    assert status("resnet21") != 0
