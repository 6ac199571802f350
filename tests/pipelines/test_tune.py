"""The search: what it tries, how it goes on, and what it leaves for training."""

import csv
import json
import math
import shlex
import subprocess
import sys

import pytest
from rich.console import Console

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines.components import tuner as tuner_module
from pipelines.components.example_gen import example_gen
from pipelines.components.tuner import LEARNING_RATE_ONLY, tuner
from pipelines.errors import OutOfMemoryError, UserError
from pipelines.reports.summary import print_trials
from pipelines.runs.folder import open_run
from pipelines.runs.request import request
from pipelines.runs.trial import Trial
from pipelines.training.loop import LoopOptions
from pipelines.tuning.search import search
from pipelines.tuning.space import SearchSpace

SETTINGS = ["image_size=16", "batch_size=32", "model.filters=4,4,4"]
SPACE = SearchSpace(blocks=(1, 2))


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


def run_search(examples, directory, *, trials, config=None):
    console = Console(file=(directory / "output.txt").open("w"), width=200)
    best = tuner(
        examples,
        directory,
        base=config or base(),
        space=SPACE,
        trials=trials,
        console=console,
    )
    print_trials(best.trials, console)
    return best, (directory / "output.txt").read_text()


def proposed(tmp_path, config, trials, space=SPACE):
    """The trials as drawn, without training."""
    found = search(config, space, trials, tmp_path / "record", pretend)
    return [trial.config for trial in sorted(found, key=lambda trial: trial.number)]


def pretend(number, config):
    return Trial(number, config, top1_error=0.5, parameters=1, seconds=0.0)


@pytest.fixture
def trained(monkeypatch):
    """Collects the names of the trials that the trainer is called for."""
    calls = []

    def note_and_train(examples, directory, **arguments):
        calls.append(directory.parent.name)
        return original(examples, directory, **arguments)

    original = tuner_module.trainer
    monkeypatch.setattr(tuner_module, "trainer", note_and_train)
    return calls


def test_trials_cover_the_space_and_nothing_else(tmp_path):
    config = base()
    drawn = proposed(tmp_path, config, 60, SearchSpace(blocks=(1, 2, 3)))
    networks = {(c.network.blocks_per_stage, c.network.shortcut) for c in drawn}
    assert networks == {((n, n, n), s) for n in (1, 2, 3) for s in "ABC"}
    rates = sorted(c.recipe.learning_rate for c in drawn)
    assert rates[0] >= 0.2 / 8 and rates[-1] <= 0.2 * 4
    # Log-uniform: the median lies near the geometric mean, not the arithmetic one.
    assert rates[30] == pytest.approx(math.sqrt(0.2 / 8 * 0.2 * 4), rel=0.5)


def test_weights_fit_one_network(tmp_path):
    config = base()
    drawn = proposed(tmp_path, config, 4, LEARNING_RATE_ONLY)
    assert all(one.network == config.network for one in drawn)
    assert len({one.recipe.learning_rate for one in drawn}) == 4


def test_trials_are_kept_as_asked_for(examples, tmp_path, monkeypatch):
    asked = []

    def note(*_, **arguments):
        asked.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner_module, "trainer", note)
    options = LoopOptions(keep_last=5, on_nan="skip")
    config = base(weights="photos.keras")
    with pytest.raises(KeyboardInterrupt):
        tuner(examples, tmp_path, base=config, trials=1, options=options)
    assert (asked[0]["options"], asked[0]["weights"]) == (options, "photos.keras")


def test_the_seed_decides_the_trials(tmp_path):
    first, again, other = (proposed(tmp_path, base(seed=seed), 6) for seed in (0, 0, 1))
    assert first == again
    rates = [{c.recipe.learning_rate for c in drawn} for drawn in (first, other)]
    assert not rates[0] & rates[1]


def test_more_trials_continue_fewer(tmp_path):
    # KerasTuner names its trials with as many digits as their number has.
    assert proposed(tmp_path, base(), 12)[:8] == proposed(tmp_path, base(), 8)


def test_best_first_then_the_smaller_network(tmp_path):
    outcomes = {1: (0.4, 10), 2: (0.1, 30), 3: (math.inf, 5), 4: (0.1, 20)}

    def run_trial(number, config):
        error, parameters = outcomes[number]
        return Trial(number, config, error, parameters, seconds=1.0)

    found = search(base(), SPACE, 4, tmp_path / "record", run_trial)
    assert [trial.number for trial in found] == [4, 2, 1, 3]


def test_what_a_trial_raises_ends_the_search(tmp_path):
    calls = []

    def run_trial(number, config):
        calls.append(number)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        search(base(), SPACE, 4, tmp_path / "record", run_trial)
    assert calls == [1]


