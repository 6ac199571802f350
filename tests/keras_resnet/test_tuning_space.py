"""The space: its text, what it means around a network, and what it never proposes."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest

import keras_resnet
from keras_resnet import NETWORKS
from keras_resnet.training import RECIPES
from keras_resnet.tuning import (
    SPACES,
    Choice,
    HyperResNet,
    Range,
    Space,
    SpaceAround,
    Times,
    declare,
)

RICH = (
    "block=basic,bottleneck,basic_v2 stem=cifar,deep,cifar_v2 stride_on=1x1,3x3 "
    "antialias=None,blur dropout=0.0..0.3 shortcut=A,none,D stochastic_depth=0.0..0.2 "
    "zero_gamma=False,True first_shortcut=None,vd width=0.25,0.5 squeeze_excitation="
    "None,4 cardinality=1,4 conv2_blocks=1..2 blocks=1..9 use_bias=False,True"
)


def around(text, network="resnet20", recipe="onecycle"):
    return SpaceAround(Space.parse(text), NETWORKS[network], RECIPES[recipe])


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        (
            "blocks=1..5 shortcut=A,B,C,none",
            {"blocks": Range(1, 5), "shortcut": Choice(("A", "B", "C", "none"))},
        ),
        ("learning_rate=log(0.01,1)", {"learning_rate": Range(0.01, 1, is_log=True)}),
        (
            "learning_rate=log(0.5x,2.0x)",
            {"learning_rate": Range(Times(0.5), Times(2.0), is_log=True)},
        ),
        ("width=1,1.5", {"width": Choice((1.0, 1.5))}),
        (
            "augmentation=pad_crop(4)|flip,inception_crop(0.08,1)|flip",
            {
                "augmentation": Choice(
                    ("pad_crop(4)|flip", "inception_crop(0.08,1)|flip")
                )
            },
        ),
        (
            "depth learning_rate=0.1",
            {
                "stage_blocks": Range(1, Times(1.0)),
                "learning_rate": Choice((0.1,)),
            },
        ),
    ],
)
def test_a_space_has_a_text_form(text, domains):
    space = Space.parse(text)
    assert dict(space.domains) == domains
    assert Space.parse(str(space)) == space


@pytest.mark.parametrize("name", SPACES)
def test_the_named_spaces_are_spaces(name):
    space = Space.parse(name)
    assert Space.parse(str(space)) == space
    assert around(name).parameters


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a space of nothing.*default, depth"),
        ("deepth", "no space is called 'deepth'.*known: default, depth"),
        ("blocks=", "'blocks=' is no NAME=VALUES"),
        ("blocks=5..1", "'blocks=5..1': 5..1 needs its smaller end first"),
        ("blocks=1..", "'' is no number"),
        ("blocks=1,,2", "a choice is empty or there twice"),
        ("learning_rate=log(0,1)", "ends above 0"),
        ("learning_rate=log(1e999,1)", "'1e999' is no number"),
        ("bloks=1..3", "nothing to vary is called 'bloks'; did you mean 'blocks'"),
        ("name=a,b", "nothing to vary is called 'name'"),
        ("shortcut=A,Q", "shortcut=Q: .*must be one of 'A', 'B'"),
        ("network=resnet21", "There is no network 'resnet21', but .*'resnet20'"),
        ("blocks=0..3", "blocks=0: .*positive"),
        ("conv5_blocks=1..2", "conv5_blocks: the network has 3 stages"),
        ("learning_rate=fast", "takes a number"),
        ("nesterov=1x,2x", "no number to be multiplied"),
        ("stage_blocks=1..3 network=resnet20,resnet32", "leave it out, or network"),
        ("block=basic_v2 stem=deep", "stem=deep has none for block 'basic_v2'"),
        ("dropout=0.0..0.3", "means nothing.*only to 'basic_v2'"),
        ("activation=pre,none", "there are post and pre"),
        ("epochs=0,1", "epochs=0: .*positive"),
    ],
)
def test_refuses_a_wrong_space(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        assert around(text).parameters


def drawn(near, count):
    """What KerasTuner's own random search draws."""
    hp = keras_tuner.HyperParameters()
    declare(near, hp)
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("error", "min"), hyperparameters=hp, seed=1
    )
    return [oracle._random_values() for _ in range(count)]


