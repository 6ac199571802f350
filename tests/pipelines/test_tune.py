"""The search: what it tries, how it goes on, and what it leaves for training."""

import csv
import dataclasses
import json
import math
import subprocess
import sys

import keras_tuner
import pytest
import tensorflow as tf
from rich.console import Console

import keras_resnet
from keras_resnet.tuning import Choice
from pipelines.components import tuner as tuner_module
from pipelines.components.example_gen import example_gen
from pipelines.components.tuner import Search, check_request
from pipelines.errors import NotFiniteError, OutOfMemoryError, UserError
from pipelines.reports.summary import print_trials
from pipelines.runs.request import request
from pipelines.runs.trial import SearchRequest
from pipelines.training.loop import LoopOptions

SETTINGS = ["image_size=16", "batch_size=32", "model.filters=4,4,4"]
SPACE = "blocks=1..2 shortcut=A,B,none learning_rate=log(0.02,0.5)"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tune") / "examples"
    return example_gen("drawings:300", directory)


def base(**changes):
    arguments = {
        "data": "drawings:300",
        "model": "resnet20",
        "recipe": "onecycle",
        "settings": SETTINGS,
        "epochs": 1,
    }
    return request(**{**arguments, **changes})


@pytest.fixture
def trained(training, monkeypatch):
    """Pretends to train, and to measure what networks cost."""
    costs = {"parameters": 1000, "multiply_adds": 1000, "memory_mb": 1.0}
    monkeypatch.setattr(tuner_module.Meter, "costs", lambda *_: costs)
    # Nor is there a power failure to be survived.
    monkeypatch.setattr(tuner_module.files, "sync", lambda path: None)
    monkeypatch.setattr(tuner_module, "_write_hparams", lambda *_: None)
    return training


@pytest.fixture
def training(monkeypatch):
    """Pretends to train; collects the trials and epochs that it is called for.

    The error is a function of network and rate, so that it is known what is best.
    """
    calls = []

    def pretend(examples, directory, *, network, recipe, options, **others):
        calls.append((directory.parent.name, options.stop_after))
        directory.mkdir(parents=True, exist_ok=True)
        rows = ["epoch,val_top1,val_loss,seconds"]
        for epoch in range(options.stop_after):
            top1 = pretended(network, recipe) * (epoch + 1) / recipe.epochs
            rows.append(f"{epoch},{top1},{1 - top1},1.0")
        (directory / "history.csv").write_text("\n".join(rows) + "\n")
        if options.stop_after == recipe.epochs:
            (directory / "model.keras").touch()
            (directory / "model.json").touch()

    monkeypatch.setattr(tuner_module, "trainer", pretend)
    # It collects garbage, for which nothing is built here.
    monkeypatch.setattr(tuner_module.keras.backend, "clear_session", lambda: None)
    return calls


def pretended(network, recipe):
    right = sum(network.blocks_per_stage) / 100 + 0.1 * (network.shortcut == "B")
    return right + 0.5 - 0.1 * abs(math.log10(recipe.learning_rate / 0.1))


def searching(examples, directory, *, trials=3, config=None, strategy=None, **asked):
    return Search(
        examples,
        directory,
        base=config or base(),
        request=SearchRequest(**{"space": SPACE, **asked}),
        trials=trials,
        strategy=strategy,
        console=Console(file=(directory / "output.txt").open("a"), width=200),
    )


@pytest.mark.parametrize(
    ("kind", "trials"), [("random", 7), ("bayesian", 8), ("grid", None)]
)
def test_every_tuner_searches_and_repeats_nothing(
    examples, tmp_path, trained, kind, trials
):
    space = "blocks=1..3 shortcut=A,B,none"
    asked = searching(examples, tmp_path, trials=trials, tuner=kind, space=space)
    # More than there are: nine networks.
    found = asked.alone()
    networks = {trial.config.network for trial in found.trials}
    assert len(networks) == len(found.trials) == min(trials or 9, 9)
    assert len(trained) == len(found.trials)
    if len(networks) == 9:
        assert found.trials[0].values == {"blocks": 3, "shortcut": "B"}
    errors = [trial.error for trial in found.trials]
    assert errors == sorted(errors)
    # The same again trains nothing, and says the same.
    again = searching(examples, tmp_path, trials=trials, tuner=kind, space=space)
    assert again.alone() == found
    assert len(trained) == len(found.trials)


