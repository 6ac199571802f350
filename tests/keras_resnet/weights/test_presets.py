"""The table of presets against what the publishers' own packages say."""

import math
import pathlib
import re

import pytest

import keras_resnet
from keras_resnet.networks import NETWORKS
from keras_resnet.preprocessing import MODES
from keras_resnet.weights import __main__ as command
from keras_resnet.weights import layouts
from keras_resnet.weights.presets import (
    DEFAULTS,
    PRESETS,
    as_table,
    default_preset,
    list_presets,
)


def published_by(publisher):
    return {
        name.removeprefix(f"{publisher}/"): preset
        for name, preset in PRESETS.items()
        if name.startswith(f"{publisher}/")
    }


def our_name(network):
    """Others' name of a network that has the stride on the 3x3 convolution."""
    return (
        f"{network}_v1_5"
        if network in ("resnet50", "resnet101", "resnet152")
        else network
    )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_is_of_a_network_and_layout_of_ours(preset):
    assert preset.network in NETWORKS
    assert preset.layout in layouts.LAYOUTS
    assert preset.source.startswith(("https://", "hf://", "kaggle://"))
    # A file without a checksum comes from where the hub itself keeps them.
    assert (preset.checksum is None) == (not preset.source.startswith("https://"))
    assert (preset.notop_source is None) == (preset.notop_checksum is None)
    if preset.preprocessing is not None and preset.preprocessing.crop is not None:
        assert preset.preprocessing.crop == preset.input_size
        assert preset.preprocessing.resize >= preset.preprocessing.crop


def test_keras_applications():
    import keras
    from keras.src.applications import resnet

    presets = published_by("keras")
    assert set(presets) == {
        name for name in resnet.WEIGHTS_HASHES if "resnext" not in name
    }
    for name, preset in presets.items():
        hashes = preset.checksum, preset.notop_checksum
        assert hashes == tuple(f"md5:{md5}" for md5 in resnet.WEIGHTS_HASHES[name])
        file = f"{resnet.BASE_WEIGHTS_PATH}{name}_weights_tf_dim_ordering_tf_kernels"
        assert (preset.source, preset.notop_source) == (
            f"{file}.h5",
            f"{file}_notop.h5",
        )
        assert (preset.network, preset.layout) == (name, "keras")
        module = (
            keras.applications.resnet_v2 if "v2" in name else keras.applications.resnet
        )
        mode = "tf" if "v2" in name else "caffe"
        assert preset.preprocessing == MODES[mode]
        pixels = 255.0 * keras.ops.ones((1, 1, 1, 3))
        expected = keras.applications.imagenet_utils.preprocess_input(pixels, mode=mode)
        assert (module.preprocess_input(pixels) == expected).numpy().all()


def test_torchvision(torch_operators):
    models = pytest.importorskip("torchvision").models
    presets = published_by("torchvision")
    seen = set()
    for network in models.list_models(module=models):
        if not re.match(r"(wide_)?resnex?t\d", network):
            continue
        weights_of_network = models.get_model_weights(network)
        for weights in weights_of_network:
            name = f"{network}.{weights.name.lower()}"
            preset, transforms = presets[name], weights.transforms()
            seen.add(name)
            assert preset.source == weights.url
            digits = re.search("-([0-9a-f]{8})", weights.url)[1]
            assert preset.checksum == f"sha256:{digits}"
            assert (preset.network, preset.layout) == (our_name(network), "torchvision")
            metrics = weights.meta["_metrics"]["ImageNet-1K"]
            assert (preset.top1, preset.top5) == (metrics["acc@1"], metrics["acc@5"])
            assert preset.classes == len(weights.meta["categories"])
            assert preset.input_size == transforms.crop_size[0]
            millions = weights.meta["num_params"] / 1e6
            assert f"| {millions:.1f} |" in as_table(preset.name)
            preprocessing = preset.preprocessing
            assert [preprocessing.crop] == transforms.crop_size
            assert [preprocessing.resize] == transforms.resize_size
            assert list(preprocessing.mean) == transforms.mean
            assert list(preprocessing.std) == transforms.std
            assert preprocessing.interpolation == transforms.interpolation.value
        default = f"torchvision/{network}.{weights_of_network.DEFAULT.name.lower()}"
        assert DEFAULTS[our_name(network)] == default
    assert seen == set(presets)


def test_timm(timm):
    presets = published_by("timm")
    for name, preset in presets.items():
        config = timm.get_pretrained_cfg(name)
        assert preset.source == f"hf://{config.hf_hub_id}"
        assert preset.network == our_name(config.architecture)
        assert preset.licence == config.license
        assert preset.classes == config.num_classes
        data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
        preprocessing = preset.preprocessing
        assert data["input_size"] == (3, preset.input_size, preset.input_size)
        assert data["crop_mode"] == "center"
        assert preprocessing.resize == math.floor(preset.input_size / data["crop_pct"])
        assert preprocessing.mean == data["mean"]
        assert preprocessing.std == data["std"]
        assert preprocessing.interpolation == data["interpolation"]
        # Results are of timm's larger test sizes, where it has any.
        tested = (config.test_input_size or config.input_size)[-1]
        if preset.top1:
            assert (preset.result_size or preset.input_size) == tested
            assert 50 < preset.top1 < preset.top5 < 100
        # Those that came after the results, and those that know other classes.
        assert (preset.top1 is None) == ("ra4" in name or preset.classes != 1000)


