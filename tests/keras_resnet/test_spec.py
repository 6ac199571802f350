"""The table of networks, and what a spec refuses."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_resnet
from keras_resnet.shortcuts import CARRIES, SHORTCUTS, Shortcut
from keras_resnet.stems import STEMS, Stem

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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shortcut": "wider", "filters": (64, 32, 256, 512)}, "shortcut 'wider' pads"),
        ({"first_shortcut": "wider", "stem_filters": 512}, "shortcut 'wider' pads"),
        ({"shortcut": "alone", "zero_gamma": True}, "a plain block"),
        ({"first_shortcut": "alone"}, "plain in all blocks or in none"),
        ({"stem": "thin", "stem_filters": 7}, "`stem='thin'` begins with a part"),
        (
            {"stem": "patches", "block": "bottleneck_v2"},
            "needs a stem that ends without",
        ),
    ],
)
def test_rows_of_the_tables_say_what_they_are(monkeypatch, changes, sentence):
    """Whatever they are called."""
    monkeypatch.setitem(STEMS, "patches", Stem(((5, 4, 8),)))
    monkeypatch.setitem(STEMS, "thin", Stem(((3, 2, 1), (3, 1, 8))))
    monkeypatch.setitem(
        SHORTCUTS, "wider", Shortcut(SHORTCUTS["A"].function, CARRIES["A"])
    )
    monkeypatch.setitem(SHORTCUTS, "alone", SHORTCUTS["none"])
    patched = dataclasses.replace(RESNET50, stem="patches")
    assert list(patched.strides.values()) == [4, 4, 8, 16, 32]
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(RESNET50, **changes)


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
