"""The command that prints recipes and what they have different."""

import dataclasses
import io
import os
import re
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver
from rich.console import Console

from keras_resnet.training import RECIPES
from pipelines import recipes
from pipelines.errors import UserError
from pipelines.reports.recipe_table import recipe_table, recipes_table, request_line
from pipelines.runs.differences import differences
from pipelines.runs.folder import Run
from pipelines.runs.request import request


@pytest.fixture(autouse=True)
def flags_parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["recipes"])


def _printed(*names, diff=False, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    with flagsaver.as_parsed(diff=str(diff).lower()):
        recipes.main(list(names))
    return capsys.readouterr().out


@pytest.fixture
def printed(monkeypatch, capsys):
    """Returns what the command prints for names and flags."""
    return lambda *names, **options: _printed(
        *names, **options, monkeypatch=monkeypatch, capsys=capsys
    )


def _rows(text):
    """Returns the lines by their first word."""
    lines = [line.strip().split(maxsplit=1) for line in text.splitlines()]
    return {line[0]: line[-1] for line in lines if line}


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in data, seed, network and recipe."""
    for name, data, model, seed in (
        ("one", "photos", "resnet20", 0),
        ("two", "pictures", "resnet32", 1),
    ):
        config = request(
            data=data,
            model=model,
            recipe="onecycle",
            settings=["learning_rate=0.1"] if seed else [],
            seed=seed,
        )
        Run(tmp_path / name).write_config(config)
    return str(tmp_path / "one"), str(tmp_path / "two")


def test_command_lists_all():
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.recipes"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    rows = _rows(result.stdout)
    assert set(RECIPES) <= set(rows)
    assert re.match(r"120 +256 +sgd +resnet50 75.3% +1512.03385", rows["he2015"])


def test_one_recipe_with_what_its_values_mean(printed):
    rows = _rows(printed("goyal2017"))
    assert re.match("90 +Passes over the training images", rows["epochs"])
    assert re.match(r"0.1 \(scaled to 8192: 3.2\)", rows["learning_rate"])
    assert re.match("initializer=goyal2017, zero_gamma=True ", rows["network"])
    assert "momentum" not in rows, "as by default"


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_has_a_meaning(name):
    values, meanings = (
        column._cells for column in recipe_table(RECIPES[name]).columns[1:]
    )
    assert all(meanings) and len(values) == len(meanings)


def test_says_what_was_changed():
    recipe = dataclasses.replace(RECIPES["onecycle"], epochs=9, ema=0.99)
    assert recipe_table(recipe).caption.endswith("in the table: epochs, ema")
    assert recipe_table(RECIPES["onecycle"]).caption is None


def test_a_run_in_a_line():
    arguments = {"data": "photos", "model": "resnet20", "recipe": "onecycle"}
    assert request_line(request(**arguments, settings=[])) == "resnet20 by onecycle"
    changes = ["model.shortcut=C", "drops=50%,", "learning_rate=0.1"]
    assert request_line(request(**arguments, settings=changes, epochs=2)) == (
        "resnet20 by onecycle with epochs=2 learning_rate=0.1 drops=50%, "
        "model.shortcut=C"
    )


def test_difference_of_two_recipes(printed):
    rows = _rows(printed("he2015", "goyal2017", diff=True))
    assert re.match("120 +90$", rows["epochs"])
    assert re.match("256 +8192$", rows["batch_size"])
    assert not {"momentum", "learning_rate", "weight_decay"} & set(rows)


def test_difference_of_two_runs(printed, runs):
    rows = _rows(printed(*runs, diff=True))
    assert set(rows) == {
        "field",
        "data",
        "seed",
        "network.name",
        "network.blocks_per_stage",
        "recipe.learning_rate",
    }
    assert re.match("3, 3, 3 +5, 5, 5$", rows["network.blocks_per_stage"])


def test_difference_of_a_run_and_a_recipe(printed, runs):
    rows = _rows(printed("onecycle", runs[1], diff=True))
    assert set(rows) == {"field", "learning_rate"}


def test_no_difference(printed, runs):
    assert "are the same" in printed("onecycle", runs[0], diff=True)


def test_differences_are_symmetric():
    there = differences(RECIPES["rsb_a1"], RECIPES["ffcv_16"])
    back = differences(RECIPES["ffcv_16"], RECIPES["rsb_a1"])
    assert there == {name: (one, other) for name, (other, one) in back.items()}


@pytest.mark.parametrize(
    ("names", "diff", "sentence"),
    [
        (["he2016"], False, "did you mean 'he2015'"),
        (["runs/nothing"], False, "holds no run"),
        (["he2015"], True, "--diff takes two recipes or runs, not 1"),
        (["he2015", "goyal"], True, "did you mean 'goyal2017'"),
    ],
)
def test_refuses_in_a_sentence(names, diff, sentence, printed):
    with pytest.raises(UserError, match=sentence):
        printed(*names, diff=diff)


def test_prints_in_a_narrow_terminal():
    for width, table in (
        (60, recipe_table(RECIPES["torchvision_v2"])),
        (80, recipes_table(RECIPES.values())),
    ):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(table)
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= width
    assert set(RECIPES) <= {line.split()[0] for line in lines if line.strip()}
