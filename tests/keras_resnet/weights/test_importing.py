"""All of a file or nothing, and a sentence that says what it is instead."""

import dataclasses
import warnings

import keras
import numpy as np
import parity
import pytest
import safetensors.numpy

import keras_resnet
from keras_resnet import NETWORKS, Settings
from keras_resnet.stems import STEMS, Stem
from keras_resnet.weights.exporting import export_weights
from keras_resnet.weights.files import read_tensors
from keras_resnet.weights.identification import likely_networks
from keras_resnet.weights.importing import load_file
from keras_resnet.weights.traits import of_model, of_spec, statement

SMALL = {"blocks_per_stage": (1, 2, 1, 1), "filters": (8, 8, 8, 8)}


@pytest.fixture(scope="module")
def resnet18():
    model = keras_resnet.create("resnet18", classes=7, classifier_activation=None)
    parity.randomize_keras(model)
    return model


@pytest.fixture(scope="module")
def torch_file(resnet18, tmp_path_factory):
    path = tmp_path_factory.mktemp("importing") / "resnet18.safetensors"
    export_weights(resnet18, path)
    return path


def _weights(model):
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}


def _assert_same(model, expected, without=()):
    weights = _weights(model)
    for name, array in expected.items():
        if not name.startswith(tuple(without)):
            np.testing.assert_array_equal(weights[name], array, err_msg=name)


def _changed(torch_file, change, tmp_path):
    tensors = read_tensors(torch_file)
    change(tensors)
    path = tmp_path / "changed.safetensors"
    safetensors.numpy.save_file(tensors, path)
    return path


def _drop(*names):
    return lambda tensors: [tensors.pop(name) for name in names]


def _put(name, shape):
    return lambda tensors: tensors.update({name: np.ones(shape, "float32")})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_drop("layer1.0.conv1.weight"), "lacks conv2_block1_1_conv/kernel; they"),
        (_drop("bn1.running_var"), "lacks conv1_bn/moving_variance; they"),
        (
            _drop(*(f"layer4.1.conv{n}.weight" for n in "12"), "bn1.bias", "fc.bias"),
            "lacks conv1_bn/beta, conv5_block2_1_conv/kernel, "
            "conv5_block2_2_conv/kernel and 1 more",
        ),
        (_put("layer1.0.conv1.bias", (64,)), "fit 'resnet18'"),
        (_put("layer1.0.scale", (64,)), "also has layer1.0.scale; they"),
        (_put("layer5.0.conv1.weight", (1, 1, 3, 3)), "also has conv6_block1_1_conv"),
        (
            _put("layer1.0.conv1.weight", (64, 64, 1, 3)),
            r"other shapes for conv2_block1_1_conv/kernel "
            r"\(\(1, 3, 64, 64\) instead of \(3, 3, 64, 64\)\)",
        ),
        (_put("layer1.0.conv1.weight", (64,)), r"conv2_block1_1_conv/kernel \(\(64,\)"),
        (_put("fc.bias", (8,)), "predictions/bias.*pass `new_head=True`"),
    ],
)
def test_every_tensor_is_checked(resnet18, torch_file, tmp_path, change, sentence):
    path = _changed(torch_file, change, tmp_path)
    model = keras.models.clone_model(resnet18)
    before = _weights(model)
    if "layer1.0.conv1.bias" in read_tensors(path):
        # A bias is no difference: it moves the mean of the following batch norm.
        load_file(model, path)
        mean = "conv2_block1_1_bn/moving_mean"
        np.testing.assert_allclose(
            _weights(model)[mean], _weights(resnet18)[mean] - 1, atol=1e-6
        )
        return
    with pytest.raises(ValueError, match=sentence) as raised:
        load_file(model, path)
    assert str(raised.value).startswith(
        f"The torchvision weights in {str(path)!r} do not fit 'resnet18': it "
    )
    assert "\n" not in str(raised.value)
    _assert_same(model, before)


@pytest.mark.parametrize(
    ("network", "file", "layout", "likely"),
    [
        ("resnet34", "resnet18", "torchvision", "'resnet18' or 'resnetblur18'"),
        ("resnet18", "resnet26d", "timm", "'resnet26d'"),
        ("resnet18", "resnet10t", "timm", "'resnet10t'"),
        ("resnet18d", "resnet18", "timm", "'resnet18' or 'resnetblur18'"),
        ("seresnet34", "seresnet18", "timm", "'seresnet18'"),
        ("resnet10t", "resnext50_32x4d", "timm", "'resnext50_32x4d'"),
        ("resnet10t", "resnet50s", "timm", "'resnet50s'"),
    ],
)
def test_names_the_network_that_the_file_fits(tmp_path, network, file, layout, likely):
    path = tmp_path / "file.safetensors"
    export_weights(keras_resnet.create(file), path, layout)
    model = keras_resnet.create(network)
    before = _weights(model)
    with pytest.raises(
        ValueError, match=f"do not fit '{network}'.*; they fit {likely}"
    ):
        load_file(model, path)
    _assert_same(model, before)


