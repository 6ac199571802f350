"""The training loop: replicas, resumption, initial weights, bad ends."""

import csv
import dataclasses
import io
import itertools
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import keras_resnet
from keras_resnet.preprocessing import MODES, Preprocessing, preprocess_input
from pipelines.components.evaluator import evaluator
from pipelines.components.pusher import pusher
from pipelines.components.trainer import trainer
from pipelines.data.drawings import draw
from pipelines.data.examples import Examples
from pipelines.data.preprocessing import resize_and_crop
from pipelines.errors import NotFiniteError, UserError
from pipelines.serving.signatures import BYTES_SIGNATURE
from pipelines.training import loop
from pipelines.training.feed import Feed
from pipelines.training.loop import LoopOptions
from pipelines.training.model import TrainedModel
from pipelines.training.step import Outcome, TrainingStep
from pipelines.training.strategies import make_strategy
from pipelines.training.watching import WatchOptions


def _history(model):
    with (model.directory / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _column(model, name):
    return [float(row[name]) for row in _history(model)]


@pytest.fixture
def train(drawings, tiny_network, tiny_recipe):
    """Trains the tiny network with some of the tiny recipe's values changed."""

    def train(
        directory, examples=drawings, network=tiny_network, changes=(), **arguments
    ):
        recipe = dataclasses.replace(tiny_recipe, **dict(changes))
        arguments = {"watch": WatchOptions(tensorboard=False), **arguments}
        return trainer(examples, directory, network=network, recipe=recipe, **arguments)

    return train


def test_makes_what_it_says(tiny_model, drawings):
    assert len(_history(tiny_model)) == 2
    for name in ("curves.png", "model.keras", "model.json", "tensorboard"):
        assert (tiny_model.directory / name).exists()
    loaded = TrainedModel.load(tiny_model.directory)
    assert loaded.classes == drawings.classes
    probabilities = loaded.load_keras()(np.zeros((2, 16, 16, 3)))
    assert probabilities.shape == (2, len(drawings.classes))
    # The file needs nothing of the pipelines: its batch norms are Keras' own.
    kinds = {type(layer) for layer in loaded.load_keras().layers}
    assert keras.layers.BatchNormalization in kinds


def test_rows_of_steps_are_of_these_steps(tiny_model, drawings):
    """And not means since the epoch began, of which the last would be the epoch's."""
    with (tiny_model.directory / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = drawings.counts["train"] // 32
    assert len(rows) == 2 * steps
    for name in ("loss", "top1", "gradient_norm"):
        values = np.array([float(row[name]) for row in rows]).reshape(2, steps)
        epochs = _column(tiny_model, name)
        np.testing.assert_allclose(values.mean(axis=1), epochs, rtol=1e-6)
        assert (values[:, -1] != epochs).any()


def test_same_seed_same_run(tiny_model, train, tmp_path):
    again = train(tmp_path / "model")
    assert _column(again, "loss") == _column(tiny_model, "loss")
    other = train(tmp_path / "other", seed=1)
    assert _column(other, "loss") != _column(tiny_model, "loss")


@pytest.fixture
def as_on_gpus(monkeypatch):
    """Has the loop read what steps measured as it does on GPUs, once for a row of 5."""
    monkeypatch.setattr(loop, "gpus_here", lambda: ["GPU:0"])
    monkeypatch.setattr(loop, "_ROWS_PER_EPOCH", 1)


def test_reading_rarely_changes_nothing(
    as_on_gpus, tiny_model, train, tmp_path, monkeypatch
):
    told = []
    for kind, name in ((TrainingStep, "__call__"), (Outcome, "measured")):
        done = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda *a, done=done, name=name: told.append(name) or done(*a)
        )
    rarely = train(tmp_path / "model")
    assert told == (["__call__"] * 5 + ["measured"] * 5) * 2
    assert _column(rarely, "loss") == _column(tiny_model, "loss")
    with (rarely.directory / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(
        [float(row["loss"]) for row in rows], _column(rarely, "loss"), rtol=1e-6
    )


def test_starts_from_an_earlier_run(tiny_model, train, tiny_network, tmp_path):
    (run := tmp_path / "run").mkdir()
    (run / "model").symlink_to(tiny_model.directory)
    standing_still = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    tuned = train(tmp_path / "model", changes=standing_still, weights=str(run))
    layer = "conv4_block1_2_conv"
    np.testing.assert_allclose(
        tuned.load_keras().get_layer(layer).get_weights()[0],
        tiny_model.load_keras().get_layer(layer).get_weights()[0],
        atol=1e-6,
    )
    other = dataclasses.replace(tiny_network, blocks_per_stage=(2, 1, 1))
    with pytest.raises(UserError, match="do not fit 'resnet20': it lacks conv2_block2"):
        train(tmp_path / "other", network=other, weights=str(run))


def test_new_classifier_for_other_classes(tiny_model, drawings, train, tmp_path):
    more = dataclasses.replace(drawings, classes=(*drawings.classes, "one more"))
    model = train(tmp_path, more, weights=str(tiny_model.keras_path))
    assert model.load_keras().output_shape == (None, len(drawings.classes) + 1)


def test_published_weights_say_which_pixels_they_want(train, tiny_network, tmp_path):
    network = dataclasses.replace(tiny_network, shortcut="B")
    published = keras_resnet.build(network)
    file = tmp_path / "model.safetensors"
    keras_resnet.export_weights(published, file, layout="timm")
    config = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "input_size": (3, 32, 32),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
    }
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    model = train(tmp_path / "model", network=network, weights=str(file))
    # The sizes and the filter are the recipe's.
    assert model.preprocessing == Preprocessing(
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), resize=16, crop=16
    )
    before = _column(model, "val_loss")

    # Where the weights are gone since, a run goes on as it was begun.
    file.unlink()
    (model.directory / "model.json").unlink()
    model.keras_path.unlink()
    again = train(model.directory, network=network, weights=str(file))
    assert again.preprocessing == model.preprocessing
    assert _column(again, "val_loss") == before


