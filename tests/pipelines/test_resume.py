"""A run that is stopped anywhere ends as if it had not been."""

import csv
import dataclasses
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from keras_resnet.training import RECIPES
from pipelines.components.trainer import trainer
from pipelines.errors import Stopped, UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.training.step import EvaluationStep, TrainingStep
from pipelines.training.strategies import make_strategy
from pipelines.training.watching import WatchOptions
from pipelines.training.watching.memory import as_run

HERE = pathlib.Path(__file__).parent
EVERY_STEP = LoopOptions(checkpoint_every="1 step", keep_last=3)


@pytest.fixture(scope="module")
def train(drawings, tiny_network, tiny_recipe):
    """Trains the tiny network with some of the tiny recipe's values changed."""

    def train(directory, changes=(), **arguments):
        arguments = {
            "watch": WatchOptions(tensorboard=False),
            "options": EVERY_STEP,
            **arguments,
        }
        return trainer(
            drawings,
            directory,
            network=tiny_network,
            recipe=dataclasses.replace(tiny_recipe, **dict(changes)),
            **arguments,
        )

    return train


def stop_in(patch, step=None, number=signal.SIGTERM):
    """Sends this process a signal in the step of that number, or in the validation."""
    kind = EvaluationStep if step is None else TrainingStep
    run, calls = kind.__call__, []

    def run_and_stop(*arguments):
        calls.append(None)
        if len(calls) == (step or 1):
            patch.setattr(kind, "__call__", run)
            signal.raise_signal(number)
        return run(*arguments)

    patch.setattr(kind, "__call__", run_and_stop)


def _rows(directory):
    """Returns the history but for what depends on the clock."""
    with (directory / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clocks = ("seconds", "images_per_second", "data_wait_share")
    return [{k: v for k, v in row.items() if k not in clocks} for row in rows]


def _assert_same(directory, undisturbed):
    weights, expected = (
        TrainedModel.load(path).load_keras().get_weights()
        for path in (directory, undisturbed)
    )
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert _rows(directory) == _rows(undisturbed)


@pytest.fixture(scope="module")
def stopped(train, tmp_path_factory):
    """A run that was stopped by SIGTERM in the second step of its second epoch."""
    directory = tmp_path_factory.mktemp("stopped") / "model"
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, step=7)
        with pytest.raises(Stopped) as stop:
            train(directory)
    assert stop.value.status == 143
    assert not TrainedModel.is_in(directory)
    return directory


@pytest.fixture
def copied(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "model")


def test_goes_on_in_the_middle_of_an_epoch(copied, train, tiny_model):
    (newest := Checkpoints(copied / "checkpoints").paths()[-1])
    with np.load(newest) as values:
        progress = json.loads(values["notes.json"].tobytes())["notes"]["progress"]
    # The step that ran when the signal came, the one that told all workers of it, and
    # the one that had been begun by then.
    assert (progress["epoch"], progress["step"]) == (1, 4)
    train(copied)
    _assert_same(copied, tiny_model.directory)
    (event,) = csv.DictReader((copied / "events.csv").open(newline=""))
    assert event["event"] == f"went on from {newest.name}"


def test_stopped_twice_with_two_replicas(train, monkeypatch, tmp_path):
    strategy = make_strategy("mirrored", replicas=2)
    train(tmp_path / "undisturbed", strategy=strategy)
    stop_in(monkeypatch, step=3, number=signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        train(tmp_path / "model", strategy=strategy)
    assert stop.value.status == 130
    stop_in(monkeypatch)
    with pytest.raises(Stopped, match="in the validation after epoch 1"):
        train(tmp_path / "model", strategy=strategy)
    train(tmp_path / "model", strategy=strategy)
    _assert_same(tmp_path / "model", tmp_path / "undisturbed")


def test_out_of_memory_begins_again_in_parts(train, tmp_path, monkeypatch, capsys):
    """And ends as a run that was given the parts, stopped in between or not."""
    changes = {"epochs": 1}
    train(tmp_path / "asked", changes={**changes, "accumulate": 2})
    run, lacking = TrainingStep.__call__, []

    def run_out(step, *arguments):
        assert not any(reference() for reference in lacking)  # Else they hold memory.
        outcome = run(step, *arguments)
        if step._recipe.accumulate == 1:
            lacking.append(weakref.ref(step))
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return outcome

    monkeypatch.setattr(TrainingStep, "__call__", run_out)
    stop_in(monkeypatch, step=4)
    with pytest.raises(Stopped):
        train(tmp_path / "raised", changes=changes)
    assert len(lacking) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "beginning again with --set=accumulate=2, 16 images at once, of which" in told
    )
    train(tmp_path / "raised", changes=changes)
    _assert_same(tmp_path / "raised", tmp_path / "asked")
    assert as_run(tmp_path / "raised", tiny := RECIPES["onecycle"]).accumulate == 2
    assert as_run(tmp_path / "asked", tiny) == tiny


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _replace(path):
    with path.open("wb") as file:
        np.savez(file, weights=np.zeros(3))


