"""Levels, dilation and the head, against PyTorch's peers where these have them."""

import dataclasses
import inspect
import re
import sys

import keras
import numpy as np
import pytest
import reference

import keras_resnet
from keras_resnet import NETWORKS, Settings

TINY = {"filters": (8, 16, 24, 32), "blocks_per_stage": (1, 2, 1, 2)}


def tiny(name, **changes):
    spec = NETWORKS[name]
    stages = len(spec.filters)
    fields = {field: values[:stages] for field, values in TINY.items()}
    return dataclasses.replace(spec, **{**fields, **changes})


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


# The layer that each level comes from, and how many pixels make one of its own.
LEVELS = {
    "resnet50": {
        "conv1": ("conv1_relu", 2),
        "conv2": ("conv2_block1_out", 4),
        "conv3": ("conv3_block2_out", 8),
        "conv4": ("conv4_block1_out", 16),
        "conv5": ("conv5_block2_out", 32),
    },
    "resnet50d": {"conv1": ("conv1_3_relu", 2), "conv3": ("conv3_block2_out", 8)},
    "resnetblur50": {"conv1": ("conv1_relu", 2), "conv5": ("conv5_block2_out", 32)},
    "resnet20": {"conv1": ("conv1_relu", 1), "conv4": ("conv4_block1_out", 4)},
    "preresnet50": {
        "conv1": ("conv1_conv", 2),
        "conv4": ("conv4_block1_out", 16),
        "conv5": ("post_relu", 32),
    },
    # Each stage ends with its stride here, and the last has none.
    "resnet50v2": {
        "conv2": ("conv2_block1_out", 8),
        "conv4": ("conv4_block1_out", 32),
        "conv5": ("post_relu", 32),
    },
}


