"""Logits and features of PyTorch's networks, through their own files."""

import keras
import numpy as np
import parity
import pytest

import keras_resnet
from keras_resnet.weights.importing import load_file

# Odd sizes show any difference in padding; deep and wide networks get small ones.
LARGE = (225, 193)
SMALL = (97, 65)
TINY = (49, 33)

slow = pytest.mark.slow

# Our network, torchvision's function, the images' size.
TORCHVISION = [
    ("resnet18", "resnet18", LARGE),
    ("resnet34", "resnet34", SMALL),
    ("resnet50_v1_5", "resnet50", LARGE),
    pytest.param("resnet101_v1_5", "resnet101", TINY, marks=slow),
    pytest.param("resnet152_v1_5", "resnet152", TINY, marks=slow),
    ("resnext50_32x4d", "resnext50_32x4d", SMALL),
    pytest.param("resnext101_32x8d", "resnext101_32x8d", TINY, marks=slow),
    pytest.param("resnext101_64x4d", "resnext101_64x4d", TINY, marks=slow),
    pytest.param("wide_resnet50_2", "wide_resnet50_2", TINY, marks=slow),
    pytest.param("wide_resnet101_2", "wide_resnet101_2", TINY, marks=slow),
]

# Our network, timm's where its name is another, the images' size.
TIMM = [
    ("resnet18", None, SMALL),
    ("resnet26", None, SMALL),
    ("resnet50_v1_5", "resnet50", SMALL),
    pytest.param("resnet200", None, TINY, marks=slow),
    ("resnet10t", None, LARGE),
    ("resnet14t", None, SMALL),
    ("resnet26t", None, SMALL),
    ("resnet50t", None, SMALL),
    ("resnet50c", None, SMALL),
    pytest.param("resnet101c", None, TINY, marks=slow),
    pytest.param("resnet152c", None, TINY, marks=slow),
    ("resnet50s", None, SMALL),
    pytest.param("resnet101s", None, TINY, marks=slow),
    pytest.param("resnet152s", None, TINY, marks=slow),
    ("resnet18d", None, LARGE),
    ("resnet26d", None, SMALL),
    ("resnet34d", None, SMALL),
    ("resnet50d", None, SMALL),
    pytest.param("resnet101d", None, TINY, marks=slow),
    pytest.param("resnet152d", None, TINY, marks=slow),
    pytest.param("resnet200d", None, TINY, marks=slow),
    ("seresnet18", None, LARGE),
    ("seresnet34", None, SMALL),
    ("seresnet50", None, SMALL),
    pytest.param("seresnet101", None, TINY, marks=slow),
    pytest.param("seresnet152", None, TINY, marks=slow),
    ("seresnext50_32x4d", None, SMALL),
    pytest.param("seresnext101_32x4d", None, TINY, marks=slow),
    pytest.param("seresnext101_32x8d", None, TINY, marks=slow),
    ("resnext50d_32x4d", None, SMALL),
    pytest.param("resnext101_32x4d", None, TINY, marks=slow),
    # Its average pools drop the last row of an odd size, ours do not.
    ("resnetaa34d", None, (96, 64)),
    ("resnetaa50", None, (96, 64)),
    ("resnetaa50d", None, (96, 64)),
    pytest.param("resnetaa101d", None, (64, 32), marks=slow),
    pytest.param("seresnetaa50d", None, (96, 64), marks=slow),
    ("resnetblur18", None, SMALL),
    ("resnetblur50", None, SMALL),
    ("resnetblur50d", None, SMALL),
    pytest.param("resnetblur101d", None, TINY, marks=slow),
]

# Our network, the configuration of transformers, the images' size.
TRANSFORMERS = [
    ("resnet18", {"depths": [2, 2, 2, 2], "layer_type": "basic"}, LARGE),
    ("resnet34", {"depths": [3, 4, 6, 3], "layer_type": "basic"}, SMALL),
    ("resnet26", {"depths": [2, 2, 2, 2]}, SMALL),
    ("resnet50_v1_5", {"depths": [3, 4, 6, 3]}, SMALL),
    ("resnet50", {"depths": [3, 4, 6, 3], "downsample_in_bottleneck": True}, SMALL),
    pytest.param(
        "resnet101",
        {"depths": [3, 4, 23, 3], "downsample_in_bottleneck": True},
        TINY,
        marks=slow,
    ),
    pytest.param(
        "resnet152",
        {"depths": [3, 8, 36, 3], "downsample_in_bottleneck": True},
        TINY,
        marks=slow,
    ),
    pytest.param("resnet101_v1_5", {"depths": [3, 4, 23, 3]}, TINY, marks=slow),
    pytest.param("resnet152_v1_5", {"depths": [3, 8, 36, 3]}, TINY, marks=slow),
]


