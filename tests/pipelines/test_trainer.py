"""The training loop: replicas, resumption, initial weights, bad ends."""

import csv
import dataclasses

import keras
import numpy as np
import pytest

import keras_resnet
from pipelines.artifacts import TrainedModel
from pipelines.components.trainer import trainer
from pipelines.data.input_pipeline import training_batches
from pipelines.errors import UserError
from pipelines.training.checkpoints import Checkpoint
from pipelines.training.recipes import RECIPES
from pipelines.training.strategies import make_strategy

NETWORK = dataclasses.replace(
    keras_resnet.NETWORKS["resnet20"], blocks_per_stage=(1, 1, 1)
)
RECIPE = dataclasses.replace(
    RECIPES["onecycle"], epochs=2, batch_size=32, image_size=16, learning_rate=0.05
)


def _history(model):
    with (model.directory / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _column(model, name):
    return [float(row[name]) for row in _history(model)]


def _train(drawings, directory, recipe=RECIPE, **arguments):
    return trainer(drawings, directory, network=NETWORK, recipe=recipe, **arguments)


@pytest.fixture(scope="module")
def one_device(drawings, tmp_path_factory):
    return _train(drawings, tmp_path_factory.mktemp("one") / "model")


def test_makes_what_it_says(one_device, drawings):
    assert len(_history(one_device)) == RECIPE.epochs
    for name in ("curves.png", "model.keras", "model.json", "tensorboard"):
        assert (one_device.directory / name).exists()
    loaded = TrainedModel.load(one_device.directory)
    assert loaded.classes == drawings.classes
    probabilities = loaded.load_keras()(np.zeros((2, 16, 16, 3)))
    assert probabilities.shape == (2, len(drawings.classes))
    # The file needs nothing of the pipelines: its batch norms are Keras' own.
    kinds = {type(layer) for layer in loaded.load_keras().layers}
    assert keras.layers.BatchNormalization in kinds


def test_same_seed_same_run(one_device, drawings, tmp_path):
    again = _train(drawings, tmp_path / "model")
    assert _column(again, "loss") == _column(one_device, "loss")
    other = _train(drawings, tmp_path / "other", seed=1)
    assert _column(other, "loss") != _column(one_device, "loss")


def test_synchronised_replicas_are_one_device(one_device, drawings, tmp_path):
    """With statistics of the whole batch, two replicas repeat the one device's run."""
    recipe = dataclasses.replace(RECIPE, batch_norm="synchronized")
    two = _train(
        drawings, tmp_path / "model", recipe, strategy=make_strategy(replicas=2)
    )
    for name in ("loss", "top1", "val_loss", "val_top1"):
        # float32 sums in another order, over some ten steps.
        np.testing.assert_allclose(
            _column(two, name), _column(one_device, name), rtol=2e-3, atol=2e-3
        )


def test_local_replicas_differ_by_their_statistics(one_device, drawings, tmp_path):
    """The first step's loss differs by the batch norm alone, and only a little."""
    two = _train(drawings, tmp_path / "model", strategy=make_strategy(replicas=2))
    assert _column(two, "loss") != pytest.approx(_column(one_device, "loss"), rel=1e-3)
    assert _column(two, "loss") == pytest.approx(_column(one_device, "loss"), rel=0.3)


def test_goes_on_after_the_last_finished_epoch(one_device, drawings, tmp_path):
    """A run that is interrupted in its second epoch ends with the same weights."""

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations > drawings.counts["train"] // 32 + 1:
                raise KeyboardInterrupt

    directory = tmp_path / "model"
    original = Checkpoint.set_model
    with pytest.MonkeyPatch.context() as patch:

        def set_model(self, model):
            original(self, model)
            interrupt.set_model(model)

        interrupt = Interrupt()
        patch.setattr(Checkpoint, "set_model", set_model)
        patch.setattr(
            Checkpoint,
            "on_train_batch_end",
            lambda self, batch, logs=None: interrupt.on_train_batch_end(batch, logs),
        )
        with pytest.raises(KeyboardInterrupt):
            _train(drawings, directory)
    assert not TrainedModel.is_in(directory)
    resumed = _train(drawings, directory)
    assert _column(resumed, "loss") == _column(one_device, "loss")
    for ours, theirs in zip(
        resumed.load_keras().get_weights(),
        one_device.load_keras().get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_finished_model_is_left_alone(one_device, drawings):
    before = one_device.keras_path.stat().st_mtime_ns
    _train(drawings, one_device.directory)
    assert one_device.keras_path.stat().st_mtime_ns == before


def test_starts_from_an_earlier_run(one_device, drawings, tmp_path):
    (run := tmp_path / "run").mkdir()
    (run / "model").symlink_to(one_device.directory)
    recipe = dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-9, weight_decay=0.0)
    tuned = _train(drawings, tmp_path / "model", recipe, weights=str(run))
    layer = "conv4_block1_2_conv"
    np.testing.assert_allclose(
        tuned.load_keras().get_layer(layer).get_weights()[0],
        one_device.load_keras().get_layer(layer).get_weights()[0],
        atol=1e-6,
    )
    other = dataclasses.replace(NETWORK, blocks_per_stage=(2, 1, 1))
    with pytest.raises(UserError, match="does not fit 'resnet20' at layer 'conv2_bl"):
        trainer(
            drawings,
            tmp_path / "other",
            network=other,
            recipe=RECIPE,
            weights=str(run),
        )


def test_new_classifier_for_other_classes(one_device, drawings, tmp_path):
    few = dataclasses.replace(drawings, classes=(*drawings.classes, "one more"))
    recipe = dataclasses.replace(RECIPE, epochs=1)
    model = _train(few, tmp_path, recipe, weights=str(one_device.keras_path))
    assert model.load_keras().output_shape == (None, len(drawings.classes) + 1)


@pytest.mark.parametrize(
    ("change", "arguments", "sentence"),
    [
        ({"batch_size": 1000}, {}, "do not fill one batch of 1000"),
        ({}, {"weights": "no/such/run"}, "there is no file no/such/run"),
        ({"learning_rate": 1e30}, {}, "the loss is no longer a number"),
    ],
)
def test_bad_ends(drawings, tmp_path, change, arguments, sentence):
    recipe = dataclasses.replace(RECIPE, **change)
    with pytest.raises(UserError, match=sentence):
        _train(drawings, tmp_path, recipe, **arguments)
    assert not TrainedModel.is_in(tmp_path)


def test_epochs_depend_on_seed_and_number_alone(drawings):
    """Epoch 1 is the same whether or not epoch 0 was read before it."""
    preprocessing = RECIPE.preprocessing(32)

    def batches(epochs, seed=0):
        dataset = training_batches(
            drawings, preprocessing, "pad_crop_flip", 32, epochs, seed
        )
        return list(dataset.as_numpy_iterator())

    both, second = batches(range(2)), batches(range(1, 2))
    assert len(both) == 2 * len(second)
    for (images, labels), (expected, expected_labels) in zip(
        second, both[len(second) :], strict=True
    ):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)
    assert not np.array_equal(both[0][1], second[0][1])
    assert not np.array_equal(batches(range(1), seed=1)[0][0], both[0][0])