def test_trains_and_serves_bgr_of_an_earlier_run_on_turned_images(
    tiny_model, drawings, train, tmp_path
):
    early = dataclasses.replace(
        tiny_model, directory=tmp_path / "early" / "model", preprocessing=MODES["caffe"]
    )
    early.directory.mkdir(parents=True)
    early.save(tiny_model.load_keras())
    examples = dataclasses.replace(
        drawings, made_from={**drawings.made_from, "orientation": "apply"}
    )
    still = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    model = train(
        tmp_path / "model",
        examples,
        changes={**still, "batch_norm": "frozen"},
        weights=str(tmp_path / "early"),
    )
    assert model.preprocessing == dataclasses.replace(
        MODES["caffe"], resize=16, crop=16, orientation="apply"
    )
    metrics = evaluator(examples, model, tmp_path / "evaluation.json")
    assert metrics.loss == pytest.approx(_column(model, "val_loss")[-1], rel=1e-5)

    (drawing,) = draw(1, seed=3)
    picture = Image.open(io.BytesIO(drawing.image)).convert("RGB").resize((40, 33))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(buffer, "png", exif=exif)
    signatures = tf.saved_model.load(pusher(model, tmp_path / "serving")).signatures
    served = signatures[BYTES_SIGNATURE](image_bytes=tf.constant([buffer.getvalue()]))
    turned = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    pixels = resize_and_crop(tf.constant(turned), model.preprocessing)[None].numpy()
    inputs = keras.applications.resnet50.preprocess_input(pixels.astype("float32"))
    expected = np.sort(model.load_keras()(inputs).numpy())[:, ::-1][:, :5]
    np.testing.assert_allclose(served["probabilities"], expected, rtol=1e-3)