@pytest.mark.parametrize(
    "network",
    ["resnet34", "plainnet34", "resnet32", "resnet26", "preresnet18", "resnet50v2"]
    + ["wrn_16_8", "resnet10t", "resnet50s", "resnet_vd_18", "resnext50d_32x4d"]
    + ["seresnet18", "wide_resnet50_2", "resnetaa34d", "resnet164"],
)
def test_likely_networks_of_models(network):
    """Against the shapes that the builder gives."""
    model = keras_resnet.create(network)
    shapes = {w.path: w.shape for w in model.weights}
    assert likely_networks(shapes, statement(of_model(model))) == [network]


@pytest.mark.parametrize("shortcut", ["gated-A", "C", "subsample", "none"])
def test_likely_networks_with_new_stems(monkeypatch, shortcut):
    monkeypatch.setitem(STEMS, "patches", Stem(((5, 4, 8),)))
    mine = dataclasses.replace(
        NETWORKS["resnet18"], name="mine", stem="patches", shortcut=shortcut, **SMALL
    )
    monkeypatch.setitem(NETWORKS, "mine", mine)
    shapes = {w.path: w.shape for w in keras_resnet.build(mine).weights}
    assert likely_networks(shapes, {}) == ["mine"]


def test_no_network_has_such_weights(tmp_path):
    small = keras_resnet.create("resnet18", blocks_per_stage=(1, 1, 1, 1))
    path = tmp_path / "small.safetensors"
    export_weights(small, path)
    with pytest.raises(ValueError, match="they fit no network of `keras_resnet.NETW"):
        load_file(keras_resnet.create("resnet18"), path)
    again = keras_resnet.create("resnet18", blocks_per_stage=(1, 1, 1, 1))
    load_file(again, path)
    _assert_same(again, _weights(small))


@pytest.mark.parametrize("layout", [None, "torchvision"])
def test_strides_that_no_shape_shows(tmp_path, layout):
    path = tmp_path / "v1_5.safetensors"
    export_weights(keras_resnet.create("resnet50_v1_5", **SMALL), path)
    with pytest.raises(ValueError, match="with `stride_on='3x3'` instead of '1x1'"):
        load_file(keras_resnet.create("resnet50", **SMALL), path, layout=layout)


def test_pools_that_no_shape_shows(tmp_path):
    path = tmp_path / "d.safetensors"
    export_weights(keras_resnet.create("resnet50d", **SMALL), path, "timm")
    with pytest.raises(ValueError, match="`shortcut='D'` instead of 'B'"):
        load_file(keras_resnet.create("resnet50c", **SMALL), path)
    export_weights(keras_resnet.create("resnet50c", **SMALL), path, "timm")
    with pytest.raises(ValueError, match="`shortcut='B'` instead of 'D'"):
        load_file(keras_resnet.create("resnet50d", **SMALL), path)


TINY = {"blocks_per_stage": (2, 1), "filters": (8, 16), "input_shape": (32, 32, 3)}
OTHERS = [
    ({"shortcut": "none"}, "`shortcut='A'` instead of 'none'"),
    ({"shortcut": "gated-A"}, "instead of 'gated-A'"),
    ({"shortcut": "constant_scaling-A"}, "instead of 'constant_scaling-A'"),
    ({"antialias": "blur"}, "`antialias=None` instead of 'blur'"),
    ({"antialias": "average"}, "`antialias=None` instead of 'average'"),
    ({"settings": Settings(padding="same")}, "`padding='symmetric'` instead of 'same'"),
    (
        {"settings": Settings(activation="silu")},
        "`activation='relu'` instead of 'silu'",
    ),
]


@pytest.mark.parametrize("name", ["own.weights.h5", "own.keras", "own.h5"])
def test_own_files_tell_what_no_shape_shows(tmp_path, name):
    model = keras_resnet.create("resnet20", **TINY)
    path = tmp_path / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    for change, sentence in OTHERS:
        with pytest.raises(ValueError, match=sentence):
            load_file(keras_resnet.create("resnet20", **TINY, **change), path)
    load_file(keras_resnet.create("resnet20", **TINY, stochastic_depth=0.5), path)


@pytest.mark.parametrize(("change", "sentence"), OTHERS)
def test_a_whole_model_tells_all(tmp_path, change, sentence):
    """Whatever the file's network has otherwise, in the other direction too."""
    path = tmp_path / "other.keras"
    keras_resnet.create("resnet20", **TINY, **change).save(path)
    with pytest.raises(ValueError, match="do not fit 'resnet20'"):
        load_file(keras_resnet.create("resnet20", **TINY), path)