@pytest.mark.parametrize("text", [RICH, "heirs"])
def test_what_a_spec_refuses_is_never_proposed(text):
    near = around(text)
    networks = []
    for values in drawn(near, 200):
        assert not near.refusal(values), values
        networks.append(near.configure(values)[0])
    # And nothing that the space has is left out.
    for name, domain in near.space.domains:
        if isinstance(domain, Choice) and hasattr(near.network, name):
            seen = {str(getattr(network, name)) for network in networks}
            assert seen >= set(map(str, domain.values)), name


def test_a_value_is_drawn_only_where_it_means_something():
    conditions = {p.name: p.conditions for p in around(RICH).parameters}
    assert conditions["dropout"] == (("block", ("basic_v2",)),)
    assert conditions["stride_on"] == (("block", ("bottleneck",)),)
    assert conditions["stochastic_depth"] == (("shortcut", ("A", "D")),)
    assert conditions["antialias[bottleneck,3x3]"] == (
        ("block", ("bottleneck",)),
        ("stride_on", ("3x3",)),
    )
    assert conditions["shortcut"] == conditions["width"] == ()


def test_resnet50_is_among_the_networks_around_it():
    near = around("default", "resnet50")
    counts = {
        name: range(domain.low, domain.high + 1)
        for name, domain in near.space.domains
        if name.endswith("blocks")
    }
    found = {
        near.configure(dict(zip(counts, values, strict=True)))[0]
        for values in itertools.product(*counts.values())
    }
    assert len(found) == 3 * 4 * 6 * 3
    assert NETWORKS["resnet50"] in found
    deeper = dataclasses.replace(NETWORKS["resnet50"], blocks_per_stage=(2, 2, 2, 2))
    assert deeper in found


def test_values_become_networks_and_recipes():
    near = around("heirs magnitude=0..9", "resnet50_v1_5", "goyal2017")
    spec, recipe = near.configure(
        {
            "conv4_blocks": 2,
            "activation": "pre",
            "shortcut": "C",
            "learning_rate": 0.123456,
            "magnitude": 7,
            "tuner/epochs": 3,
        }
    )
    assert (spec.blocks_per_stage, spec.block) == ((3, 4, 2, 3), "bottleneck_v2")
    # What was the base's own falls away where the new block or shortcut has another.
    assert (spec.shortcut, spec.first_shortcut) == ("C", None)
    assert recipe.learning_rate == 0.123
    assert recipe.augmentation == "inception_crop(0.08,1)|flip|randaugment(2,7)"
    _, weaker = around("magnitude=0..9", recipe="rsb_a2").configure({"magnitude": 3})
    assert "timm_randaugment(2,3,0.5)" in weaker.augmentation
    # What the base has and the drawn values rule out falls away.
    basic, _ = around("block=basic,bottleneck", "resnet50_v1_5").configure(
        {"block": "basic"}
    )
    assert basic.stride_on == "1x1"
    vd, _ = around("shortcut=C,D", "resnet_vd_50").configure({"shortcut": "C"})
    assert vd.first_shortcut is None
    plain, _ = around("shortcut=none,B", "seresnet18").configure({"shortcut": "none"})
    assert plain.squeeze_excitation == 16 and plain.shortcut == "none"
    wide, _ = around("width=1.5,2").configure({"width": 1.5})
    assert wide.filters == (24, 48, 96)
    other, _ = around("network=resnet32,resnet18 blocks_per_stage=1-2-3").configure(
        {"network": "resnet32", "blocks_per_stage": "1-2-3"}
    )
    assert (other.name, other.blocks_per_stage) == ("resnet32", (1, 2, 3))


def test_the_library_needs_no_keras_tuner():
    # As where it is not installed.
    code = (
        "import sys; sys.modules['keras_tuner'] = None\n"
        "from keras_resnet import tuning\n"
        "print(tuning.Space.parse('paper'))\n"
        "try: tuning.HyperResNet\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        SPACES["paper"],
        "`keras_resnet.tuning.HyperResNet` needs KerasTuner: pip install keras-tuner",
    ]


