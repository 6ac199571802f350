"""What we write, read by those it is written for, and by ourselves."""

import keras
import numpy as np
import parity
import pytest

import keras_resnet
from keras_resnet.weights.exporting import export_weights
from keras_resnet.weights.importing import load_file

SIZE = (97, 65)


def _model(network, **options):
    model = keras_resnet.create(
        network, **{"input_shape": (*SIZE, 3), "classifier_activation": None, **options}
    )
    parity.randomize_keras(model)
    return model


def _assert_round_trip(model, path):
    before = model.get_weights()
    for variable in model.weights:
        variable.assign(keras.ops.zeros(variable.shape))
    load_file(model, path)
    for variable, array in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, array, err_msg=variable.path)


def _state(torch, path):
    from safetensors.torch import load_file as load_safetensors

    if path.suffix == ".safetensors":
        return load_safetensors(path)
    return torch.load(path, weights_only=True)


def _logits(torch, peer):
    peer.eval()
    images = parity.random_images(*SIZE).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return peer(torch.from_numpy(np.ascontiguousarray(images))).numpy()


@pytest.mark.parametrize(
    ("network", "function", "suffix"),
    [
        ("resnet18", "resnet18", ".safetensors"),
        ("resnext50_32x4d", "resnext50_32x4d", ".pth"),
    ],
)
def test_torchvision(torch, torchvision_models, tmp_path, network, function, suffix):
    model = _model(network)
    path = tmp_path / f"export{suffix}"
    export_weights(model, path)
    peer = getattr(torchvision_models, function)()
    peer.load_state_dict(_state(torch, path), strict=True)
    parity.assert_same_outputs(
        [model(parity.random_images(*SIZE))], [_logits(torch, peer)]
    )
    _assert_round_trip(model, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("network", "function"),
    [
        ("resnet26", None),
        ("resnet26d", None),
        ("resnet14t", None),
        ("seresnet18", None),
        ("resnetblur18", None),
    ],
)
def test_timm(torch, timm, tmp_path, network, function):
    model = _model(network)
    path = tmp_path / "export.safetensors"
    export_weights(model, path, layout="timm")
    peer = timm.create_model(function or network)
    peer.load_state_dict(_state(torch, path), strict=True)
    parity.assert_same_outputs(
        [model(parity.random_images(*SIZE))], [_logits(torch, peer)]
    )
    _assert_round_trip(model, path)


@pytest.mark.parametrize(
    ("network", "function", "name", "options"),
    [
        ("resnet50", "ResNet50", "export.weights.h5", {}),
        ("resnet50v2", "ResNet50V2", "export.h5", {"classes": 7}),
        ("resnet50v2", "ResNet50V2", "notop.weights.h5", {"include_top": False}),
    ],
)
def test_keras(tmp_path, network, function, name, options):
    if options.get("include_top", True):
        model = _model(network, **options)
    else:
        model = keras_resnet.create(network, **options)
        parity.randomize_keras(model)
    path = tmp_path / name
    export_weights(model, path, layout="keras")
    peer = getattr(keras.applications, function)(
        weights=path,
        input_shape=(*SIZE, 3),
        **({"classifier_activation": None} if "include_top" not in options else {}),
        **options,
    )
    images = parity.random_images(*SIZE)
    parity.assert_same_outputs([model(images)], [peer(images).numpy()])
    _assert_round_trip(model, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_keras_variances_below_the_difference_of_the_epsilons(tmp_path):
    model = keras_resnet.create("resnet50", include_top=False)
    parity.randomize_keras(model)
    for variable in model.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(2e-9 * keras.ops.ones(variable.shape))
        elif variable.path.endswith("gamma"):
            variable.assign(2e-3 * keras.ops.ones(variable.shape))
    path = tmp_path / "export.weights.h5"
    export_weights(model, path, layout="keras")
    peer = keras.applications.ResNet50(weights=path, include_top=False)
    images = parity.random_images(*SIZE)
    parity.assert_same_outputs([model(images)], [peer(images).numpy()])


SAME = keras_resnet.Settings(padding="same")
SMALL = {"blocks_per_stage": (1, 1, 1, 1), "filters": (8, 8, 8, 8)}


@pytest.mark.parametrize(
    ("network", "options", "layout", "sentence"),
    [
        ("resnet50", SMALL, "torchvision", "`stride_on='3x3'` instead of '1x1'"),
        ("resnet50_v1_5", {}, "keras", "`stride_on='1x1'` instead of '3x3'"),
        ("resnet10t", {}, "torchvision", "`shortcut='B'` instead of 'D'"),
        ("seresnet18", {}, "torchvision", "no name for conv2_block1_se_1_conv/kernel"),
        ("resnetblur18", {}, "torchvision", "`antialias=None` instead of"),
        ("preresnet18", {}, "timm", "no name for conv2_block1_preact_bn/gamma"),
        ("resnet20", {}, "timm", "`shortcut='B'` instead of 'A'"),
        ("plainnet18", {}, "timm", "`shortcut='B'` instead of 'none'"),
        ("resnet18", {"shortcut": "C"}, "timm", "`shortcut='B'` instead of 'C'"),
        (
            "resnet18",
            {"shortcut": "constant_scaling"},
            "timm",
            "instead of 'constant_scaling'",
        ),
        ("resnet18", {"settings": SAME}, "timm", "`padding='symmetric'` instead of"),
        ("resnet18", {}, "keras", "it is none of 'resnet50', 'resnet101'"),
        ("resnet18", {}, "keras_hub", "`layout` must be one of 'torchvision', 'timm'"),
    ],
)
def test_refuses_what_the_peer_would_compute_otherwise(
    tmp_path, network, options, layout, sentence
):
    model = keras_resnet.create(network, **options)
    name = "export.h5" if layout == "keras" else "export.pth"
    with pytest.raises(ValueError, match=sentence):
        export_weights(model, tmp_path / name, layout)
    assert not list(tmp_path.iterdir())


def test_suffixes(tmp_path):
    model = keras_resnet.create("resnet18")
    for layout, name in (("timm", "export.h5"), ("keras", "export.pth")):
        with pytest.raises(ValueError, match=f"must end in .* for `layout='{layout}'`"):
            export_weights(model, tmp_path / name, layout)


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    import safetensors.numpy

    def fail(state, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    path = tmp_path / "export.safetensors"
    path.write_bytes(b"whole")
    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        export_weights(keras_resnet.create("resnet18"), path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"whole"]
