"""Recipes as values, changed from the command line."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines import environment
from pipelines.data import folders
from pipelines.data.augmentation import Augmentation
from pipelines.errors import UserError
from pipelines.runs.differences import check_settings, flat
from pipelines.runs.folder import Run, open_run
from pipelines.runs.request import RunConfig, request
from pipelines.training.network import preprocessing_for

ARGUMENTS = {
    "data": "photos",
    "model": "resnet20",
    "recipe": "onecycle",
    "settings": [],
}


def test_command_line_values_get_their_types():
    config = request(
        **{
            **ARGUMENTS,
            "settings": [
                "learning_rate=1",
                "batch_size=64",
                "nesterov=False",
                "drops=50%,90%",
                "test_flip=True",
                "train_size=24",
                "final_train_size=32",
                "size_ramp=0,0.5",
                "frozen_stages=conv1",
                "augmentation=center|flip",
                "model.shortcut=C",
                "model.blocks_per_stage=1,2,3",
                "model.squeeze_excitation=16",
                "model.stem_filters=None",
                "model.zero_gamma=True",
            ],
            "epochs": 3,
        }
    )
    assert config.recipe == dataclasses.replace(
        RECIPES["onecycle"],
        learning_rate=1.0,
        batch_size=64,
        nesterov=False,
        drops=("50%", "90%"),
        test_flip=True,
        train_size=24,
        final_train_size=32,
        size_ramp=(0.0, 0.5),
        frozen_stages=("conv1",),
        augmentation="center|flip",
        epochs=3,
    )
    assert config.network == dataclasses.replace(
        keras_resnet.NETWORKS["resnet20"],
        shortcut="C",
        blocks_per_stage=(1, 2, 3),
        squeeze_excitation=16,
        zero_gamma=True,
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "resnet-50"}, "did you mean 'resnet50'"),
        ({"model": "ResNet50"}, "did you mean 'resnet50'"),
        ({"recipe": "he2016"}, "did you mean 'he2015'"),
        ({"settings": ["learningrate=1"]}, "did you mean 'learning_rate'"),
        ({"settings": ["learning_rate"]}, "lacks a value"),
        ({"settings": ["learning_rate=fast"]}, "'learning_rate'.*takes a number"),
        ({"settings": ["batch_size=1.5"]}, "'batch_size'.*takes an integer"),
        ({"settings": ["drops=3"]}, "'3' is not a length of training"),
        ({"settings": ["model.shortcut=Q"]}, "`shortcut` must be one of"),
        ({"settings": ["model.depth=50"]}, "no model value is called 'depth'"),
        ({"settings": ["schedule=cosin"]}, "'schedule' must be one of .*'cosine'"),
        ({"settings": ["augmentation=center|cutout"]}, "no augmentation is called"),
        ({"settings": ["augmentation=flip"]}, "must have one view"),
        ({"settings": ["batch_norm=global"]}, "'batch_norm' must be one of"),
        ({"settings": ["batch_size=0"]}, "'batch_size' must be positive"),
        ({"settings": ["learning_rate=-1"]}, "'learning_rate' must be positive"),
        ({"settings": ["momentum=9"]}, "'momentum' must be at least 0 and below 1"),
        ({"settings": ["model.name=../../x"]}, "no model value is called 'name'"),
        ({"settings": ["model.classes=3"]}, "no model value is called 'classes'"),
        ({"settings": ["model.rank=3"]}, "no model value is called 'rank'"),
        ({"settings": ["model.stem_filters=x"]}, "'stem_filters'.*takes an integer"),
        ({"settings": ["model.cardinality=32"]}, "`cardinality=32` means nothing to"),
        ({"settings": ["resize_ratio=0.5"]}, "'resize_ratio' must be at least 1"),
        ({"settings": ["learning_rate=1e999"]}, "'learning_rate' must be positive"),
        ({"settings": ["test_flip=yes"]}, "'test_flip' .*takes True or False"),
        ({"settings": ["size_ramp=0.4"]}, "'size_ramp' .*takes numbers with commas"),
        ({"settings": ["size_ramp=0.9,0.4"]}, "'size_ramp' must be two rising"),
        ({"settings": ["train_size=176.5"]}, "'train_size' .*takes an integer"),
        ({"settings": ["published=none"]}, "no recipe value is called 'published'"),
        ({"settings": ["optimizer=lamb"]}, "'decay_form' must be one of 'decoupled'"),
    ],
)
def test_refuses_in_a_sentence(change, sentence):
    with pytest.raises(UserError, match=sentence):
        request(**{**ARGUMENTS, **change})


def test_lists_may_have_one_entry_or_none():
    settings = ["drops=50%,", "frozen_stages=", "model.blocks_per_stage=2,2,2"]
    recipe = request(**{**ARGUMENTS, "recipe": "finetune", "settings": settings}).recipe
    assert recipe.drops == ("50%",)
    assert recipe.frozen_stages == ()


@pytest.mark.parametrize(
    ("name", "network", "resize", "crop"),
    [
        ("he2015", "resnet50", 256, 224),
        ("goyal2017", "resnet50_v1_5", 256, 224),
        ("rsb_a2", "resnet50_v1_5", 236, 224),
        ("torchvision_v2", "resnet50_v1_5", 232, 224),
        ("ffcv_16", "resnet50_v1_5", 293, 256),
    ],
)
def test_evaluation_crops_are_the_sources(name, network, resize, crop):
    preprocessing = preprocessing_for(RECIPES[name], keras_resnet.NETWORKS[network])
    assert (preprocessing.resize, preprocessing.crop) == (resize, crop)


@pytest.mark.parametrize(
    ("name", "views", "mixes"),
    [("rsb_a1", 3, True), ("torchvision_v2", 4, True), ("ffcv_88", 1, False)],
)
def test_augmentations_are_the_sources(name, views, mixes):
    augmentation = Augmentation.parse(RECIPES[name].augmentation)
    assert (augmentation.repeats, augmentation.mixes_labels) == (views, mixes)


def test_an_older_run_goes_on_where_a_newer_value_is_the_default(begun):
    config = request(**ARGUMENTS)
    values = config.to_json()
    before = flat(values)
    for kind, name in (("recipe", "ema_every"), ("network", "antialias")):
        del values[kind][name], before[f"{kind}.{name}"]
    begun.config_path.write_text(json.dumps(values))
    assert open_run(begun.directory, config).read_config() == config
    assert not check_settings(before, flat(config.to_json()), (), Console())
    changed = request(**{**ARGUMENTS, "settings": ["ema_every=2"]})
    with pytest.raises(UserError, match="recipe.ema_every is 1 there, 2 now"):
        open_run(begun.directory, changed)
    with pytest.raises(UserError, match="recipe.ema_every was 1 and is 2 now"):
        check_settings(before, flat(changed.to_json()), (), Console())


@pytest.mark.parametrize("name", RECIPES)
def test_configurations_survive_json(name):
    config = request(**{**ARGUMENTS, "recipe": name})
    assert RunConfig.from_json(config.to_json()) == config


def test_a_folder_is_no_hyperparameters(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        request(**ARGUMENTS, hyperparameters=str(tmp_path))


@pytest.fixture
def begun(tmp_path):
    """A run that has begun to train."""
    run = Run(tmp_path / "run")
    run.write_config(request(**ARGUMENTS))
    run.model_dir.mkdir()
    return run


def test_only_a_run_that_has_begun_is_kept_from_another(begun):
    other = request(**{**ARGUMENTS, "epochs": 99})
    with pytest.raises(UserError, match="recipe.epochs is 6 there, 99 now"):
        open_run(begun.directory, other)
    begun.model_dir.rmdir()
    open_run(begun.directory, other).write_config(other)
    assert begun.read_config() == other


def test_overwriting_removes_what_is_the_runs_and_nothing_else(begun):
    config = request(**{**ARGUMENTS, "epochs": 99})
    thesis = begun.directory / "thesis.tex"
    thesis.write_text("mine")
    with pytest.raises(UserError, match="not a run's"):
        open_run(begun.directory, config, overwrite=True)
    begun.remove()
    assert list(begun.directory.iterdir()) == [thesis]


def test_one_process_at_a_time_trains_in_a_folder(begun):
    with begun.held():
        with (
            pytest.raises(
                UserError, match=rf"another process \({os.getpid()} on .*is writing"
            ),
            begun.held(),
        ):
            pass
        assert begun.read_config() == request(**ARGUMENTS), "anyone may read"
        begun.remove()
        assert [path.name for path in begun.directory.iterdir()] == [folders.LOCK]
    assert not list(begun.directory.iterdir())


def test_a_killed_process_holds_nothing(begun):
    hold = (
        "import pathlib, sys, time\nfrom pipelines.data import folders\n"
        "with folders.held(pathlib.Path(sys.argv[1])):\n    print(flush=True)\n"
        "    time.sleep(99)"
    )
    command = [sys.executable, "-c", hold, str(begun.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with (
            pytest.raises(UserError, match=rf"another process \({process.pid} on"),
            begun.held(),
        ):
            pass
        process.kill()
    with begun.held():
        pass


def test_a_folder_that_cannot_be_written_is_told_and_none_is_left(tmp_path):
    with Run(tmp_path / "new").held():
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    run = Run(tmp_path / "file" / "run")
    with pytest.raises(UserError, match="cannot be written .Not a dir"), run.held():
        pass


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [("fast", None, "1"), ("fast", "0", "0"), ("leave", None, None)],
)
def test_cpu_settings_leave_what_is_set(settings, before, after, monkeypatch):
    name = "TF_ENABLE_ONEDNN_OPTS"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    environment.prepare(settings)
    assert os.environ.get(name) == after
