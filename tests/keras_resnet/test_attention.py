"""Grad-CAM on networks whose answer is known, and against TensorFlow's gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet.analysis import grad_cam


def sighted(kernel):
    """Returns a network that judges the mean of its image's channels."""
    image = keras.Input((4, 5, len(kernel)))
    seen = keras.layers.Activation("linear", name="conv2_block1_out")(image)
    mean = keras.layers.GlobalAveragePooling2D()(seen)
    classifier = keras.layers.Dense(
        kernel.shape[1], activation="softmax", name="predictions"
    )
    model = keras.Model(image, classifier(mean))
    classifier.set_weights([kernel, np.zeros(kernel.shape[1])])
    return model


def test_a_network_whose_answer_is_known():
    """The first class looks for the first channel, the second against it."""
    model = sighted(np.array([[1.0, -1.0], [0.0, 0.0]]))
    images = np.zeros((3, 4, 5, 2), "float32")
    images[0, 1, 2, 0] = 4.0
    images[0, 3, 3, 0] = 1.0
    images[0, 0, 0, 1] = 9.0  # Nobody looks at the second channel.
    images[1] = images[0]
    expected = np.zeros((4, 5))
    expected[1, 2], expected[3, 3] = 1.0, 0.25
    maps = grad_cam(model, images, np.array([0, 1, 0]), stage="conv2")
    np.testing.assert_allclose(maps[0], expected, atol=1e-6)
    assert not maps[1:].any()  # Nothing speaks for the class; there is nothing.
    np.testing.assert_allclose(grad_cam(model, images, stage="conv2")[0], expected)


@pytest.mark.parametrize("stage", ["conv2", "conv3_block1", "conv4"])
def test_as_tensorflow_computes_it(stage):
    keras.utils.set_random_seed(0)
    model = keras_resnet.ResNet20()
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    before = model.get_weights()
    block = stage if "_" in stage else f"{stage}_block3"
    layer, last = model.get_layer(f"{block}_out"), model.layers[-1]
    last.activation = keras.activations.linear
    body = keras.Model(model.input, layer.output)
    head = keras.Model(layer.output, model.output)
    activations = body(images)
    with tf.GradientTape() as tape:
        tape.watch(activations)
        scores = tf.gather(head(activations), [3, 7], axis=1, batch_dims=0)
        own = tf.linalg.diag_part(scores)
    gradients = tape.gradient(own, activations)
    weights = tf.reduce_mean(gradients, [1, 2], keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(weights * activations, -1)).numpy()
    most = expected.max(axis=(1, 2), keepdims=True)
    expected /= np.where(most > 0, most, 1)
    last.activation = keras.activations.softmax
    maps = grad_cam(model, images, [3, 7], stage)
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert maps.max() == 1
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(layer.trainable for layer in model.layers)


def test_what_cannot_be_asked_is_told():
    model = keras_resnet.ResNet20()
    images = np.zeros((1, 32, 32, 3), "float32")
    with pytest.raises(ValueError, match="conv2, conv3, conv4 or a block"):
        grad_cam(model, images)
    headless = keras_resnet.ResNet20(include_top=False)
    with pytest.raises(ValueError, match="does not end in a dense layer"):
        grad_cam(headless, images, stage="conv4")
