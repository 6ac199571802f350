"""Any valid spec builds, costs what arithmetic says, saves and loads."""

import dataclasses
import math
import tempfile

import hypothesis
import keras
import numpy as np
import pytest
import reference
from hypothesis import strategies as st

import keras_resnet
from keras_resnet.shortcuts import SHORTCUTS

V1_STEMS = ["imagenet", "cifar", "deep", "deep_tiered"]
V2_STEMS = ["imagenet_v2", "imagenet_v2_keras", "cifar_v2"]
RESIDUAL = sorted(set(SHORTCUTS) - {"none"})


@st.composite
def specs(draw):
    """Tiny networks of every kind."""

    def one_of(*values):
        return draw(st.sampled_from(values))

    stages = draw(st.integers(1, 3))
    block = one_of("basic", "bottleneck", "basic_v2", "bottleneck_v2")
    is_v2, is_bottleneck = block.endswith("v2"), block.startswith("bottleneck")
    filters = sorted(one_of(8, 12, 16, 24) for _ in range(stages))
    plain = draw(st.integers(0, 4)) == 0
    options = {}
    if is_bottleneck:
        options["stride_on"] = one_of("1x1", "3x3")
        options["cardinality"] = one_of(1, 2, 3)
        options["base_width"] = one_of(8, 64, 100)
    else:
        options["stem_filters"] = one_of(None, 8)
    if is_v2:
        options["use_bias"] = draw(st.booleans())
        options["strided_block"] = one_of("first", "last")
    elif options.get("stride_on") != "1x1":
        options["antialias"] = one_of(None, "blur", "average")
    if block == "basic_v2":
        options["dropout"] = one_of(0.0, 0.3)
    if not plain:
        options["first_shortcut"] = one_of(None, "vd", "C")
        options["stochastic_depth"] = one_of(0.0, 0.5)
        if not is_v2:
            options["zero_gamma"] = draw(st.booleans())
    return keras_resnet.ResNetSpec(
        name="random",
        stem=one_of(*(V2_STEMS if is_v2 else V1_STEMS)),
        block=block,
        filters=filters,
        blocks_per_stage=tuple(one_of(1, 2) for _ in range(stages)),
        shortcut="none" if plain else one_of(*RESIDUAL),
        input_size=draw(st.integers(9, 14)),
        classes=draw(st.integers(1, 5)),
        squeeze_excitation=one_of(None, 1, 4),
        rank=draw(st.integers(1, 3)),
        **options,
    )