def test_models_of_older_runs_load(tiny_model, tmp_path):
    values = json.loads((tiny_model.directory / "model.json").read_text())
    values["preprocessing"] = {
        "size": 16,
        "resize": 18,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "interpolation": "bilinear",
    }
    (tmp_path / "model.json").write_text(json.dumps(values))
    found = TrainedModel.load(tmp_path).preprocessing
    assert (found.resize, found.crop) == (18, 16)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("uint8")
    np.testing.assert_allclose(
        preprocess_input(images, mode=found), preprocess_input(images, mode="torch"),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    del values["preprocessing"]["mean"]
    values["preprocessing"]["gamma"] = 2.2
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="model.json is damaged.*gamma"):
        TrainedModel.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "arguments", "sentence"),
    [
        (
            {"batch_size": 31},
            {"strategy": make_strategy("mirrored", replicas=2)},
            "31 cannot be shared equally by 2",
        ),
        ({"schedule": "steps", "drops": ("1%", "2%")}, {}, "steps are too few"),
        ({"batch_size": 1000}, {}, "do not fill one batch of 1000"),
        ({}, {"weights": "no/such/run"}, "no file, folder or preset 'no/such/run'"),
        ({"batch_norm": "frozen"}, {}, "without weights they are random"),
    ],
)
def test_bad_ends(train, tmp_path, change, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, changes=change, **arguments)
    assert not TrainedModel.is_in(tmp_path)


@pytest.fixture
def bad_batch(monkeypatch):
    """Makes the labels of the third batch not a number."""
    numbers = itertools.count(1)
    following = Feed.next

    def spoilt(feed):
        images, labels = following(feed)
        return images, labels * (np.nan if next(numbers) == 3 else 1)

    monkeypatch.setattr(Feed, "next", spoilt)


MIXED = {"augmentation": "pad_crop(4)|flip|mixup(0.2)"}


def test_stops_before_a_step_that_is_not_finite(bad_batch, train, tmp_path):
    with pytest.raises(NotFiniteError, match="the loss .* in epoch 1, step 3"):
        train(tmp_path, changes=MIXED)
    assert not TrainedModel.is_in(tmp_path)
    with np.load(tmp_path / "nonfinite" / "epoch-1-step-3.npz") as values:
        assert values["images"].shape == (32, 16, 16, 3)
        assert np.isnan(values["labels"]).all()
    # What the command would do again goes on from before that step, as it should.
    train(tmp_path, changes=MIXED)
    assert len(_history(TrainedModel.load(tmp_path))) == 2


@pytest.mark.parametrize("on_nan", ["skip", "rollback"])
def test_goes_on_after_a_step_that_is_not_finite(bad_batch, train, tmp_path, on_nan):
    model = train(tmp_path, changes=MIXED, options=LoopOptions(on_nan=on_nan))
    for name in ("loss", "val_loss"):
        assert np.isfinite(_column(model, name)).all()
    # Also of labels that are mixed.
    assert all(0 <= share <= 1 for share in _column(model, "top1"))
    (event,) = csv.DictReader((tmp_path / "events.csv").open(newline=""))
    assert event == {
        "epoch": "0",
        "step": "3",
        "event": f"not finite: the loss; {on_nan}",
    }


def test_rolls_back_though_later_steps_have_begun(
    as_on_gpus, bad_batch, train, tmp_path
):
    model = train(tmp_path, changes=MIXED, options=LoopOptions(on_nan="rollback"))
    assert np.isfinite(_column(model, "loss")).all()
    (event,) = csv.DictReader((tmp_path / "events.csv").open(newline=""))
    assert (event["epoch"], event["step"]) == ("0", "3")


def test_names_the_layer_where_it_diverged(train, tmp_path):
    with pytest.raises(NotFiniteError, match="is no longer a number in epoch 1"):
        train(tmp_path, changes={"learning_rate": 1e30})


def test_damaged_records_are_left_out_up_to_a_share(train, drawings, tmp_path):
    shutil.copytree(drawings.directory, tmp_path / "examples")
    examples = Examples.load(tmp_path / "examples")
    file = pathlib.Path(examples.files("validation")[0])
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="40 validation records cannot be read"):
        train(tmp_path / "strict", examples=examples)
    assert not TrainedModel.is_in(tmp_path / "strict")