def test_timm_has_no_others_for_our_networks(timm):
    ours = {our_name(network) for network in timm.list_models(module="resnet")}
    published = {
        name
        for name in timm.list_pretrained()
        if our_name(name.split(".")[0]) in ours & set(NETWORKS)
        # Torchvision's, which are presets of torchvision, and one without a classifier.
        and name.split(".")[1] not in ("tv_in1k", "tv2_in1k", "bamboo")
    }
    assert published == set(published_by("timm"))


def test_mirrors_hold_the_files_of_torchvision(timm):
    for preset in published_by("torchvision").values():
        config = timm.get_pretrained_cfg(preset.mirror.removeprefix("hf://timm/"))
        assert preset.mirror == f"hf://{config.hf_hub_id}"
        assert preset.source == config.url


def test_timm_defaults(timm):
    for network, name in DEFAULTS.items():
        if name.startswith("timm/"):
            config = timm.get_pretrained_cfg(network)
            commercial = "-nc-" not in config.license
            assert (name == config.hf_hub_id) == commercial


def test_keras_hub():
    resnet_presets = pytest.importorskip(
        "keras_hub.src.models.resnet.resnet_presets", exc_type=ImportError
    )
    published = resnet_presets.backbone_presets
    presets = published_by("keras_hub")
    assert set(presets) == set(published)
    for name, preset in presets.items():
        assert preset.source == published[name]["kaggle_handle"]
        kind, depth = re.fullmatch(r"resnet_(v2_|vd_)?(\d+)_.*", name).groups()
        plain = our_name(f"resnet{depth}")
        ours = {"v2_": f"preresnet{depth}", "vd_": f"resnet_vd_{depth}", None: plain}
        assert preset.network == ours[kind]


def test_transformers_presets_are_for_the_stride_on_the_3x3():
    transformers = pytest.importorskip("transformers")
    assert transformers.ResNetConfig().downsample_in_bottleneck is False
    assert {preset.network for preset in published_by("microsoft").values()} == {
        our_name(f"resnet{depth}") for depth in (18, 26, 34, 50, 101, 152)
    }


def test_every_network_with_presets_for_imagenet_has_a_default():
    free = {
        preset.network
        for preset in PRESETS.values()
        if preset.classes == 1000 and "-nc-" not in (preset.licence or "")
    }
    assert set(DEFAULTS) == free
    for network in DEFAULTS:
        assert default_preset(network).network == network
        assert default_preset(network).classes == NETWORKS[network].classes == 1000


@pytest.mark.parametrize(
    ("network", "preset"),
    [
        ("resnet18", "torchvision/resnet18.imagenet1k_v1"),
        ("resnet50", "keras/resnet50"),
        ("resnet50_v1_5", "torchvision/resnet50.imagenet1k_v2"),
        ("resnet152v2", "keras/resnet152v2"),
        ("resnet50d", "timm/resnet50d.ra2_in1k"),
        ("resnet_vd_50", "keras_hub/resnet_vd_50_imagenet"),
    ],
)
def test_default(network, preset):
    assert default_preset(network) is PRESETS[preset]


def test_no_default():
    with pytest.raises(ValueError, match="'resnet19'.*such as .*resnet1[0-9]"):
        default_preset("resnet19")


def test_list_presets():
    assert list_presets() == list(PRESETS)
    assert list_presets("keras/*v2") == [
        "keras/resnet50v2",
        "keras/resnet101v2",
        "keras/resnet152v2",
    ]
    assert list_presets("resnet26t") == ["timm/resnet26t.ra2_in1k"]
    assert list_presets("*a1_in1k*")[0] == "timm/resnet18.a1_in1k"
    assert list_presets("nothing") == []


def test_rows_of_some_presets(capsys):
    command.main(["resnet10t"])
    *_, row = capsys.readouterr().out.splitlines()
    millions = keras_resnet.create("resnet10t").count_params() / 1e6
    assert row == (
        f"| **`timm/resnet10t.c3_in1k`** | `resnet10t` | {millions:.1f} | 201, 176 "
        "bicubic | torch | 68.358 / 88.04 at 224 | apache-2.0 |"
    )


def test_the_table_in_the_docs():
    page = pathlib.Path(__file__).parents[3] / "docs" / "weights.md"
    assert as_table() in page.read_text(encoding="utf-8")
    assert as_table().count("\n") == len(PRESETS) + 1