@pytest.mark.parametrize("name", LEVELS)
def test_feature_levels(name):
    whole = reference.randomize(
        keras_resnet.build(tiny(name), include_top=False, input_shape=(64, 96, 3))
    )
    levels = LEVELS[name]
    features = keras_resnet.build(
        tiny(name), feature_levels=tuple(levels), input_shape=(64, 96, 3)
    )
    for layer in features.layers[1:]:
        layer.set_weights(whole.get_layer(layer.name).get_weights())
    strides = {level: stride for level, (_, stride) in levels.items()}
    assert features.feature_strides == strides

    x = images(1, 64, 96, 3)
    found = features(x)
    assert list(found) == list(levels)
    layers = [whole.get_layer(layer).output for layer, _ in levels.values()]
    expected = keras.Model(whole.input, layers)(x)
    for (level, stride), values in zip(strides.items(), expected, strict=True):
        assert found[level].shape[1:3] == (64 // stride, 96 // stride)
        np.testing.assert_array_equal(found[level], values)


def test_feature_levels_need_no_later_stages():
    model = keras_resnet.build(tiny("resnet18"), feature_levels=("conv3",))
    assert not any(layer.name.startswith("conv4") for layer in model.layers)
    assert model.input_shape == (None, None, None, 3)


def copy_from_torch(model, network):
    """Random weights in the PyTorch `network`, and the same in `model`."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.dtype.is_floating_point:
                tensor.normal_(0, 0.2, generator=generator)
    network.eval()
    modules = dict(network.named_modules())
    copied = 0
    for layer in model.layers:
        if not layer.weights:
            continue
        theirs = modules[_torch_name(layer.name)]
        if isinstance(layer, keras.layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            values = [getattr(theirs, name).detach().numpy() for name in names]
        else:
            values = [theirs.weight.detach().numpy().transpose(2, 3, 1, 0)]
        layer.set_weights(values)
        copied += len(values)
    floats = [t for n, t in network.state_dict().items() if "num_batches" not in n]
    assert copied == len(floats) - 2  # The classifier's.


def _torch_name(ours):
    """`conv4_block2_1_bn` is `layer3.1.bn1`; `..._0_conv` is `...downsample.0`."""
    parts = ours.split("_")
    if len(parts) == 2:
        return {"conv": "conv1", "bn": "bn1"}[parts[1]]
    stage, block, number, kind = parts
    module = f"{kind}{number}"
    if number == "0":
        module = "downsample.0" if kind == "conv" else "downsample.1"
    return f"layer{int(stage[4:]) - 1}.{int(block[5:]) - 1}.{module}"


def torch_features(network, x):
    """What comes before the pooling, channels last."""
    import torch

    head = ("avgpool", "global_pool", "fc")
    layers = [m for name, m in network.named_children() if name not in head]
    with torch.no_grad():
        y = torch.nn.Sequential(*layers)(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    return y.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("groups", "width"), [(1, 64), (4, 32)], ids=["resnet", "resnext"]
)
def test_dilation_is_torchvisions(torchvision, output_stride, groups, width):
    blocks = (1, 2, 2, 2)
    network = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck,
        blocks,
        groups=groups,
        width_per_group=width,
        replace_stride_with_dilation=[False, output_stride < 16, output_stride < 32],
    )
    spec = dataclasses.replace(
        NETWORKS["resnet50_v1_5"],
        blocks_per_stage=blocks,
        cardinality=groups,
        base_width=width,
    )
    model = keras_resnet.build(spec, include_top=False, output_stride=output_stride)
    copy_from_torch(model, network)
    x = images(1, 65, 97, 3)
    expected = torch_features(network, x)
    assert expected.shape[1] == -(-65 // output_stride)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(x) / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_dilation_is_timms(timm, output_stride, name):
    network = timm.create_model(name, output_stride=output_stride)
    model = keras_resnet.create(name, include_top=False, output_stride=output_stride)
    copy_from_torch(model, network)
    x = images(1, 65, 97, 3)
    expected = torch_features(network, x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model(x) / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "preresnet18", "resnet50v2"])
def test_output_stride(name):
    for output_stride in (4, 8, 16, 32):
        model = keras_resnet.build(
            tiny(name),
            feature_levels=("conv2", "conv3", "conv4", "conv5"),
            output_stride=output_stride,
            input_shape=(64, 64, 3),
        )
        full = tiny(name).strides
        for level, features in model.output.items():
            stride = min(full[level], output_stride)
            assert model.feature_strides[level] == stride
            assert features.shape[1:3] == (64 // stride, 64 // stride)


def test_output_stride_needs_no_other_weights():
    ours = [
        [weight.shape for weight in keras_resnet.build(tiny("resnet50"), **o).weights]
        for o in ({}, {"output_stride": 8})
    ]
    assert ours[0] == ours[1]


@pytest.mark.parametrize("name", ["resnet20", "resnet50", "preresnet18"])
def test_fully_convolutional_head(name):
    spec = tiny(name, classes=7)
    options = {"classifier_activation": None, "input_shape": (64, 96, 3)}
    pooled = reference.randomize(keras_resnet.build(spec, **options))
    everywhere = keras_resnet.build(spec, fully_convolutional=True, **options)
    everywhere.set_weights(pooled.get_weights())
    stride = list(spec.strides.values())[-1]
    x = images(2, 64, 96, 3)
    logits = np.asarray(everywhere(x))
    assert logits.shape == (2, 64 // stride, 96 // stride, 7)
    np.testing.assert_allclose(
        logits.mean(axis=(1, 2)), pooled(x), rtol=1e-3, atol=1e-4
    )


def test_fully_convolutional_head_gives_probabilities_at_each_position():
    model = keras_resnet.build(tiny("resnet20"), fully_convolutional=True)
    assert model.input_shape == (None, None, None, 3)
    scores = np.asarray(model(images(1, 24, 36, 3)))
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


def test_fully_convolutional_head_takes_weights_files(tmp_path):
    pooled = keras_resnet.build(tiny("resnet20"))
    pooled.save_weights(tmp_path / "pooled.weights.h5")
    everywhere = keras_resnet.build(tiny("resnet20"), fully_convolutional=True)
    everywhere.load_weights(tmp_path / "pooled.weights.h5")
    kernels = [
        m.get_layer("predictions").get_weights()[0] for m in (pooled, everywhere)
    ]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize("name", ["resnet20", "resnet50d", "preresnet50", "resnet50v2"])
def test_channels_first_shapes(name, channels_first):
    spec = tiny(name, classes=7)
    model = keras_resnet.build(spec, input_shape=(3, 64, 96), fully_convolutional=True)
    stride = list(spec.strides.values())[-1]
    assert model.output_shape == (None, 7, 64 // stride, 96 // stride)
    features = keras_resnet.build(
        spec, input_shape=(3, 64, 96), feature_levels=("conv2", "conv3")
    )
    for level, values in features.output.items():
        channels = {"conv2": 0, "conv3": 1}[level]
        width = spec.filters[channels] * (1 if spec.block == "basic" else 4)
        stride = spec.strides[level]
        assert values.shape == (None, width, 64 // stride, 96 // stride)
    pooled = keras_resnet.build(spec, input_shape=(3, 64, 96))
    assert [w.shape for w in pooled.weights] == [w.shape for w in model.weights]
    assert keras_resnet.build(spec).input_shape[1] == 3


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 28, 28), (3, None, None)])
def test_channels_on_the_other_side_are_told(shape):
    right = re.escape(str((*shape[1:], shape[0])))
    with pytest.raises(ValueError, match=f"channels come first: give {right}, or"):
        keras_resnet.build(tiny("resnet20"), input_shape=shape)


def test_channels_last_are_told(channels_first):
    with pytest.raises(ValueError, match=r"come last: give \(3, 64, 96\), or .*_last'"):
        keras_resnet.build(tiny("resnet20"), input_shape=(64, 96, 3))


def test_settings_leave_the_specs_biases():
    """Other batch-norm settings are no other network."""
    spec = tiny("resnet50v2")
    plain = keras_resnet.build(spec)
    other = keras_resnet.build(spec, settings=Settings(norm_momentum=0.99))
    assert [w.path for w in plain.weights] == [w.path for w in other.weights]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"feature_levels": ()}, "`feature_levels` must list some of 'conv1', 'conv2'"),
        ({"feature_levels": ("conv5",)}, "`feature_levels` must .* got .'conv5',."),
        ({"feature_levels": "conv3"}, "`feature_levels` must list"),
        ({"feature_levels": ("conv3",), "pooling": "avg"}, "exclude each other"),
        ({"output_stride": 8}, "`output_stride` of 'resnet20' must be one of 1, 2, 4"),
        ({"output_stride": 0}, "`output_stride` of 'resnet20' must be one of 1, 2, 4"),
        (
            {"fully_convolutional": True, "include_top": False},
            "`fully_convolutional=True` is about the classifier",
        ),
        (
            {"fully_convolutional": True, "feature_levels": ("conv3",)},
            "`fully_convolutional=True` is about the classifier",
        ),
    ],
)
def test_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        keras_resnet.create("resnet20", **arguments)


@pytest.fixture
def lower_limit():
    """Lowers Python's recursion limit to 300 calls from here."""
    before = sys.getrecursionlimit()
    yield lambda: sys.setrecursionlimit(len(inspect.stack(0)) + 300)
    sys.setrecursionlimit(before)


def test_networks_deeper_than_pythons_limit(lower_limit, tmp_path):
    """As ResNet-1202 is; Keras calls itself 360 times to walk through this one."""
    spec = tiny("plainnet20", filters=(2,), blocks_per_stage=(60,))
    lower_limit()
    model = keras_resnet.build(spec, input_shape=(4, 4, 3))
    model.save(tmp_path / "deep.keras")
    lower_limit()
    keras_resnet.surgery.drop_blocks(model, ["conv2_block1"])
    keras_resnet.rematerialize(model).save(tmp_path / "remat.keras")
    lower_limit()
    with pytest.raises(RecursionError):
        keras.saving.load_model(tmp_path / "deep.keras")
    loaded = keras.saving.load_model(tmp_path / "remat.keras")
    lower_limit()
    keras_resnet.builder.allow_recursion(spec)
    again = keras.saving.load_model(tmp_path / "deep.keras")
    for one in (loaded, again):
        for theirs, ours in zip(one.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(theirs, ours)