def test_epsilons_of_others(tmp_path):
    path = tmp_path / "own.keras"
    keras_resnet.create("resnet20", **TINY).save(path)
    settings = Settings(norm_epsilon=1e-3)
    with pytest.raises(ValueError, match="`norm_epsilon=1e-05` instead of 0.001"):
        load_file(keras_resnet.create("resnet20", **TINY, settings=settings), path)


@pytest.mark.parametrize(
    "network",
    ["resnet18", "resnet20", "plainnet20", "resnet26", "resnet50", "preresnet18"]
    + ["preresnet50", "resnet50v2", "wrn_16_8", "resnet10t", "resnet_vd_18"]
    + ["resnetaa50d", "resnetblur50", "resnext50_32x4d", "seresnet18"],
)
def test_a_model_shows_what_its_spec_says(network):
    spec = NETWORKS[network]
    count = len(spec.filters)
    filters = tuple(16 * 2**stage for stage in range(count))
    small = dataclasses.replace(spec, filters=filters, blocks_per_stage=(2,) * count)
    assert of_model(keras_resnet.build(small)) == of_spec(spec)


def test_a_file_that_cannot_tell_is_said_to_be_one(tmp_path):
    path = tmp_path / "own.weights.h5"
    model = keras_resnet.create("resnet50", include_top=False)
    model.save_weights(path)
    sentence = "`stride_on='1x1'`, as .* fits 'resnet50' or 'resnet50_v1_5'"
    with pytest.warns(UserWarning, match=sentence):
        load_file(model, path)


def test_names_do_not_tell_torchvision_from_timm(resnet18, torch_file):
    model = keras.models.clone_model(resnet18)
    with pytest.warns(UserWarning, match="fits 'resnet18' or 'resnetblur18'"):
        load_file(model, torch_file)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_file(model, torch_file, layout="torchvision")
    blurred = keras_resnet.create("resnetblur18", classes=7)
    with pytest.raises(ValueError, match="`antialias=None` instead of 'blur'"):
        load_file(blurred, torch_file, layout="torchvision")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("layer1.0.conv1.weight", np.nan, "conv2_block1_1_conv/kernel holds NaN or"),
        ("fc.bias", np.inf, "predictions/bias holds NaN or infinity: get the file"),
        ("bn1.running_var", -1e-3, "conv1_bn/moving_variance is negative in places"),
    ],
)
def test_refuses_what_is_no_number(tmp_path, name, value, sentence):
    model = keras_resnet.create("resnet18", **SMALL)
    path = tmp_path / "good.safetensors"
    export_weights(model, path)
    tensors = read_tensors(path)
    tensors[name].flat[-1] = value
    safetensors.numpy.save_file(tensors, path)
    before = _weights(model)
    with pytest.raises(ValueError, match=sentence):
        load_file(model, path)
    _assert_same(model, before)


@pytest.mark.parametrize("wrapper", ["model.", "model._orig_mod.", "net.backbone."])
def test_checkpoints_of_lightning(torch, tmp_path, wrapper):
    model = keras_resnet.create("resnet18", **SMALL)
    parity.randomize_keras(model)
    path = tmp_path / "file.pth"
    export_weights(model, path)
    state = {wrapper + name: tensor for name, tensor in torch.load(path).items()}
    checkpoint = {"epoch": 3, "state_dict": state, "hyper_parameters": {"lr": 0.1}}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    again = keras_resnet.create("resnet18", **SMALL)
    load_file(again, tmp_path / "last.ckpt")
    _assert_same(again, _weights(model))
    state["criterion.weight"] = torch.ones(3)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="also has criterion.weight"):
        load_file(again, tmp_path / "last.ckpt")


