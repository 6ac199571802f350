"""The table of networks against what their publishers count."""

import dataclasses
import functools
import importlib
import math
import pydoc

import keras
import pytest

import keras_resnet
from keras_resnet import NETWORKS, Settings

# Zeros are drawn fastest; no test here looks at the numbers.
ZEROS = Settings(kernel_initializer="zeros")


@functools.cache
def _count(spec):
    counted = keras_resnet.analysis.cost(keras_resnet.build(spec, settings=ZEROS))
    return counted.parameters


def by_blocks(count, spec):
    """What `count` gives for `spec`, by counting at most two blocks of each stage.

    All blocks after a stage's first are alike, and building 1202 layers takes long.
    """
    spec = dataclasses.replace(spec, name="counted", stochastic_depth=0.0)
    ones = (1,) * len(spec.filters)
    total = first = count(dataclasses.replace(spec, blocks_per_stage=ones))
    for stage, blocks in enumerate(spec.blocks_per_stage):
        if blocks > 1:
            more = (*ones[:stage], 2, *ones[stage + 1 :])
            second = count(dataclasses.replace(spec, blocks_per_stage=more))
            total += (blocks - 1) * (second - first)
    return total


def parameters(name):
    """What learns: batch norms' moving averages are no parameters elsewhere."""
    return by_blocks(_count, NETWORKS[name])


@pytest.mark.parametrize("name", ["resnet20", "resnet50d", "resnet50v2", "seresnet34"])
def test_counting_by_blocks_is_counting(name):
    counted = keras_resnet.analysis.cost(keras_resnet.create(name, settings=ZEROS))
    assert parameters(name) == counted.parameters


def published(name):
    """The name that timm and torchvision have for a network: they know no other."""
    return name.removesuffix("_v1_5")


# Papers and their printed numbers of parameters, in millions.
PAPERS = {
    # 1512.03385, Table 6.
    "resnet20": "0.27",
    "resnet32": "0.46",
    "resnet44": "0.66",
    "resnet56": "0.85",
    "resnet110": "1.7",
    "resnet1202": "19.4",
    # 1603.05027, as 1605.07146 lists them in its Table 5. For resnet1001 that has 10.2
    # where public implementations count 10,327,706: see REIMPLEMENTED.
    "preresnet110": "1.7",
    "resnet164": "1.7",
    # 1605.07146, Table 5.
    "wrn_40_4": "8.9",
    "wrn_16_8": "11.0",
    "wrn_28_10": "36.5",
    # 1603.09382 drops blocks of the paper's networks.
    "resnet110_stochastic_depth": "1.7",
    "resnet1202_stochastic_depth": "19.4",
}

# As osmr/imgclsmob counts its PreResNet-164(BN), PreResNet-1001 and WRN-28-10.
REIMPLEMENTED = {
    "resnet164": 1_703_258,
    "resnet1001": 10_327_706,
    "wrn_28_10": 36_479_194,
}

# Plain networks have their twins' parameters but the projections of option B: from
# 64 to 128, 128 to 256 and 256 to 512 channels, each with a batch norm.
PROJECTIONS = sum(n * 2 * n + 2 * 2 * n for n in (64, 128, 256))
PLAIN = [name for name in NETWORKS if name.startswith("plainnet")]

KERAS = {f"resnet{depth}v2": f"ResNet{depth}V2" for depth in (50, 101, 152)}

# KerasHub's arguments for ResNetBackbone.
KERAS_HUB = {
    **{f"preresnet{d}": {"use_pre_activation": True} for d in (18, 34, 50, 101, 152)},
    "preresnet200": {"use_pre_activation": True},
    **{
        f"resnet_vd_{d}": {
            "input_conv_filters": (32, 32, 64),
            "input_conv_kernel_sizes": (3, 3, 3),
        }
        for d in (18, 34, 50, 101, 152, 200)
    },
}

OTHERS = {*PAPERS, *REIMPLEMENTED, *PLAIN, *KERAS, *KERAS_HUB}
TIMM = [name for name in NETWORKS if name not in OTHERS]


