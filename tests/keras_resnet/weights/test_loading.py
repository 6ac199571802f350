"""From any source to a loaded model, which tells what it was loaded with."""

import dataclasses
import functools
import hashlib
import http.server
import importlib.util
import json
import threading
import warnings

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet import preprocessing
from keras_resnet.weights import download, importing, presets
from keras_resnet.weights.exporting import export_weights
from keras_resnet.weights.loading import (
    LoadedWeights,
    LocatedWeights,
    load_weights,
    locate,
)
from keras_resnet.weights.traits import of_spec

CIFAR_FILE = "resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def cifar_folder(shared_data):
    return shared_data / "resnet20_cifar10"


@pytest.fixture(scope="module")
def expected(cifar_folder):
    return np.load(cifar_folder / "expected.npz")


@pytest.fixture(scope="module")
def url(cifar_folder):
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(cifar_folder)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{CIFAR_FILE}"
        server.shutdown()


@pytest.fixture
def model():
    return keras_resnet.create("resnet20", classifier_activation=None)


@pytest.fixture
def recorded(monkeypatch):
    """Records what would be fetched and imported, and does neither."""
    calls = {}

    def fetch(source, checksum=None):
        if source.endswith(".json"):
            raise ValueError("no such file")
        calls.update(source=source, checksum=checksum)
        return "/cache/weights.bin"

    def load_file(model, path, *, layout=None, traits, new_head=False):
        calls.update(path=path, layout=layout, new_head=new_head)

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.setattr(importing, "load_file", load_file)
    return calls


def logits(model, expected):
    images = preprocessing.preprocess_input(
        expected["images"], "channels_last", "torch"
    )
    return keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize("has_torch", [True, False])
def test_pickled_presets_come_from_a_mirror_without_torch(
    has_torch, recorded, monkeypatch
):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if has_torch else None
    )
    model = keras_resnet.create("resnet18", input_shape=(32, 32, 3))
    load_weights(model, "imagenet")
    assert recorded["source"] == (
        "https://download.pytorch.org/models/resnet18-f37072fd.pth"
        if has_torch
        else "hf://timm/resnet18.tv_in1k"
    )


def test_url_to_logits(model, url, cifar_folder, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    sha256 = hashlib.sha256((cifar_folder / CIFAR_FILE).read_bytes()).hexdigest()
    # Its publisher puts the first digits into the name, as torchvision does.
    assert sha256.startswith("12fca82f")
    load_weights(model, f"{url}#sha256={sha256}")
    np.testing.assert_allclose(logits(model, expected), expected["logits"], atol=1e-4)
    assert model.preset.source == f"{url}#sha256={sha256}"
    assert str(tmp_path) in model.preset.path
    assert model.preset.preset is None

    again = keras_resnet.create("resnet20", classifier_activation=None)
    load_weights(again, url, checksum="sha256:12fca82f", layout="cifar")
    assert again.preset.path == model.preset.path
    assert (again.preset.layout, again.preset.checksum) == ("cifar", "sha256:12fca82f")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_file(model, cifar_folder, expected):
    path = cifar_folder / CIFAR_FILE
    load_weights(model, path, checksum="sha256:12fca82f")
    np.testing.assert_allclose(logits(model, expected), expected["logits"], atol=1e-4)
    assert model.preset == LocatedWeights(
        source=str(path), path=str(path), checksum="sha256:12fca82f"
    )


def test_preset_survives_nothing_but_breaks_nothing(model, cifar_folder, tmp_path):
    load_weights(model, cifar_folder / CIFAR_FILE)
    model.save(tmp_path / "model.keras")
    images = np.ones((1, 32, 32, 3), "float32")
    outputs = keras.ops.convert_to_numpy(model(images))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(images)), outputs)
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(cloned(images)), outputs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.preset.path = "elsewhere"