TINY = "blocks=1..2 shortcut=A,B,none width=0.25 learning_rate=log(0.001,0.1)"


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    labels = keras.utils.to_categorical(np.arange(24) % 2, 2)
    return random.normal(size=(24, 8, 8, 3)).astype("float32"), labels


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        (keras_tuner.RandomSearch, {"max_trials": 2}),
        (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 2}),
        (keras_tuner.GridSearch, {"max_trials": 2}),
    ],
)
def test_a_plain_script_of_keras_tuner_searches_it(kind, limits, images, tmp_path):
    hypermodel = HyperResNet(TINY, input_shape=(8, 8, 3), classes=2)
    tuner = kind(
        hypermodel, "val_accuracy", directory=tmp_path, overwrite=True, seed=1, **limits
    )
    tuner.search(*images, epochs=1, validation_data=images, verbose=0)
    (best,) = tuner.get_best_models()
    assert best.output_shape == (None, 2)
    assert all(t.status == "COMPLETED" for t in tuner.oracle.trials.values())
    values = tuner.get_best_hyperparameters()[0].values
    assert {"blocks", "shortcut", "learning_rate"} <= values.keys()


def test_takes_what_keras_tuners_own_takes():
    theirs = keras_tuner.applications.HyperResNet
    tensor = keras.Input((8, 8, 3))
    for arguments in (
        {"input_shape": (8, 8, 3), "classes": 3},
        {"input_tensor": tensor, "classes": 3},
        {"input_shape": (8, 8, 3), "include_top": False},
    ):
        theirs(**arguments, name="search", tunable=False)
        ours = HyperResNet(TINY, **arguments, name="search", tunable=False)
        hp = keras_tuner.HyperParameters()
        model = ours.build(hp)
        assert model.output_shape == (None, 3 if "classes" in arguments else 16)
        assert not hp.values and ours.name == "search"
        assert model.compiled == ("classes" in arguments)
    for arguments in ({"classes": 3}, {"input_shape": (8, 8, 3)}):
        with pytest.raises(ValueError, match="must"):
            theirs(**arguments)
        with pytest.raises(ValueError, match="must be given"):
            HyperResNet(TINY, **arguments)


def test_compiles_what_the_values_say():
    hp = keras_tuner.HyperParameters()
    space = "learning_rate=0.03 weight_decay=0.001 label_smoothing=0.2 epochs=1..3"
    model = HyperResNet(space, input_shape=(8, 8, 3), classes=2).build(hp)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
    assert model.loss.label_smoothing == 0.2
    assert hp.values["epochs"] == 1


@pytest.mark.parametrize("text", ["magnitude=0..9", "schedule=cosine,steps"])
def test_a_hypermodel_refuses_what_fit_does_not_do(text):
    with pytest.raises(ValueError, match="pipelines.tune"):
        HyperResNet(text, input_shape=(8, 8, 3), classes=2)


def test_build_is_that_of_the_table():
    hp = keras_tuner.HyperParameters()
    model = HyperResNet("depth", input_shape=(32, 32, 3), classes=10).build(hp)
    shallow = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1))
    assert model.count_params() == keras_resnet.build(shallow).count_params()


def test_create_builds_what_a_search_found(tmp_path):
    path = tmp_path / "best.json"
    found = {
        "model": "resnet20",
        "base_recipe": "onecycle",
        "classes": 3,
        "network": {"blocks_per_stage": [1, 2, 1], "shortcut": "C"},
        "recipe": {"image_size": 16, "learning_rate": 0.1},
    }
    path.write_text(json.dumps(found))
    spec = dataclasses.replace(
        NETWORKS["resnet20"], blocks_per_stage=(1, 2, 1), shortcut="C"
    )
    model = keras_resnet.create(path)
    same = keras_resnet.build(spec, classes=3, input_shape=(16, 16, 3))
    assert model.count_params() == same.count_params()
    assert (model.input_shape, model.output_shape) == ((None, 16, 16, 3), (None, 3))
    assert keras_resnet.create(str(path), classes=7).output_shape == (None, 7)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "best.json' cannot be read: No such file"),
        ('{"model": "res', "is no network that `python -m pipelines.tune` found"),
        ("[1]", "is no network that"),
        ('{"model": "resnet20", "network": {"depth": 3}, "recipe": {}}', "'depth'"),
        ('{"model": "resnet21", "network": {}, "recipe": {}}', "no network 'resnet21'"),
    ],
)
def test_create_refuses_a_file_of_something_else(tmp_path, content, sentence):
    path = tmp_path / "best.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        keras_resnet.create(str(path))