def test_bayesian_search_finds_the_better_rates(examples, tmp_path, trained):
    space = "blocks=1..3 learning_rate=log(0.0001,100)"
    found = searching(
        examples, tmp_path, trials=10, tuner="bayesian", space=space
    ).alone()
    by_number = sorted(found.trials, key=lambda trial: trial.number)
    random, proposed = by_number[:6], by_number[6:]
    assert min(t.error for t in proposed) < min(t.error for t in random)
    assert len({json.dumps(t.values) for t in by_number}) == 10


def test_halving_goes_on_from_the_checkpoint(examples, tmp_path, trained):
    config = base(epochs=4)
    space = "blocks=1..3 learning_rate=log(0.001,1)"
    asked = searching(
        examples, tmp_path, trials=None, tuner="hyperband", space=space, config=config
    )
    found = asked.alone()
    epochs = {}
    for name, until in trained:
        epochs.setdefault(name, []).append(until)
    # Some went on, in their own folders; none went back or was begun again.
    assert any(len(spans) > 1 for spans in epochs.values())
    assert all(spans == sorted(set(spans)) for spans in epochs.values())
    assert len(found.trials) == len(epochs)
    best = found.trials[0]
    assert best.epochs == 4
    assert {trial.epochs for trial in found.trials} >= {2, 4}
    assert best.error == pytest.approx(
        1 - pretended(best.config.network, best.config.recipe)
    )


def test_hyperband_goes_on_with_all_that_a_small_space_has(examples, tmp_path, trained):
    found = searching(
        examples,
        tmp_path,
        trials=None,
        tuner="hyperband",
        space="blocks=1..2 shortcut=A,B",
        config=base(epochs=9),
    ).alone()
    assert len(found.trials) == 4
    assert max(trial.epochs for trial in found.trials) > 1


def test_what_exceeds_a_limit_is_never_trained(examples, tmp_path, training):
    limit = "parameters<=2500 memory_mb<=1000"
    for kind in ("random", "grid"):
        directory = tmp_path / kind
        directory.mkdir()
        found = searching(
            examples,
            directory,
            trials=None if kind == "grid" else 4,
            tuner=kind,
            limit=limit,
            space="blocks=1..4 shortcut=A,B",
        ).alone()
        for trial in found.trials:
            model = keras_resnet.build(
                dataclasses.replace(
                    trial.config.network, classes=len(examples.classes)
                ),
                input_shape=(16, 16, 3),
            )
            count = sum(math.prod(w.shape) for w in model.trainable_weights)
            assert trial.costs["parameters"] == count <= 2500
        # One block more is too many.
        assert {t.values["blocks"] for t in found.trials} == {1, 2}
        assert found.cost == "parameters"
        errors = [trial.error for trial in found.front]
        assert errors == sorted(errors, reverse=True)


def test_a_latency_is_measured_and_remembered(examples, tmp_path, training):
    asked = {"limit": "latency_ms<=10000", "space": "blocks=1,2"}
    found = searching(examples, tmp_path, trials=2, **asked).alone()
    latencies = [trial.costs["latency_ms"] for trial in found.trials]
    assert all(0 < latency < 10000 for latency in latencies)
    again = searching(examples, tmp_path, trials=2, **asked).alone()
    assert [trial.costs["latency_ms"] for trial in again.trials] == latencies


def test_says_what_there_is_where_no_network_keeps_the_limit(examples, tmp_path):
    asked = searching(examples, tmp_path, limit="parameters<=10")
    with pytest.raises(
        UserError, match="no network within --limit='parameters<=10'.*least.*parameters"
    ):
        asked.alone()
    assert not (tmp_path / "trials").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"limit": "flops<=1"}, "--limit=flops<=1 is no COST<=NUMBER.*multiply_adds"),
        ({"limit": "parameters<=many"}, "--limit=parameters<=many is no"),
        ({"limit": "parameters<=-1"}, "is no COST<=NUMBER"),
        ({"space": "bloks=1..2"}, "--space: nothing to vary is called 'bloks'"),
        ({"tuner": "grid"}, "tries every value.*learning_rate=0.02,0.5"),
        ({"tuner": "hyperband", "space": "epochs=1,2"}, "leave epochs out"),
    ],
)
def test_refuses_a_wrong_request(examples, tmp_path, asked, sentence):
    with pytest.raises(UserError, match=sentence):
        searching(examples, tmp_path, **asked).alone()