def test_a_failure_changes_nothing(model, cifar_folder, url, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    load_weights(model, cifar_folder / CIFAR_FILE)
    before, preset = model.get_weights(), model.preset
    damaged = tmp_path / "damaged.th"
    damaged.write_bytes((cifar_folder / CIFAR_FILE).read_bytes()[:-1000])
    for source, checksum in (
        (damaged, None),
        (cifar_folder / CIFAR_FILE, "sha256:00000000"),
        (cifar_folder, "sha256:12fca82f"),
        (url, None),
        (url, "sha256:00000000"),
        ("resnet", None),
    ):
        with pytest.raises(ValueError):
            load_weights(model, source, checksum=checksum)
    assert model.preset is preset
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_none(model):
    before = model.get_weights()
    load_weights(model, None)
    assert model.preset is None
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_imagenet_is_the_default_of_the_network(recorded, model):
    load_weights(model, "imagenet", network="resnet18", new_head=True)
    preset = presets.PRESETS["torchvision/resnet18.imagenet1k_v1"]
    assert recorded == {
        "source": preset.source,
        "checksum": "sha256:f37072fd",
        "path": "/cache/weights.bin",
        "layout": "torchvision",
        "new_head": True,
    }
    assert model.preset == LocatedWeights(
        source=preset.source,
        path="/cache/weights.bin",
        network="resnet18",
        layout="torchvision",
        checksum="sha256:f37072fd",
        preprocessing=preset.preprocessing,
        preset=preset,
        traits=of_spec(keras_resnet.NETWORKS["resnet18"]),
    )


@pytest.mark.parametrize("name", ["keras/resnet50", "imagenet"])
def test_own_file_of_a_preset(name, recorded, tmp_path):
    (tmp_path / "fine=tuned.h5").touch()
    located = locate(f"{name}={tmp_path / 'fine=tuned.h5'}", "resnet50")
    preset = presets.PRESETS["keras/resnet50"]
    assert located == LocatedWeights(
        source=str(tmp_path / "fine=tuned.h5"),
        path=str(tmp_path / "fine=tuned.h5"),
        network="resnet50",
        layout="keras",
        preprocessing=preprocessing.MODES["caffe"],
        preset=preset,
        traits=of_spec(keras_resnet.NETWORKS["resnet50"]),
    )
    assert recorded == {}
    with pytest.raises(ValueError, match="no file, folder or preset 'missing.h5'"):
        locate(f"{name}=missing.h5", "resnet50")


def test_what_loading_came_to(cifar_folder, model):
    how = preprocessing.MODES["caffe"]
    path = str(cifar_folder / CIFAR_FILE)
    assert load_weights(model, path) == LoadedWeights(new_classifier=False)
    other = keras_resnet.create("resnet20", classes=3)
    told = LocatedWeights(path, path, preprocessing=how)
    assert load_weights(other, told, new_head=True) == LoadedWeights(True, how)


def test_imagenet_of_a_network_without_any(recorded, model):
    with pytest.raises(ValueError, match="published for 'resnet20'"):
        load_weights(model, "imagenet")
    assert recorded == {}


@pytest.mark.parametrize(
    ("include_top", "file", "checksum"),
    [
        (True, "kernels.h5", "md5:2cb95161c43110f7111970584f804107"),
        (False, "kernels_notop.h5", "md5:4d473c1dd8becc155b73f8504c6f6626"),
    ],
)
def test_weights_without_top_where_there_are_any(recorded, include_top, file, checksum):
    model = keras_resnet.create("resnet20", include_top=include_top)
    load_weights(model, "keras/resnet50")
    assert recorded["source"].endswith(f"resnet50_weights_tf_dim_ordering_tf_{file}")
    assert recorded["checksum"] == model.preset.checksum == checksum


def test_an_address_of_a_preset_is_the_preset(recorded, model):
    load_weights(model, "hf://timm/resnet50d.ra2_in1k", layout="torchvision")
    preset = presets.PRESETS["timm/resnet50d.ra2_in1k"]
    assert model.preset.preset is preset
    assert model.preset.preprocessing is preset.preprocessing
    assert recorded["layout"] == model.preset.layout == "torchvision"


def test_an_unknown_hub_repository(recorded, model):
    load_weights(model, "hf://owner/repo", checksum="sha256:12345678")
    assert recorded["checksum"] == "sha256:12345678"
    assert recorded["layout"] is None
    assert model.preset == LocatedWeights(
        source="hf://owner/repo", path="/cache/weights.bin", checksum="sha256:12345678"
    )


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("timm/resnet50d.ra_in1k", "of which the nearest are timm/resnet50d.ra2_in1k"),
        ("keras/resnet50v3", "keras/resnet50v2"),
        ("/nowhere/0.x", r"`keras_resnet\.weights\.list_presets\(\)`\.$"),
    ],
)
def test_unknown_source(recorded, model, source, near):
    with pytest.raises(ValueError, match=near) as error:
        load_weights(model, source)
    for kind in (
        "None",
        "'imagenet'",
        "path",
        "hf://",
        "URL with a checksum",
        "preset",
    ):
        assert kind in str(error.value)
    assert recorded == {}