def _of_another_network(path):
    Checkpoints(path.parent).save({"network/0000/kernel": np.zeros(3)}, {})


@pytest.mark.parametrize("spoil", [_cut, _flip, _replace, _of_another_network])
def test_spoilt_checkpoints_are_named_and_passed_over(
    spoil, copied, train, tiny_model, capsys
):
    spoil(Checkpoints(copied / "checkpoints").paths()[-1])
    newest = Checkpoints(copied / "checkpoints").paths()[-1]
    train(copied, console=Console(width=500))
    assert f"left out: {newest}" in capsys.readouterr().out
    _assert_same(copied, tiny_model.directory)


def test_nothing_is_lost_when_no_checkpoint_can_be_used(copied, train):
    checkpoints = Checkpoints(copied / "checkpoints")
    for path in checkpoints.paths():
        _cut(path)
    before = {path: path.read_bytes() for path in checkpoints.paths()}
    with pytest.raises(UserError, match="no checkpoint in .* can be used"):
        train(copied)
    assert {path: path.read_bytes() for path in checkpoints.paths()} == before


def test_what_ends_exactness_is_told(copied, train, capsys):
    strategy = make_strategy("mirrored", replicas=2)
    with pytest.raises(UserError, match="replicas was 1 and is 2 now.*allow_changed"):
        train(copied, strategy=strategy)
    with pytest.raises(UserError, match="recipe.batch_size was 32 and is 16 now"):
        train(copied, {"batch_size": 16})
    with pytest.raises(UserError, match="seed was 0 and is 1 now"):
        allowed = LoopOptions(allow_changed=["recipe", "replicas"])
        train(copied, seed=1, options=allowed)
    train(
        copied,
        {"batch_size": 16},
        strategy=strategy,
        options=LoopOptions(allow_changed=["recipe.batch_size", "replicas"]),
        console=Console(width=500),
    )
    assert "recipe.batch_size was 32 and is 16 now" in capsys.readouterr().out
    rows = _rows(copied)
    assert len(rows) == 2
    # The schedule has come to its end, too.
    assert float(rows[-1]["learning_rate"]) < 0.02 * 0.05


@pytest.mark.parametrize("spoilt", [1, 3])
def test_a_damaged_one_takes_no_place_of_a_good_one(tmp_path, spoilt):
    """Neither among the newest nor as the best."""
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_best=1)
    rng = np.random.default_rng(0)

    def save(folder, score):
        return folder.save({"w": rng.random(1000)}, {}, score=score)

    paths = [save(checkpoints, score) for score in (0.9, 0.5, 0.1)]
    content = bytearray(paths[spoilt - 1].read_bytes())
    content[5000] ^= 1
    paths[spoilt - 1].write_bytes(content)
    again = Checkpoints(tmp_path, keep_last=2, keep_best=1)
    assert again.newest({"w": (1000,)}, Console()) is not None
    paths.append(save(again, 0.2))
    del paths[spoilt - 1]
    assert again.paths() == paths


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_best=2)
    scores = [0.1, None, 0.9, 0.3, 0.9, 0.2, None, 0.0]
    for number, score in enumerate(scores):
        checkpoints.save({"w": np.full(2, number)}, {"number": number}, score=score)
    shapes = {"w": (2,)}
    kept = [int(path.stem[-6:]) - 1 for path in checkpoints.paths()]
    assert kept == [2, 4, 6, 7]
    assert checkpoints.best(shapes, Console()).notes == {"number": 4}
    newest = checkpoints.newest(shapes, Console())
    assert newest.notes == {"number": 7} and (newest.arrays["w"] == 7).all()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save({"w": np.zeros(2)}, {})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save({"w": np.ones(2)}, {})
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoints.newest({"w": (2,)}, Console()).path == path


@pytest.mark.parametrize("span", ["50%", "", "0 steps", "0 minutes", "1 hour"])
def test_refuses_what_is_no_time_between_checkpoints(span):
    with pytest.raises(ValueError, match="is no time between checkpoints"):
        LoopOptions(checkpoint_every=span)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "kills"),
    [
        (1, 6),
        (2, 1),
        pytest.param(1, 20, marks=pytest.mark.soak),
        pytest.param(2, 20, marks=pytest.mark.soak),
    ],
)
def test_killed_at_random_moments(replicas, kills, drawings, tmp_path):
    """Every step writes a checkpoint, so that many kills hit that."""
    subprocess.run(
        [
            sys.executable,
            HERE / "kill_training.py",
            drawings.directory,
            tmp_path,
            str(replicas),
            str(kills),
        ],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        check=True,
    )
    _assert_same(tmp_path / "killed", tmp_path / "undisturbed")
    ours, theirs = (
        Checkpoints(tmp_path / name / "checkpoints").paths()[-1]
        for name in ("killed", "undisturbed")
    )
    with np.load(ours) as ours, np.load(theirs) as theirs:
        assert ours.files == theirs.files
        for name in set(ours.files) - {"notes.json"}:
            np.testing.assert_array_equal(ours[name], theirs[name])