def test_an_interrupted_search_goes_on(examples, tmp_path, trained, monkeypatch):
    note_and_train = tuner_module.trainer

    def interrupt_the_second(examples, directory, **arguments):
        if directory.parent.name == "002":
            raise KeyboardInterrupt
        return note_and_train(examples, directory, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tuner_module, "trainer", interrupt_the_second)
        with pytest.raises(KeyboardInterrupt):
            run_search(examples, tmp_path, trials=3)
    assert trained == ["001"]
    assert not (tmp_path / "best.json").exists()
    interrupted = (tmp_path / "trials/002/run.json").read_text()
    # What a kill may leave of KerasTuner's own files.
    (tmp_path / "keras_tuner/oracle.json").write_text('{"ongoing_tri')

    best, _ = run_search(examples, tmp_path, trials=3)
    assert trained == ["001", "002", "003"]
    assert sorted(trial.number for trial in best.trials) == [1, 2, 3]
    assert (tmp_path / "trials/002/run.json").read_text() == interrupted
    second = next(trial for trial in best.trials if trial.number == 2)
    assert json.loads(interrupted) == second.config.to_json()

    again, output = run_search(examples, tmp_path, trials=3)
    assert trained == ["001", "002", "003"]
    assert again == best
    assert "epoch" not in output and "going on" not in output
    for trial in best.trials:
        assert f"{trial.top1_error:.2%}" in output
        history = tmp_path / f"trials/{trial.number:03}/model/history.csv"
        with history.open(newline="") as file:
            (epoch,) = csv.DictReader(file)
        assert float(epoch["val_top1"]) == pytest.approx(1 - trial.top1_error)
    assert best.trials[0].top1_error == min(t.top1_error for t in best.trials)

    check_hyperparameters(best)
    check_parameters(best.trials[0])

    other = base(settings=[*SETTINGS, "momentum=0"])
    with pytest.raises(UserError, match="001 holds a different run.*momentum is 0.9"):
        run_search(examples, tmp_path, trials=3, config=other)


def check_parameters(trial):
    model = keras_resnet.build(trial.config.network, input_shape=(16, 16, 3))
    assert trial.parameters == sum(
        math.prod(weight.shape) for weight in model.trainable_weights
    )


def check_hyperparameters(best):
    """The file leads to the best trial's network and recipe, for all its epochs."""
    chosen = best.trials[0].config
    config = request(
        data="drawings:300",
        model="resnet50",
        recipe="he2015",
        settings=[],
        hyperparameters=str(best.path),
    )
    assert config.network == chosen.network
    assert config.recipe.epochs == RECIPES["onecycle"].epochs
    assert config.recipe.learning_rate == chosen.recipe.learning_rate
    assert (config.recipe.name, config.recipe.image_size) == ("onecycle", 16)
    values = json.loads(best.path.read_text())
    assert values == {
        "model": "resnet20",
        "base_recipe": "onecycle",
        "network": {
            "filters": [4, 4, 4],
            "blocks_per_stage": list(chosen.network.blocks_per_stage),
            "shortcut": chosen.network.shortcut,
        },
        "recipe": {
            "batch_size": 32,
            "learning_rate": chosen.recipe.learning_rate,
            "image_size": 16,
        },
    }


def test_a_trial_that_diverges_comes_last_and_is_not_repeated(
    examples, tmp_path, trained
):
    config = base(settings=[*SETTINGS, "learning_rate=1e30"])
    for _ in range(2):
        with pytest.raises(UserError, match="all 1 trials failed.*no longer a number"):
            run_search(examples, tmp_path, trials=1, config=config)
    assert trained == ["001"]
    assert not (tmp_path / "best.json").exists()


def test_a_trial_out_of_memory_ends_no_search(examples, tmp_path, trained, monkeypatch):
    train = tuner_module.trainer

    def exhausted(examples, directory, **arguments):
        if directory.parent.name == "001":
            raise OutOfMemoryError("out of memory, with 32 images at once")
        return train(examples, directory, **arguments)

    monkeypatch.setattr(tuner_module, "trainer", exhausted)
    for _ in range(2):
        best, _ = run_search(examples, tmp_path, trials=2)
        assert [trial.number for trial in best.trials] == [2, 1]
        assert best.trials[1].top1_error == math.inf
    assert trained == ["002"]


def test_too_few_images_is_said_once(examples, tmp_path):
    config = base(settings=[*SETTINGS, "batch_size=1000"])
    with pytest.raises(UserError, match="do not fill one batch of 1000"):
        run_search(examples, tmp_path, trials=3, config=config)


def test_a_folder_of_another_search_is_refused(tmp_path):
    search = open_run(tmp_path / "search", base())
    search.write_config(base())
    search.trials_dir.mkdir()
    with pytest.raises(
        UserError, match="recipe.epochs is 1 there, 2 now.*--overwrite.*--output_dir"
    ):
        open_run(tmp_path / "search", base(epochs=2))


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


@pytest.mark.slow
def test_the_command_prints_the_command_to_train_with(tmp_path):
    output_dir = tmp_path / "my search"
    command = [sys.executable, "-m", "pipelines.tune", "--data=drawings:200"]
    command += ["--trials=1", "--epochs=1", "--set=batch_size=32"]
    command += ["--set=image_size=16", f"--output_dir={output_dir}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = shlex.split(done.stdout.splitlines()[-1])
    assert printed[:3] == ["python", "-m", "pipelines.train_imagenet"]
    assert set(printed[3:]) == {
        "--data=drawings:200",
        "--validation_share=0.1",
        "--max_bad_share=0.01",
        f"--examples_dir={output_dir / 'examples'}",
        "--seed=0",
        f"--hyperparameters={output_dir / 'best.json'}",
        f"--output_dir={output_dir}-best",
    }

    other = [*command, "--epochs=2"]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "error: " in refused.stderr and "Traceback" not in refused.stderr
    assert "holds a different run (recipe.epochs is 1 there, 2 now)" in refused.stderr