def test_head_is_left_over_only_where_the_model_has_none(resnet18, torch_file):
    expected = _weights(resnet18)
    features = keras_resnet.create("resnet18", include_top=False)
    load_file(features, torch_file)
    _assert_same(features, expected, without=["predictions"])

    model = keras_resnet.create("resnet18", classes=5)
    head = model.get_layer("predictions").get_weights()
    with pytest.raises(
        ValueError, match=r"kernel \(\(512, 7\) instead of \(512, 5\)\)"
    ):
        load_file(model, torch_file)
    load_file(model, torch_file, new_head=True)
    _assert_same(model, expected, without=["predictions"])
    for before, after in zip(
        head, model.get_layer("predictions").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_new_head_for_a_file_without_one(resnet18, torch_file, tmp_path):
    path = _changed(torch_file, _drop("fc.weight", "fc.bias"), tmp_path)
    model = keras_resnet.create("resnet18", classes=7)
    load_file(model, path, new_head=True)
    _assert_same(model, _weights(resnet18), without=["predictions"])


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_input_channels_as_timm(timm, torch, resnet18, torch_file, channels):
    from timm.models import adapt_input_conv

    model = keras_resnet.create("resnet18", input_shape=(64, 64, channels), classes=7)
    load_file(model, torch_file)
    kernel = torch.from_numpy(read_tensors(torch_file)["conv1.weight"])
    expected = adapt_input_conv(channels, kernel).numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(model.get_layer("conv1_conv").get_weights()[0], expected)


def test_gray_images_in_one_channel_or_three(resnet18, torch_file):
    model = keras_resnet.create(
        "resnet18", input_shape=(64, 48, 1), classes=7, classifier_activation=None
    )
    load_file(model, torch_file)
    colored = keras_resnet.create(
        "resnet18", input_shape=(64, 48, 3), classes=7, classifier_activation=None
    )
    load_file(colored, torch_file)
    gray = parity.random_images(64, 48, 1)
    expected = colored(np.repeat(gray, 3, axis=-1)).numpy()
    parity.assert_same_outputs([model(gray)], [expected])


@pytest.mark.parametrize("network", ["resnet18", "resnet10t", "seresnet18"])
def test_inflates_to_three_dimensions(tmp_path, network):
    """On input that is constant in depth the outputs are the 2-D network's."""
    options = {"classes": 7, "classifier_activation": None}
    flat = keras_resnet.create(network, input_shape=(33, 49, 3), **options)
    parity.randomize_keras(flat)
    path = tmp_path / "flat.safetensors"
    export_weights(flat, path, "timm")
    deep = keras_resnet.create(network, rank=3, input_shape=(9, 33, 49, 3), **options)
    load_file(deep, path)
    images = parity.random_images(33, 49)
    volume = np.repeat(images[:, None], 9, axis=1)
    parity.assert_same_outputs([deep(volume)], [flat(images).numpy()])


def test_refuses_to_flatten(resnet18, torch_file):
    model = keras_resnet.create("resnet18", rank=1, input_shape=(64, 3), classes=7)
    with pytest.raises(ValueError, match=r"\(7, 7, 3, 64\) instead of \(7, 3, 64\)"):
        load_file(model, torch_file)


@pytest.mark.parametrize("name", ["own.weights.h5", "own.keras", "own.h5"])
@pytest.mark.parametrize("network", ["resnet20", "resnet10t", "preresnet18"])
def test_own_files(tmp_path, name, network):
    model = keras_resnet.create(network, classes=7)
    parity.randomize_keras(model)
    path = tmp_path / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    again = keras_resnet.create(network, classes=7)
    load_file(again, path)
    _assert_same(again, _weights(model))
    fewer = keras_resnet.create(network, classes=3)
    load_file(fewer, path, new_head=True)
    _assert_same(fewer, _weights(model), without=["predictions"])


@pytest.mark.parametrize("name", ["own.weights.h5", "own.keras"])
def test_own_v2_files_keep_their_epsilon(tmp_path, name):
    model = keras_resnet.create("resnet50v2", classes=7, **SMALL)
    for variable in model.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(1e-8 * keras.ops.ones(variable.shape))
    path = tmp_path / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    again = keras_resnet.create("resnet50v2", classes=7, **SMALL)
    load_file(again, path)
    _assert_same(again, _weights(model))


def _of_blocks(classes):
    image = keras.Input((32, 32, 8))
    x = keras_resnet.blocks.basic(image, 16, name="mine")
    x = keras.layers.LayerNormalization()(x)
    return keras.Model(image, keras.layers.Dense(classes)(x))


def test_other_architectures_are_left_to_keras(tmp_path):
    model = _of_blocks(classes=5)
    parity.randomize_keras(model)
    path = tmp_path / "mine.weights.h5"
    model.save_weights(path)
    again = _of_blocks(classes=5)
    load_file(again, path)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    # Keras loads the block before it finds that the classes differ.
    other = _of_blocks(classes=4)
    before = other.get_weights()
    with pytest.raises(ValueError, match="do not fit 'functional"):
        load_file(other, path)
    for a, b in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_unknown_layouts(resnet18, tmp_path):
    path = tmp_path / "bert.safetensors"
    safetensors.numpy.save_file({"encoder.layer.0.attention": np.ones(3)}, path)
    with pytest.raises(ValueError, match="'encoder.layer.0.attention', are of none of"):
        load_file(resnet18, path)
    with pytest.raises(ValueError, match="`layout` must be None or one of 'keras'"):
        load_file(resnet18, path, layout="caffe")
    with pytest.raises(ValueError, match="also has encoder.layer.0.attention"):
        load_file(resnet18, path, layout="torchvision")
