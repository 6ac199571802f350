"""The fused batch norm is Keras' batch norm."""

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.training import RECIPES
from pipelines.training.batch_norm import FusedBatchNormalization
from pipelines.training.network import for_training


def _trained(model, images, labels):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=False)
    losses = [model.train_on_batch(images, labels) for _ in range(3)]
    return losses, model.get_weights()


def _as_a_setting(plain, recipe):
    fused = keras_resnet.build(
        keras_resnet.NETWORKS["resnet20"],
        input_shape=(16, 16, 3),
        classifier_activation=None,
        settings=keras_resnet.Settings(norm_layer=FusedBatchNormalization),
    )
    fused.set_weights(plain.get_weights())
    return fused


@pytest.mark.parametrize("fuse", [for_training, _as_a_setting])
def test_three_steps_are_those_of_the_keras_layer(fuse):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((32, 16, 16, 3)).astype("float32")
    labels = rng.integers(0, 10, 32)
    plain = keras_resnet.ResNet20(input_shape=(16, 16, 3), classifier_activation=None)
    fused = fuse(plain, RECIPES["he2015"])
    assert any(isinstance(layer, FusedBatchNormalization) for layer in fused.layers)
    expected_losses, expected = _trained(plain, images, labels)
    losses, weights = _trained(fused, images, labels)
    # Where rounding moves a value across a ReLU's corner, gradients jump.
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3)
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3)


def test_one_layer_against_float64():
    rng = np.random.default_rng(0)
    inputs = rng.normal(3, 2, (4, 5, 6, 7))
    layer = FusedBatchNormalization(momentum=0.8, epsilon=1e-3)
    outputs = layer(inputs.astype("float32"), training=True)
    mean, variance = inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))
    np.testing.assert_allclose(
        outputs, (inputs - mean) / np.sqrt(variance + 1e-3), atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.8 + 0.2 * variance, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 5, 7), {}),
        ((4, 5, 6, 7), {"axis": 1}),
        ((4, 5, 6, 7), {"synchronized": True}),
    ],
)
def test_other_inputs_go_to_keras(shape, options):
    inputs = np.random.default_rng(0).normal(3, 2, shape).astype("float32")
    fused = FusedBatchNormalization.from_config(
        keras.layers.BatchNormalization(**options).get_config()
    )
    plain = keras.layers.BatchNormalization(**options)
    np.testing.assert_allclose(
        fused(inputs, training=True), plain(inputs, training=True), rtol=1e-6
    )


def test_copies_weights_and_keeps_frozen_layers_frozen():
    plain = keras_resnet.ResNet20(input_shape=(16, 16, 3), classifier_activation=None)
    plain.get_layer("conv1_bn").trainable = False
    fused = for_training(plain, RECIPES["he2015"])
    for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before = fused.get_layer("conv1_bn").get_weights()
    _trained(fused, np.ones((2, 16, 16, 3)), np.zeros(2))
    for a, b in zip(before, fused.get_layer("conv1_bn").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