def test_offline_tells_of_random_weights(monkeypatch):
    def fetch(source, checksum=None):
        raise ValueError(f"Cannot fetch {source!r}.")

    monkeypatch.setattr(download, "fetch", fetch)
    sentence = r"Cannot fetch .*\. `weights=None` builds 'resnet50' with random weights"
    with pytest.raises(ValueError, match=sentence):
        keras_resnet.ResNet50()


def test_config_of_timm(recorded, model, tmp_path):
    # As timm/resnet18d.ra4_e3600_r224_in1k has it.
    config = {
        "architecture": "resnet18d",
        "num_classes": 1000,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    load_weights(model, tmp_path)
    preset = presets.PRESETS["timm/resnet18d.ra4_e3600_r224_in1k"]
    assert model.preset.preprocessing == preset.preprocessing
    assert (model.preset.network, recorded["layout"]) == ("resnet18d", "timm")


SMALL = {"blocks_per_stage": (1, 2, 1, 1), "filters": (8, 8, 8, 8)}


@pytest.mark.parametrize(
    ("network", "preset", "other"),
    [
        ("resnetaa50", "timm/resnetaa50.a1h_in1k", "resnet50_v1_5"),
        ("resnetaa50d", "timm/resnetaa50d.sw_in12k_ft_in1k", "resnet50d"),
        ("resnetblur50", "timm/resnetblur50.bt_in1k", "resnet50_v1_5"),
    ],
)
def test_presets_and_configurations_tell_the_network(network, preset, other, tmp_path):
    path = tmp_path / "model.safetensors"
    export_weights(keras_resnet.create(network, **SMALL), path, layout="timm")
    models = [keras_resnet.create(name, **SMALL) for name in (network, other)]
    config = {
        "architecture": network,
        "pretrained_cfg": dict.fromkeys(("mean", "std"), (0.5,) * 3)
        | {"input_size": [3, 224, 224], "crop_pct": 1.0, "interpolation": "bicubic"},
    }
    for source in (f"{preset}={path}", tmp_path):
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            load_weights(models[0], source)
        with pytest.raises(ValueError, match=r"with `antialias='\w+'` instead of None"):
            load_weights(models[1], source)


def test_a_residual_network_is_not_plain(cifar_folder):
    for name, change in (("plainnet20", {}), ("resnet20", {"antialias": "average"})):
        model = keras_resnet.create(name, **change)
        with pytest.raises(ValueError, match="is of a network with `"):
            load_weights(model, cifar_folder / CIFAR_FILE)


def test_stride_and_activation_of_transformers(torch_operators, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "hidden_sizes": [32] * 4, "depths": [1, 2, 1, 1]}
    config = transformers.ResNetConfig(**sizes, hidden_act="gelu")
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    model = keras_resnet.create("resnet50", include_top=False, **SMALL)
    with pytest.raises(ValueError, match="`stride_on='3x3'` instead of '1x1'"):
        load_weights(model, tmp_path)
    model = keras_resnet.create("resnet50_v1_5", include_top=False, **SMALL)
    with pytest.raises(ValueError, match="`activation='gelu'` instead of 'relu'"):
        load_weights(model, tmp_path)
    settings = keras_resnet.Settings(activation="gelu")
    model = keras_resnet.create(
        "resnet50_v1_5", include_top=False, settings=settings, **SMALL
    )
    load_weights(model, tmp_path)


def test_config_of_transformers(recorded, model, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ResNetConfig().save_pretrained(tmp_path)
    load_weights(model, tmp_path)
    assert recorded["layout"] == "transformers"
    assert model.preset.traits == {"stride_on": "3x3", "activation": "relu"}
    assert model.preset.preprocessing is None
    processor = {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
        "resample": 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    load_weights(model, tmp_path)
    assert model.preset.preprocessing == preprocessing.Preprocessing(
        resize=256, crop=224, interpolation="bicubic"
    )
    config = transformers.ResNetConfig(downsample_in_bottleneck=True)
    config.save_pretrained(tmp_path)
    load_weights(model, tmp_path)
    assert model.preset.traits["stride_on"] == "1x1"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": "bert"}'])
def test_config_of_somebody_else(recorded, model, tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    load_weights(model, tmp_path)
    assert (recorded["layout"], model.preset.preprocessing) == (None, None)


def test_config_of_keras_hub(recorded, model, tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(8, 8),
        interpolation="bicubic",
        scale=[1 / 255 / std for std in (0.229, 0.224, 0.225)],
        offset=[-2.1179, -2.0357, -1.8044],
    )
    backbone.save_to_preset(tmp_path)
    converter.save_to_preset(tmp_path)
    load_weights(model, tmp_path)
    assert recorded["layout"] == "keras_hub"
    found = model.preset.preprocessing
    assert (found.resize, found.crop, found.interpolation) == (8, 8, "bicubic")
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        preprocessing.preprocess_input(images, mode=found),
        keras.ops.convert_to_numpy(converter(images)),
        atol=1e-5,
    )


def test_timm_preset_from_the_hub_cache_offline(timm, tmp_path, monkeypatch):
    """From `"imagenet"` to the peer's logits, on pixels that the model standardizes."""
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    constants = pytest.importorskip("huggingface_hub.constants")
    torch.manual_seed(0)
    peer = timm.create_model("resnet10t").eval()
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, 0.3, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--timm--resnet10t.c3_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="ascii")
    (repository / "snapshots" / commit).mkdir(parents=True)
    file = repository / "snapshots" / commit / "model.safetensors"
    safetensors_torch.save_file(peer.state_dict(), file)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    inputs = keras.Input((65, 49, 3), dtype="uint8")
    how = presets.default_preset("resnet10t").preprocessing
    network = keras_resnet.create(
        "resnet10t",
        input_tensor=preprocessing.Standardize.from_preprocessing(how)(inputs),
        classifier_activation=None,
    )
    load_weights(network, "imagenet")
    assert network.preset.path == str(file)
    assert network.preset.preset.name == "timm/resnet10t.c3_in1k"
    images = np.random.default_rng(0).integers(0, 256, (2, 65, 49, 3)).astype("uint8")
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 255
    mean, std = (
        torch.tensor(timm.get_pretrained_cfg("resnet10t").to_dict()[name])[
            :, None, None
        ]
        for name in ("mean", "std")
    )
    with torch.no_grad():
        expected = peer((pixels - mean) / std).numpy()
    actual = keras.ops.convert_to_numpy(network(images))
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