def test_every_network_has_a_publisher():
    groups = [TIMM, PAPERS, REIMPLEMENTED, PLAIN, KERAS, KERAS_HUB]
    assert set(NETWORKS) == {name for group in groups for name in group}


def _torch_parameters(network):
    return sum(tensor.numel() for tensor in network.parameters())


def _trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", TIMM)
def test_parameters_of_timm_and_torchvision(name, timm, torchvision):
    import torch

    with torch.device("meta"):
        expected = _torch_parameters(timm.create_model(published(name)))
        if published(name) in torchvision.models.list_models():
            peer = torchvision.models.get_model(published(name))
            assert _torch_parameters(peer) == expected
    assert parameters(name) == expected


@pytest.mark.parametrize("name", PAPERS)
def test_parameters_of_the_papers(name):
    digits = len(PAPERS[name].split(".")[1])
    assert f"{parameters(name) / 1e6:.{digits}f}" == PAPERS[name]


@pytest.mark.parametrize("name", REIMPLEMENTED)
def test_parameters_of_public_implementations(name):
    assert parameters(name) == REIMPLEMENTED[name]


@pytest.mark.parametrize("name", KERAS)
def test_parameters_of_keras_applications(name):
    peer = getattr(keras.applications, KERAS[name])(weights=None)
    assert parameters(name) == sum(
        w.value.shape.num_elements() for w in peer.trainable_weights
    )


@functools.cache
def _count_keras_hub(spec, **options):
    from keras_hub.models import ResNetBackbone

    backbone = ResNetBackbone(
        **{
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": list(spec.filters),
            "stackwise_num_blocks": list(spec.blocks_per_stage),
            "stackwise_num_strides": [1, 2, 2, 2],
            **{
                key: list(v) if isinstance(v, tuple) else v
                for key, v in options.items()
            },
        }
    )
    return _trainable(backbone)


@pytest.mark.parametrize("name", KERAS_HUB)
def test_parameters_of_keras_hub(name):
    if not importlib.util.find_spec("keras_hub"):
        pytest.skip("KerasHub is not installed")
    spec = NETWORKS[name]
    block = "basic_block" if "basic" in spec.block else "bottleneck_block"
    options = dict(KERAS_HUB[name], block_type=block)
    if "vd" in name:
        options["block_type"] += "_vd"
    counted = by_blocks(functools.partial(_count_keras_hub, **options), spec)
    features = spec.filters[-1] * (1 if "basic" in spec.block else 4)
    assert parameters(name) == counted + (features + 1) * spec.classes


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_differ_by_the_shortcut_alone(name):
    plain, residual = NETWORKS[name], NETWORKS[name.replace("plain", "res")]
    assert plain == dataclasses.replace(residual, name=name, shortcut="none")
    projections = PROJECTIONS if residual.shortcut == "B" else 0
    assert parameters(residual.name) - parameters(name) == projections


def test_functions_are_called_as_their_networks_are():
    names = [name for name in keras_resnet.__all__ if name.lower() in NETWORKS]
    assert len(names) == 23
    for name in names:
        assert getattr(keras_resnet, name).__name__ == name


def test_the_two_resnet50_differ_by_their_stride_alone():
    paper, modern = NETWORKS["resnet50"], NETWORKS["resnet50_v1_5"]
    assert paper == dataclasses.replace(modern, name="resnet50", stride_on="1x1")
    assert parameters("resnet50") == parameters("resnet50_v1_5")


