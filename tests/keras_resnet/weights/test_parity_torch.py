"""Logits and features of PyTorch's networks, through their own files."""

import keras
import numpy as np
import parity
import pytest
from parity import LARGE, SMALL, TINY, slow

import keras_resnet
from keras_resnet.weights.importing import load_file

# By the images' size. What the peers call ResNet-50 is our v1.5.
TORCHVISION = {
    LARGE: "resnet18 resnet50_v1_5",
    SMALL: "resnet34 resnext50_32x4d",
    TINY: (
        "resnet101_v1_5 resnet152_v1_5 resnext101_32x8d resnext101_64x4d "
        "wide_resnet50_2 wide_resnet101_2"
    ),
}
TIMM = {
    LARGE: "resnet10t resnet18d seresnet18",
    SMALL: (
        "resnet18 resnet26 resnet50_v1_5 resnet14t resnet26t resnet50t resnet50c "
        "resnet50s resnet26d resnet34d resnet50d seresnet34 seresnet50 "
        "seresnext50_32x4d resnext50d_32x4d resnetblur18 resnetblur50 resnetblur50d"
    ),
    TINY: (
        "resnet200 resnet101c resnet152c resnet101s resnet152s resnet101d resnet152d "
        "resnet200d seresnet101 seresnet152 seresnext101_32x4d seresnext101_32x8d "
        "resnext101_32x4d resnetblur101d"
    ),
    # Its average pools drop the last row of an odd size, ours do not.
    (96, 64): "resnetaa34d resnetaa50 resnetaa50d seresnetaa50d",
    (64, 32): "resnetaa101d",
}

EARLY = {"downsample_in_bottleneck": True}

# Our network, the configuration of transformers, the images' size.
TRANSFORMERS = [
    ("resnet18", {"depths": [2, 2, 2, 2], "layer_type": "basic"}, LARGE),
    ("resnet34", {"depths": [3, 4, 6, 3], "layer_type": "basic"}, SMALL),
    ("resnet26", {"depths": [2, 2, 2, 2]}, SMALL),
    ("resnet50_v1_5", {"depths": [3, 4, 6, 3]}, SMALL),
    ("resnet50", {"depths": [3, 4, 6, 3], **EARLY}, SMALL),
    slow("resnet101", {"depths": [3, 4, 23, 3], **EARLY}, TINY),
    slow("resnet152", {"depths": [3, 8, 36, 3], **EARLY}, TINY),
    slow("resnet101_v1_5", {"depths": [3, 4, 23, 3]}, TINY),
    slow("resnet152_v1_5", {"depths": [3, 8, 36, 3]}, TINY),
]


def rows(table):
    """Returns each network with its size; deep ones, with small images, are slow."""
    return [
        slow(network, size) if size in (TINY, (64, 32)) else (network, size)
        for size, networks in table.items()
        for network in networks.split()
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


@pytest.mark.parametrize(("network", "size"), rows(TORCHVISION))
def test_torchvision(torch, torchvision_models, tmp_path, network, size):
    peer = getattr(torchvision_models, network.removesuffix("_v1_5"))()
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


@pytest.mark.parametrize(("network", "size"), rows(TIMM))
def test_timm(torch, timm, tmp_path, network, size):
    from safetensors.torch import save_file

    peer = timm.create_model(network.removesuffix("_v1_5"))
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
