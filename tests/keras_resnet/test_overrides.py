"""What `--set=KEY=VALUE` means, in every command that has it."""

import dataclasses

import numpy as np
import pytest

import keras_resnet
from keras_resnet.arrays import __main__ as command
from keras_resnet.training import RECIPES
from keras_resnet.training.overrides import as_text, override, parse_settings


def test_arrays_take_the_pipelines_syntax(tmp_path, monkeypatch):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.zeros(4, int))
    asked = []

    def fit(network, recipe, *arrays, **options):
        asked.extend((network, recipe))
        raise ValueError("enough")

    monkeypatch.setattr(command, "fit_arrays", fit)
    flags = ["--recipe=goyal2017", "--model=resnet50", f"--images={path}"]
    settings = ["drops=50%,90%", "size_ramp=0,0.5", "model.shortcut=C"]
    with pytest.raises(SystemExit, match="enough"):
        command.main([*flags, *(f"--set={one}" for one in settings)])
    network, recipe = asked
    assert network == "resnet50"
    assert recipe == dataclasses.replace(
        RECIPES["goyal2017"],
        drops=("50%", "90%"),
        size_ramp=(0.0, 0.5),
        network=(*RECIPES["goyal2017"].network, ("shortcut", "C")),
    )
    with pytest.raises(SystemExit, match="'epochs' cannot be 'x': it takes an integer"):
        command.main([*flags, "--set=epochs=x"])


@pytest.mark.parametrize(
    "value", [*RECIPES.values(), *keras_resnet.NETWORKS.values()], ids=lambda v: v.name
)
def test_text_says_every_value(value):
    given = ("name", "source", "published", "network", "classes", "rank")
    texts = {
        name: as_text(here) for name, here in vars(value).items() if name not in given
    }
    settings = [f"model.{name}={text}" for name, text in texts.items()]
    assert parse_settings(settings) == ({}, texts)
    assert override(value, texts, "value") == value
