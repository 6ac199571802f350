"""What no weight's name or shape shows of a network, and its outputs depend on."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_resnet.shortcuts import SHORTCUTS
from keras_resnet.spec import ResNetSpec

Traits = Mapping[str, Any]
"""Values by the names that `ResNetSpec` and `Settings` have for them.

`shortcut` is A, B, C, D (also for vd), subsample, none, or what scales the sum's terms.
What cannot be told is left out.
"""

Statement = Mapping[str, Collection[Any]]
"""The values that each trait may have, as somebody says."""

_SCALED = ("gated", "gated_uncoupled", "gated_shortcut_only", "constant_scaling")


class Facts(NamedTuple):
    """What is known of a layer.

    Args:
        kind: Its class, such as `AveragePooling2D` or `average_pooling2d`.
        config: Its configuration; empty if only the class is known.
    """

    kind: str
    config: Mapping[str, Any]

    def is_a(self, kind: str) -> bool:
        """Returns whether it is of a class, such as `"averagepooling"`, of any rank."""
        name = self.kind.rpartition(">")[2]
        return name.replace("_", "").lower().startswith(kind)


def of_model(model: keras.Model) -> Traits:
    """Returns the traits of a model of this package; none for any other.

    Example:

    >>> of_model(keras_resnet.create("resnet20"))["shortcut"]
    'A'
    """
    return of_layers(
        {
            name: Facts(type(layer).__name__, _config(layer))
            for name, layer in layers_by_name(model).items()
            if re.match(r"conv\d|pool1_|post_", name)
        }
    )


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns what traits are read from; Keras' own imports TensorFlow on the way."""
    fields = ("strides", "kernel_size", "epsilon")
    config = {field: getattr(layer, field) for field in fields if hasattr(layer, field)}
    if activation := getattr(layer, "activation", None):
        config["activation"] = getattr(activation, "__name__", activation)
    return config


def of_layers(layers: Mapping[str, Facts]) -> Traits:
    """Returns the traits of a network by what is known of its layers, by name."""
    blocks = [match[1] for name in layers if (match := _FIRST_OF_BLOCK.fullmatch(name))]
    if not blocks:
        return {}
    return {
        **_shortcut(layers, blocks),
        **_strides(layers),
        **_antialias(layers),
        **_padding(layers),
        **_activation(layers),
        **_stem(layers),
    }


_FIRST_OF_BLOCK = re.compile(r"(conv\d+_block\d+)_1_conv")


def of_spec(spec: ResNetSpec) -> Traits:
    """Returns the traits of what `keras_resnet.build` makes of a spec by default.

    Example:

    >>> of_spec(NETWORKS["resnetblur50"])["antialias"]
    'blur'
    """
    traits = {
        "shortcut": _shortcut_of_spec(spec),
        "antialias": spec.antialias,
        "padding": "symmetric",
        "activation": "relu",
        "norm_epsilon": 1e-5,
    }
    if spec.block.startswith("bottleneck"):
        traits["stride_on"] = spec.stride_on
    if spec.block.endswith("_v2"):
        traits["strided_block"] = spec.strided_block
        if spec.stem.startswith("imagenet"):
            traits["stem"] = spec.stem
    return traits


def statement(traits: Traits) -> Statement:
    """Returns the statement that a network has exactly these traits."""
    return {trait: (value,) for trait, value in traits.items()}


def differences(traits: Traits, said: Statement) -> list[str]:
    """Returns the traits that a network has otherwise than somebody says.

    Example:

    >>> differences({"antialias": None}, {"antialias": ("blur",)})
    ["`antialias='blur'` instead of None"]
    """
    return [
        f"`{trait}={' or '.join(map(repr, values))}` instead of {traits[trait]!r}"
        for trait, values in said.items()
        if trait in traits and traits[trait] not in values
    ]