def test_multiply_adds_of_section_3_3():
    """3.6 against 19.6 x 10^9 for the 34-layer plain network and VGG-19."""
    compared = keras_resnet.analysis.compare_costs(
        keras_resnet.create("resnet34", settings=ZEROS),
        keras_resnet.create("plainnet34", settings=ZEROS),
        keras.applications.VGG19(weights=None),
    )
    billions = {name: c.multiply_adds / 1e9 for name, c in compared.costs.items()}
    assert abs(billions["plainnet34"] - 3.6) < 0.05
    assert abs(billions["vgg19"] - 19.6) < 0.05
    # Projections are what the residual twin adds.
    projections = sum(28**2 // 4**i * 64 * 2**i * 128 * 2**i for i in range(3)) / 1e9
    assert billions["resnet34"] - billions["plainnet34"] == pytest.approx(projections)
    lines = str(compared).splitlines()
    assert [line.split()[0] for line in lines] == ["network", *billions]
    assert lines[-1].split()[1:] == ["143,667,240", "19,632,062,464"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("resnext101*", [f"resnext101_{k}" for k in ("32x4d", "32x8d", "64x4d")]),
        ("plainnet?4", ["plainnet34", "plainnet44"]),
        ("wide_resnet50_2", ["wide_resnet50_2"]),
        ("vgg*", []),
    ],
)
def test_list_models(pattern, names):
    found = keras_resnet.list_models(pattern)
    assert found == names or sorted(found) == sorted(names)


def test_list_models_lists_all_in_the_tables_order():
    assert keras_resnet.list_models() == list(NETWORKS)
    assert all(NETWORKS[name].name == name for name in NETWORKS)


def test_create_overrides_the_spec_and_the_build():
    model = keras_resnet.create(
        "resnet20",
        shortcut="C",
        blocks_per_stage=(1, 1, 1),
        input_shape=(24, 40, 4),
        classes=3,
        name="mine",
        classifier_activation=None,
    )
    expected = keras_resnet.build(
        dataclasses.replace(
            NETWORKS["resnet20"], shortcut="C", blocks_per_stage=(1, 1, 1)
        ),
        input_shape=(24, 40, 4),
        classes=3,
    )
    assert model.name == "mine"
    assert model.input_shape == (None, 24, 40, 4)
    assert model.output_shape == (None, 3)
    assert model.layers[-1].activation is keras.activations.linear
    names = [[layer.name for layer in m.layers[1:]] for m in (model, expected)]
    assert names[0] == names[1]


def test_every_field_can_be_overridden():
    """None is forgotten when the spec grows."""
    tiny = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1))
    for field in dataclasses.fields(keras_resnet.ResNetSpec):
        value = getattr(tiny, field.name)
        changes = {"blocks_per_stage": tiny.blocks_per_stage, field.name: value}
        model = keras_resnet.create("resnet20", **changes)
        assert keras_resnet.analysis.cost(model).parameters == _count(tiny)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet5O", "'resnet50'"),
        ("ResNet50", "'resnet50'"),
        ("resnext50", "'resnext50_32x4d'"),
        ("wide_resnet50", "'wide_resnet50_2'"),
        ("se_resnet50", "'seresnet50'"),
    ],
)
def test_unknown_names_are_answered_by_near_ones(name, near):
    with pytest.raises(ValueError, match=f"no network '{name}'.*{near}"):
        keras_resnet.create(name)


def test_names_like_no_other_are_answered_by_the_list():
    with pytest.raises(
        ValueError, match=r"no network 'vgg16'\W+`keras_resnet.list_models"
    ):
        keras_resnet.create("vgg16")


def test_unknown_overrides_are_type_errors():
    with pytest.raises(TypeError, match="`cardinalty`: did you mean `cardinality`"):
        keras_resnet.create("resnet20", cardinalty=32)
    with pytest.raises(TypeError, match="`clases`: did you mean `classes`"):
        keras_resnet.ResNet20(clases=5)
    with pytest.raises(ValueError, match="`cardinality=32` means nothing to"):
        keras_resnet.create("resnet20", cardinality=32)


def test_help_and_dir_show_what_is_for_users():
    text = pydoc.render_doc(keras_resnet, renderer=pydoc.plaintext)
    functions = text[text.index("\nFUNCTIONS") : text.index("\nDATA")]
    for name in ("ResNet50", "create", "build", "load_weights", "list_models"):
        assert f"    {name}(" in functions
    assert {"ResNet50", "Settings", "NETWORKS", "blocks"} <= set(dir(keras_resnet))
    assert not {"builder", "conv", "networks", "spec"} & set(dir(keras_resnet))
    for name in dir(keras_resnet):
        assert getattr(keras_resnet, name) is not None
