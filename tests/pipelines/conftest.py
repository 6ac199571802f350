"""A tiny data set and a tiny network trained on it."""

import dataclasses
import json
import shutil

import pytest
from photos import make_folder

import keras_resnet


@pytest.fixture
def folder(tmp_path):
    """Sixty different images of three classes."""
    return make_folder(tmp_path / "photos")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Examples of 200 drawings."""
    from pipelines.components.example_gen import example_gen

    directory = tmp_path_factory.mktemp("drawings") / "examples"
    # 160 for training and 40 for validation.
    return example_gen("drawings:200", directory, validation_share=0.195)


@pytest.fixture(scope="session")
def tiny_network():
    """ResNet-8 by the recipe of section 4.2."""
    return dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1)
    )


@pytest.fixture(scope="session")
def tiny_recipe():
    """Two epochs at 16 pixels."""
    from keras_resnet.training import RECIPES

    return dataclasses.replace(
        RECIPES["onecycle"], epochs=2, batch_size=32, image_size=16, learning_rate=0.05
    )


@pytest.fixture(scope="session")
def tiny_model(drawings, tiny_network, tiny_recipe, tmp_path_factory):
    """The network trained on one device."""
    from pipelines.components.trainer import trainer

    directory = tmp_path_factory.mktemp("tiny") / "model"
    return trainer(drawings, directory, network=tiny_network, recipe=tiny_recipe)


@pytest.fixture(scope="session")
def tiny_run(tiny_model, drawings, tmp_path_factory):
    """The folder of that network's run, as far as exports look at it."""
    from pipelines.runs.folder import Run
    from pipelines.runs.request import request

    run = Run(tmp_path_factory.mktemp("tiny") / "run")
    shutil.copytree(tiny_model.directory, run.model_dir)
    config = request(data="", model="resnet20", recipe="onecycle", settings=[])
    values = {**config.to_json(), "examples_dir": str(drawings.directory)}
    run.config_path.write_text(json.dumps(values))
    return run


@pytest.fixture(scope="session")
def tiny_version(tiny_model, tmp_path_factory):
    """That network, exported to be served."""
    from pipelines.components.pusher import pusher

    return pusher(tiny_model, tmp_path_factory.mktemp("tiny_version") / "serving")