class Count:
    """Parameters and multiply-adds of a spec, from the papers' tables by arithmetic."""

    def __init__(self, spec, channels):
        self.spec = spec
        self.parameters = self.multiply_adds = 0
        self.size, self.channels = spec.input_size, channels
        self.v2 = spec.block.endswith("v2")
        self._stem()
        last = len(spec.filters) - 1
        for stage, (filters, blocks) in enumerate(
            zip(spec.filters, spec.blocks_per_stage, strict=True)
        ):
            halves = stage > 0 if spec.strided_block == "first" else stage < last
            strided = 0 if spec.strided_block == "first" else blocks - 1
            for block in range(blocks):
                shortcut = spec.shortcut
                if block == 0 and spec.first_shortcut:
                    shortcut = spec.first_shortcut
                self._block(filters, 2 if halves and block == strided else 1, shortcut)
        if self.v2:
            self._norm(self.channels)
        self.parameters += (self.channels + 1) * spec.classes
        self.multiply_adds += self.channels * spec.classes

    def _convolution(self, size, kernel, channels, filters, groups=1, bias=False):
        """A convolution whose output has `size` positions on each axis."""
        weights = kernel**self.spec.rank * channels * filters // groups
        self.parameters += weights + filters * bias
        self.multiply_adds += size**self.spec.rank * weights

    def _norm(self, channels):
        self.parameters += 2 * channels

    def _stem(self):
        filters = self.spec.stem_filters or self.spec.filters[0]
        half = math.ceil(self.size / 2)
        if "cifar" in self.spec.stem:
            self._convolution(self.size, 3, self.channels, filters, 1, self._bias())
        elif "deep" in self.spec.stem:
            narrow = 3 * filters // 8 if "tiered" in self.spec.stem else filters // 2
            widths = [self.channels, narrow, filters // 2, filters]
            for before, after in zip(widths, widths[1:], strict=False):
                self._convolution(half, 3, before, after)
                self._norm(after if after != filters else 0)
        else:
            self._convolution(half, 7, self.channels, filters, 1, self._bias())
        if not self.v2:
            self._norm(filters)
        if "cifar" not in self.spec.stem:
            average = self.spec.antialias == "average"
            self.size = half // 2 if average else math.ceil(half / 2)
        self.channels = filters

    def _bias(self):
        return self.v2 and self.spec.use_bias

    def _block(self, filters, strides, shortcut):
        before, after = self.size, math.ceil(self.size / strides)
        spec, channels = self.spec, self.channels
        if self.v2:
            self._norm(channels)
        unstrided = before if spec.antialias else after
        if spec.block.startswith("basic"):
            out = filters
            self._convolution(unstrided, 3, channels, filters)
            self._norm(filters)
            self._convolution(after, 3, filters, filters, 1, self._bias())
        else:
            out = 4 * filters
            groups = spec.cardinality
            width = filters * spec.base_width // 64 * groups
            first = after if spec.stride_on == "1x1" else before
            self._convolution(first, 1, channels, width)
            self._norm(width)
            self._convolution(unstrided, 3, width, width, groups)
            self._norm(width)
            self._convolution(after, 1, width, out, 1, self._bias())
        if not self.v2:
            self._norm(out)
        if spec.squeeze_excitation:
            reduced = max(8, 8 * math.floor(out / spec.squeeze_excitation / 8 + 0.5))
            self._convolution(1, 1, out, reduced, bias=True)
            self._convolution(1, 1, reduced, out, bias=True)
        self._shortcut(shortcut, channels, out, strides, after)
        self.size, self.channels = after, out

    def _shortcut(self, shortcut, channels, out, strides, size):
        changes = strides > 1 or channels != out
        projects = changes
        if shortcut in ("C", "vd"):
            projects = True
        if shortcut in ("A", "none") or shortcut.endswith("-A"):
            projects = False
        if shortcut == "subsample":
            projects = channels != out
        if projects:
            self._convolution(size, 1, channels, out, 1, self._bias())
            if not self.v2:
                self._norm(out)
        gates = 0
        if shortcut.startswith("gated"):
            gates = 2 if "uncoupled" in shortcut else 1
        for _ in range(gates):
            self._convolution(size, 1, channels, out, bias=True)


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(spec=specs(), channels=st.integers(1, 4))
def test_valid_specs(spec, channels):
    shape = (*[spec.input_size] * spec.rank, channels)
    model = reference.randomize(keras_resnet.build(spec, input_shape=shape))
    assert model.output_shape == (None, spec.classes)

    cost, expected = keras_resnet.analysis.cost(model), Count(spec, channels)
    assert cost.parameters == expected.parameters
    assert cost.multiply_adds == expected.multiply_adds

    images = np.random.default_rng(0).standard_normal((2, *shape))
    outputs = np.asarray(model(images))
    assert np.isfinite(outputs).all()
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
    np.testing.assert_array_equal(loaded(images), outputs)


INTEGERS = [0, -1, 1.5, "8", True, None]
NAMES = ["Z", 3, True, [], ("A",)]
WRONG = {
    "filters": [(), 8, None, "8", (0,), (8.0,), (True,), (8, -8)],
    "blocks_per_stage": [(), 2, None, (0,), (1.0,), (1,) * 7],
    "input_size": INTEGERS,
    "classes": INTEGERS,
    "stem_filters": INTEGERS[:-1],
    "cardinality": INTEGERS,
    "base_width": INTEGERS,
    "squeeze_excitation": INTEGERS[:-1],
    "dropout": [-0.1, 1, 1.5, "0.5", None, True, math.nan],
    "stochastic_depth": [-0.1, 1, 2, "0.5", None, math.nan],
    "zero_gamma": [1, None, "yes"],
    "use_bias": [0, None, "no"],
    "initializer": [*NAMES, None],
    "stem": [*NAMES, None],
    "block": [*NAMES, None],
    "shortcut": [*NAMES, None],
    "first_shortcut": NAMES,
    "strided_block": [*NAMES, None, "middle"],
    "stride_on": [*NAMES, None, "2x2"],
    "antialias": [*NAMES, "max"],
    "rank": [0, 4, 2.0, True, None, "2", []],
}


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(spec=specs(), data=st.data())
def test_wrong_values_are_refused_by_field(spec, data):
    field = data.draw(st.sampled_from(sorted(WRONG)))
    value = data.draw(st.sampled_from(WRONG[field]))
    with pytest.raises(ValueError) as refusal:
        dataclasses.replace(spec, **{field: value})
    sentence = str(refusal.value)
    assert f"`{field}" in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def replaced(name, **changes):
    return lambda: dataclasses.replace(keras_resnet.NETWORKS[name], **changes)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        # Blocks without the option.
        (replaced("resnet18", stride_on="3x3"), "stride_on='3x3'"),
        (replaced("resnet18", cardinality=2), "cardinality=2"),
        (replaced("resnet18", base_width=128), "base_width=128"),
        (replaced("resnet18", dropout=0.1), "dropout=0.1"),
        (replaced("preresnet18", antialias="blur"), "antialias='blur'"),
        (replaced("preresnet50", zero_gamma=True), "zero_gamma=True"),
        # Combinations that mean nothing.
        (replaced("resnet18", stem="cifar_v2"), "stem='cifar_v2'"),
        (replaced("preresnet18", stem="cifar"), "stem='cifar'"),
        (replaced("resnet50", antialias="blur"), "antialias='blur'"),
        (replaced("resnext50_32x4d", filters=(8,) * 4), "base_width=4"),
        (replaced("plainnet20", stochastic_depth=0.5), "stochastic_depth=0.5"),
        (replaced("plainnet20", zero_gamma=True), "zero_gamma=True"),
        (replaced("resnet20", strided_block="last"), "strided_block='last'"),
        (replaced("resnet20", use_bias=True), "use_bias=True"),
        (replaced("plainnet20", first_shortcut="B"), "first_shortcut='B'"),
        (replaced("resnet20", first_shortcut="none"), "first_shortcut='none'"),
        (replaced("resnet20", filters=(16, 8, 4)), "filters=(16, 8, 4)"),
        (
            replaced("resnet20", shortcut="gated-A", filters=(16, 8, 4)),
            "filters=(16, 8, 4)",
        ),
        (replaced("resnet20", filters=(16, 32)), "filters"),
    ],
)
def test_meaningless_combinations_are_refused_by_field(make, field):
    with pytest.raises(ValueError) as refusal:
        make()
    assert f"`{field}`" in str(refusal.value)
