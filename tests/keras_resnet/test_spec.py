"""The table of networks, and what a spec refuses."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_resnet

WIDE_CIFAR = keras_resnet.list_models("wrn_*")
RESNET50 = keras_resnet.NETWORKS["resnet50"]


# Wide ResNets count their three projections too, and not the classifier.
@pytest.mark.parametrize("name", sorted(set(keras_resnet.NETWORKS) - set(WIDE_CIFAR)))
def test_depth_is_in_the_name(name):
    depth = int(re.search(r"\d+", name)[0])
    assert keras_resnet.NETWORKS[name].depth == depth


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stem", "vgg"),
        ("block", "inverted"),
        ("shortcut", "Z"),
        ("filters", ()),
        ("filters", (64, 128, 256)),
        ("filters", (64, 128, 256, 0)),
        ("filters", 64),
        ("blocks_per_stage", (3, 4, 6, -3)),
        ("blocks_per_stage", (3, 4, 6, 3.0)),
        ("blocks_per_stage", (3, 4, 6, True)),
        ("input_size", 0),
        ("classes", "10"),
    ],
)
def test_refuses_by_field(field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        dataclasses.replace(RESNET50, **{field: value})


def test_option_a_cannot_narrow():
    with pytest.raises(ValueError, match="`filters=.* must not decrease"):
        dataclasses.replace(RESNET50, shortcut="A", filters=(64, 32, 256, 512))


def test_is_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESNET50.shortcut = "A"
    listed = dataclasses.replace(RESNET50, filters=[64, 128, 256, 512])
    assert {RESNET50: 1}[listed] == 1


@given(blocks=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_depth_counts_weighted_layers(blocks):
    spec = dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"],
        filters=(16,) * len(blocks),
        blocks_per_stage=blocks,
    )
    assert spec.depth == 2 * sum(blocks) + 2