def test_weights_fit_one_network(examples, tmp_path, trained):
    config = base(weights="photos.keras")
    with pytest.raises(UserError, match="--weights=photos.keras are of one network"):
        searching(examples, tmp_path, config=config).alone()
    asked = searching(examples, tmp_path, config=config, space="learning_rate")
    found = asked.alone()
    assert all(trial.config.network == config.network for trial in found.trials)


def test_a_folder_of_another_search_is_refused(examples, tmp_path, trained):
    searching(examples, tmp_path).alone()
    with pytest.raises(UserError, match="different search.*tuner is 'random' there"):
        check_request(tmp_path, SearchRequest(SPACE, tuner="bayesian"))
    other = base(settings=[*SETTINGS, "momentum=0"])
    (tmp_path / "keras_tuner/oracle.json").unlink()
    with pytest.raises(UserError, match="001 holds a different run.*momentum is 0.9"):
        searching(examples, tmp_path, config=other).alone()


def killed_after(monkeypatch, writes):
    """Ends the process' search before the given write of KerasTuner's record."""
    left = [writes]
    write = tuner_module.files.write_text

    def write_or_die(path, text):
        if path.name in ("oracle.json", "trial.json"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        write(path, text)

    monkeypatch.setattr(tuner_module.files, "write_text", write_or_die)


@pytest.mark.parametrize("kind", ["random", "bayesian", "hyperband", "grid"])
def test_killed_at_any_write_a_search_goes_on(
    examples, tmp_path, trained, monkeypatch, kind
):
    asked = {
        "trials": 4 if kind in ("random", "bayesian") else None,
        "tuner": kind,
        "space": "blocks=1..2 shortcut=A,B",
        "config": base(epochs=3),
    }
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = searching(examples, whole, **asked).alone()
    begun = len(trained)
    for writes in range(0, 24, 2 if kind == "hyperband" else 1):
        directory = tmp_path / str(writes)
        directory.mkdir()
        del trained[:]
        with monkeypatch.context() as patch:
            killed_after(patch, writes)
            try:
                searching(examples, directory, **asked).alone()
                break
            except KeyboardInterrupt:
                pass
        found = searching(examples, directory, **asked).alone()
        # Nothing is lost, nothing is trained twice, and all ends as undisturbed.
        assert len(trained) == len(set(trained)) == begun
        assert [dataclasses.replace(t, seconds=0) for t in found.trials] == [
            dataclasses.replace(t, seconds=0) for t in expected.trials
        ]


def test_more_trials_go_on_with_fewer(examples, tmp_path, trained):
    few = searching(examples, tmp_path, trials=8).alone()
    more = searching(examples, tmp_path, trials=12).alone()
    assert len(trained) == 12
    assert {json.dumps(t.values) for t in few.trials} < {
        json.dumps(t.values) for t in more.trials
    }


def test_the_record_is_keras_tuners_own(examples, tmp_path, trained):
    found = searching(examples, tmp_path).alone()
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("top1_error", "min")
    )
    oracle._set_project_dir(str(tmp_path), "keras_tuner")
    oracle.reload()
    assert oracle.get_best_trials()[0].score == pytest.approx(found.trials[0].error)


@pytest.mark.parametrize("error", [NotFiniteError("a"), OutOfMemoryError("a", None)])
def test_a_trial_that_fails_ends_no_search(
    examples, tmp_path, trained, monkeypatch, error
):
    pretend = tuner_module.trainer

    def fail_twice(examples, directory, **arguments):
        if directory.parent.name in ("001", "002"):
            raise error
        pretend(examples, directory, **arguments)

    monkeypatch.setattr(tuner_module, "trainer", fail_twice)
    for _ in range(2):
        found = searching(examples, tmp_path, trials=5).alone()
        assert [bool(t.failure) for t in found.trials] == [False] * 3 + [True] * 2
        assert not any(trial.failure for trial in found.front)
    assert len(trained) == 3


def test_all_trials_failing_is_said(examples, tmp_path, monkeypatch):
    def fail(*_, **others):
        raise NotFiniteError("the loss is no longer a number")

    monkeypatch.setattr(tuner_module, "trainer", fail)
    with pytest.raises(UserError, match="all 2 trials failed.*no longer a number"):
        searching(examples, tmp_path, trials=2).alone()
    assert not (tmp_path / "best.json").exists()