def layers_by_name(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the layers of a model, and of the models in it, by their names."""
    layers = {}
    for layer in model.layers:
        layers[layer.name] = layer
        if isinstance(layer, keras.Model):
            layers.update(layers_by_name(layer))
    return layers


def _named(layers: Mapping[str, Facts], pattern: str) -> Iterator[Facts]:
    return (facts for name, facts in layers.items() if re.fullmatch(pattern, name))


def _shortcut(layers: Mapping[str, Facts], blocks: Sequence[str]) -> Traits:
    sums = (layers.get(f"{b}_add") or layers.get(f"{b}_out") for b in blocks)
    if not all(last and last.is_a("add") for last in sums):
        return {"shortcut": "none"}
    pools = list(_named(layers, r".*_0_pool"))
    if any(_named(layers, r".*_0_zero_pad")):
        carry = "A"
    elif pools:
        carry = "D" if pools[0].is_a("averagepooling") else "subsample"
    elif any(_named(layers, r"conv\d+_block([2-9]|\d\d+)_0_conv")):
        carry = "C"
    elif any(_named(layers, r".*_0_conv")):
        carry = "B"
    else:
        return {}
    return {"shortcut": _scaled(layers, carry)}


def _scaled(layers: Mapping[str, Facts], carry: str) -> str:
    """Returns the name of a shortcut, which may scale the terms of the sum."""
    terms = list(_named(layers, r".*_carried"))
    if not terms or terms[0].is_a("dropout"):
        return carry
    if terms[0].is_a("rescaling"):
        join = "constant_scaling"
    elif not any(_named(layers, r".*_transformed")):
        join = "gated_shortcut_only"
    else:
        is_coupled = any(_named(layers, r".*_gate_rest"))
        join = "gated" if is_coupled else "gated_uncoupled"
    return join if carry == "B" else f"{join}-{carry}"


def _shortcut_of_spec(spec: ResNetSpec) -> str:
    if spec.shortcut.removesuffix("-A") in _SCALED:
        return spec.shortcut
    carry = SHORTCUTS[spec.first_shortcut or spec.shortcut].carry
    if carry is None:
        return "none"
    if carry.pads_channels:
        return "A"
    if carry.pools:
        return "D"
    return {"channels": "subsample", "shape": "B", "always": "C"}[carry.projects]


def _strides(layers: Mapping[str, Facts]) -> Traits:
    traits = {}
    parts = re.compile(r"(conv\d+)_block(\d+)_([1-3])_(conv|subsample)")
    strided = [
        match.groups()
        for name, facts in layers.items()
        if (match := parts.fullmatch(name))
        and (match[4] == "subsample" or max(facts.config.get("strides", (1,))) > 1)
    ]
    if any(_named(layers, r"conv\d+_block\d+_3_conv")):
        if any(number == "1" for _, _, number, _ in strided):
            traits["stride_on"] = "1x1"
        # Images are padded before a strided 3x3; a file may tell of that alone.
        elif strided or any(_named(layers, r"conv\d+_block\d+_2_(aa|pad)")):
            traits["stride_on"] = "3x3"
    if any(_named(layers, r".*_preact_bn")):
        for stage, block, *_ in strided:
            if block != "1":
                traits["strided_block"] = "last"
            elif f"{stage}_block2_1_conv" in layers:
                traits["strided_block"] = "first"
    return traits


def _antialias(layers: Mapping[str, Facts]) -> Traits:
    for pool in _named(layers, r".*_aa"):
        return {"antialias": "blur" if pool.is_a("blurpool") else "average"}
    return {"antialias": None}


def _padding(layers: Mapping[str, Facts]) -> Traits:
    if any(_named(layers, r"conv\d+(_block\d+)?(_\d)?_pad")):
        return {"padding": "symmetric"}
    for conv in _named(layers, r".*_conv"):
        if min(conv.config.get("kernel_size", (1,))) > 1 < max(conv.config["strides"]):
            return {"padding": "same"}
    return {}


def _activation(layers: Mapping[str, Facts]) -> Traits:
    traits: dict[str, Any] = {}
    for layer in _named(layers, r".*_relu"):
        name = "relu" if layer.is_a("relu") else layer.config.get("activation")
        if name is not None:
            traits["activation"] = str(name)
    for norm in _named(layers, r".*_bn"):
        if norm.config:
            traits["norm_epsilon"] = norm.config["epsilon"]
    return traits


def _stem(layers: Mapping[str, Facts]) -> Traits:
    if not any(_named(layers, r".*_preact_bn")) or "pool1_pad" not in layers:
        return {}
    is_reflected = layers["pool1_pad"].is_a("reflectionpadding")
    return {"stem": "imagenet_v2" if is_reflected else "imagenet_v2_keras"}
