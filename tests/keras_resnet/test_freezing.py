"""What is frozen stays as it was to the bit; what is not, moves."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet import NETWORKS
from keras_resnet.training import RECIPES
from keras_resnet.training.freezing import freeze


@pytest.fixture
def network():
    """A small network whose statistics are not those of a new one."""
    spec = dataclasses.replace(
        NETWORKS["resnet20"],
        filters=(4, 4, 4),
        blocks_per_stage=(1, 1, 1),
        name="small",
    )
    keras.utils.set_random_seed(0)
    model = keras_resnet.build(spec, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(rng.uniform(0.5, 2, (4, 4)))
    return model


def _recipe(**values):
    return dataclasses.replace(
        RECIPES["finetune"], **{"frozen_stages": (), "batch_norm": "local", **values}
    )


def _moved(model, recipe):
    """Trains; returns of each layer with weights which of them moved."""
    freeze(model, recipe)
    model.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    layers = [layer for layer in model.layers if layer.weights]
    before = [layer.get_weights() for layer in layers]
    rng = np.random.default_rng(1)
    images = rng.standard_normal((8, 32, 32, 3)).astype("float32")
    model.fit(images, np.arange(8), batch_size=4, verbose=0)
    changed = {}
    for layer, old in zip(layers, before, strict=True):
        pairs = zip(old, layer.get_weights(), strict=True)
        changed[layer] = [not np.array_equal(a, b) for a, b in pairs]
    return changed


def test_frozen_stages(network):
    changed = _moved(network, _recipe(frozen_stages=("conv1", "conv2")))
    for layer, weights in changed.items():
        if layer.name.startswith(("conv1_", "conv2_")):
            assert not any(weights), layer.name
        else:
            assert all(weights), layer.name


def test_frozen_batch_norms(network):
    changed = _moved(network, _recipe(batch_norm="frozen"))
    for layer, weights in changed.items():
        if isinstance(layer, keras.layers.BatchNormalization):
            assert not any(weights), layer.name
        else:
            assert all(weights), layer.name


def test_nothing_frozen(network):
    assert all(all(weights) for weights in _moved(network, _recipe()).values())


def test_frozen_batch_norms_train_as_they_predict(network):
    """They normalise with the statistics that they came with."""
    images = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype("float32")
    predicted = network(images, training=False)
    freeze(network, _recipe(batch_norm="frozen"))
    np.testing.assert_array_equal(network(images, training=True), predicted)
    for layer in network.layers:
        layer.trainable = True
    assert not np.allclose(network(images, training=True), predicted, atol=1e-3)


def test_batch_norms_of_other_classes_are_frozen():
    class Mine(keras.layers.BatchNormalization):
        pass

    inputs = keras.Input((2,))
    model = keras.Model(inputs, Mine()(keras.layers.Dense(2)(inputs)))
    freeze(model, _recipe(batch_norm="frozen"))
    assert [layer.trainable for layer in model.layers[1:]] == [True, False]


def test_a_stage_may_be_a_block_or_a_layer():
    inputs = x = keras.Input((2,))
    names = ["conv4_block1_1_conv", "conv4_block1_1_bn", "conv4_block10_1_conv", "fc"]
    for name in names:
        x = keras.layers.Dense(2, name=name)(x)
    model = keras.Model(inputs, x)
    freeze(model, _recipe(frozen_stages=("conv4_block1", "fc")))
    frozen = [layer.name for layer in model.layers[1:] if not layer.trainable]
    assert frozen == ["conv4_block1_1_conv", "conv4_block1_1_bn", "fc"]


@pytest.mark.parametrize("stage", ["conv6", "con", "avg_pool", "conv1_relu"])
def test_a_stage_that_there_is_not(network, stage):
    """Or that has no weights."""
    with pytest.raises(
        ValueError,
        match=f"names '{stage}', but no layer of 'small' .* conv1, conv2, conv3, "
        "conv4, predictions",
    ):
        freeze(network, _recipe(frozen_stages=("conv1", stage)))
    assert all(layer.trainable for layer in network.layers)