@pytest.fixture(autouse=True)
def undrawn(torch, monkeypatch):
    """Leaves weights as they lie in memory that are all given random values later."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def _channels_first(torch, images):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _arrays(unpooled, pooled, logits):
    unpooled = unpooled.numpy().transpose(0, 2, 3, 1)
    return unpooled, pooled.flatten(1).numpy(), logits.numpy()


@pytest.mark.parametrize(("network", "function", "size"), TORCHVISION)
def test_torchvision(torch, torchvision_models, tmp_path, network, function, size):
    peer = getattr(torchvision_models, function)()
    parity.randomize_torch(peer)
    path = tmp_path / "peer.pth"
    torch.save(peer.state_dict(), path)
    images = parity.random_images(*size)

    seen = []
    for layer in (peer.layer4, peer.avgpool):
        layer.register_forward_hook(lambda *called: seen.append(called[-1]))
    with torch.no_grad():
        logits = peer(_channels_first(torch, images))
    parity.assert_same_outputs(
        parity.ours(network, path)(images), _arrays(*seen, logits)
    )


@pytest.mark.parametrize(("network", "function", "size"), TIMM)
def test_timm(torch, timm, tmp_path, network, function, size):
    from safetensors.torch import save_file

    peer = timm.create_model(function or network)
    parity.randomize_torch(peer)
    path = tmp_path / "model.safetensors"
    save_file(peer.state_dict(), path)
    images = parity.random_images(*size)

    with torch.no_grad():
        features = peer.forward_features(_channels_first(torch, images))
        pooled = peer.forward_head(features, pre_logits=True)
        logits = peer.forward_head(features)
    parity.assert_same_outputs(
        parity.ours(network, path)(images), _arrays(features, pooled, logits)
    )


@pytest.mark.parametrize(("network", "configuration", "size"), TRANSFORMERS)
def test_transformers(torch, tmp_path, network, configuration, size):
    transformers = pytest.importorskip("transformers")

    widths = [64, 128, 256, 512]
    if configuration.get("layer_type") != "basic":
        widths = [4 * width for width in widths]
    peer = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(hidden_sizes=widths, num_labels=1000, **configuration)
    )
    parity.randomize_torch(peer)
    peer.save_pretrained(tmp_path)
    images = parity.random_images(*size)

    with torch.no_grad():
        tensor = _channels_first(torch, images)
        features = peer.resnet(tensor)
        logits = peer(tensor).logits
    expected = _arrays(features.last_hidden_state, features.pooler_output, logits)
    parity.assert_same_outputs(parity.ours(network, tmp_path)(images), expected)


def test_headless_transformers(torch, tmp_path):
    transformers = pytest.importorskip("transformers")

    peer = transformers.ResNetModel(
        transformers.ResNetConfig(
            hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
        )
    )
    parity.randomize_torch(peer)
    peer.save_pretrained(tmp_path)
    images = parity.random_images(*SMALL)
    with torch.no_grad():
        expected = peer(_channels_first(torch, images)).pooler_output.flatten(1)
    model = keras_resnet.create("resnet18", include_top=False, pooling="avg")
    load_file(model, tmp_path)
    parity.assert_same_outputs([model(images)], [expected.numpy()])


def test_published_cifar_checkpoint(torch, shared_data):
    """The 100 logits that PyTorch gave for it."""
    folder = shared_data / "resnet20_cifar10"
    expected = np.load(folder / "expected.npz")
    images = (expected["images"] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    model = keras_resnet.create("resnet20", classifier_activation=None)
    load_file(model, folder / "resnet20-12fca82f.th")
    logits = keras.ops.convert_to_numpy(model(images.astype("float32")))
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