def test_trials_are_kept_as_asked_for(examples, tmp_path, monkeypatch):
    asked = []

    def note(*_, **arguments):
        asked.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner_module, "trainer", note)
    options = LoopOptions(keep_last=5, on_nan="skip")
    search = dataclasses.replace(searching(examples, tmp_path), options=options)
    with pytest.raises(KeyboardInterrupt):
        search.alone()
    assert asked[0]["options"] == dataclasses.replace(options, stop_after=1)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_really_trains_and_goes_on(examples, tmp_path, replicas):
    """Hyperband on real images: what a rung ended with, the next one begins with."""
    config = base(epochs=3, settings=[*SETTINGS, "model.blocks_per_stage=1,1,1"])
    asked = {
        "trials": None,
        "tuner": "hyperband",
        "space": "learning_rate=0.1",
        "config": config,
    }
    # tests/conftest.py splits the CPU.
    devices = [f"CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices) if replicas > 1 else None
    found = searching(examples, tmp_path, strategy=strategy, **asked).alone()
    output = (tmp_path / "output.txt").read_text()
    console = Console(file=(tmp_path / "table.txt").open("w"), width=200)
    print_trials(found.trials, found.front, console)
    for trial in found.trials:
        folder = tmp_path / f"trials/{trial.number:03}"
        with (folder / "model/history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == trial.epochs
        assert float(rows[-1]["val_top1"]) == pytest.approx(1 - trial.error)
    assert [trial.epochs for trial in found.trials] == [3]
    assert output.count("going on after epoch 1") == 1

    # The files lead to the network and the recipe, for all of the recipe's epochs.
    best = found.trials[0].config
    again = request(
        data="drawings:300",
        model="resnet50",
        recipe="he2015",
        settings=[],
        hyperparameters=str(found.path),
    )
    assert again.network == best.network
    assert again.recipe.epochs == 6
    assert again.recipe.learning_rate == best.recipe.learning_rate
    model = keras_resnet.create(found.path)
    assert model.input_shape == (None, 16, 16, 3)
    assert model.output_shape == (None, len(examples.classes))
    second = tmp_path / "trials" / f"{found.trials[-1].number:03}"
    keras_resnet.create(second / "hyperparameters.json")
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert [row["number"] for row in rows] == [t.number for t in found.trials]
    assert list((tmp_path / "tensorboard").rglob("events*"))


def test_spaces_of_the_default_flags():
    asked = SearchRequest()
    space = tuner_module.space_around(base(settings=[]), asked).space
    assert dict(space.domains)["shortcut"] == Choice(("A", "B", "C", "none"))


FLAGS = """
from absl import flags
from absl.testing import flagsaver
from pipelines import tune
for words in (
    ["--allow_changed=recipe"], ["--export=best"], ["--strategy=multi_worker"],
    ["--tuner=hyperband", "--trials=4"], ["--tuner=hyperband"],
):
    with flagsaver.flagsaver():
        flags.FLAGS(["tune", *words])
        try: tune._check_flags()
        except tune.UserError as error: print(error)
"""


def test_refuses_flags_that_it_could_only_ignore():
    done = subprocess.run(
        [sys.executable, "-c", FLAGS], capture_output=True, text=True, check=True
    )
    told = done.stdout.splitlines()
    names = ("allow_changed", "export", "strategy", "trials")
    assert [line.split()[0] for line in told] == [f"--{name}" for name in names]


def _written(**values):
    names = {
        "model": "resnet20",
        "base_recipe": "onecycle",
        "network": {},
        "recipe": {},
    }
    return json.dumps({**names, **values})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "best.json cannot be read .*`python -m pipelines.tune` wrote"),
        ('{"model": "resn', "is not a file that `python -m pipelines.tune` wrote"),
        ("[1, 2]", "is not a file that `python -m pipelines.tune` wrote"),
        ('{"network": [1]}', "is not a file that `python -m pipelines.tune` wrote"),
        (_written(recipe={"speed": 1}), "no recipe value is called 'speed'"),
        (_written(network={"shortcut": "Q"}), "`shortcut` must be one of"),
    ],
)
def test_refuses_a_bad_hyperparameters_file(tmp_path, content, sentence):
    path = tmp_path / "best.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=sentence):
        base(hyperparameters=str(path))
