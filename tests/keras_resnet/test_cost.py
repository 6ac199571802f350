"""The paper's own counts."""

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.analysis import cost


@pytest.mark.parametrize(
    ("depth", "billions"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)]
)
def test_multiply_adds_of_table_1(depth, billions):
    model = getattr(keras_resnet, f"ResNet{depth}")(weights=None)
    # The table cuts some values and rounds others: within one unit of its last digit.
    assert abs(cost(model).multiply_adds / 1e9 - billions) < 0.1


def test_equals_the_peer_layer_by_layer():
    ours = cost(keras_resnet.ResNet50(weights=None))
    peers = cost(keras.applications.ResNet50(weights=None))
    by_name = {layer.name: layer for layer in peers.layers}
    assert ours.multiply_adds == peers.multiply_adds
    for layer in ours.layers:
        if layer.kind == "Conv2D":
            peer = by_name[layer.name]
            assert layer.multiply_adds == peer.multiply_adds
            assert layer.output_shape == peer.output_shape
            # The peer's convolutions have a bias per channel.
            assert layer.parameters == peer.parameters - layer.output_shape[-1]


def test_counts_one_convolution_by_hand():
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="valid")(inputs)
    outputs = keras.layers.Dense(7)(keras.layers.Flatten()(x))
    counted = cost(keras.Model(inputs, outputs))
    weights = 4 * 4 * 5 * (3 * 3 * 3), 4 * 4 * 5 * 7
    assert [layer.multiply_adds for layer in counted.layers if layer.multiply_adds] == [
        *weights
    ]
    assert counted.parameters == (3 * 3 * 3 * 5 + 5) + (4 * 4 * 5 * 7 + 7)


def test_parameters_are_what_training_changes_frozen_or_not():
    model = keras_resnet.ResNet20()
    trainable = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert cost(model).parameters == trainable
    model.trainable = False
    assert cost(model).parameters == trainable
    model.get_layer("conv1_bn").trainable = True
    assert cost(model).parameters == trainable


@pytest.mark.parametrize(
    ("build", "millions", "size"),
    # Xception's 8.4 billion (1610.02357) and MobileNetV2's 300 million (1801.04381),
    # whose tables count the same multiplications.
    [("Xception", 8_400, (299, 299, 3)), ("MobileNetV2", 300, (224, 224, 3))],
)
def test_counts_depthwise_and_separable_convolutions(build, millions, size):
    model = getattr(keras.applications, build)(weights=None, input_shape=size)
    assert cost(model).multiply_adds / 1e6 == pytest.approx(millions, rel=0.01)


def test_counts_nested_and_shared_layers_where_they_are_called():
    network = keras_resnet.ResNet20()
    single = cost(network)
    first, second = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    nested = keras.Sequential([keras.Input((32, 32, 3)), network], name="nested")
    twins = keras.Model([first, second], [nested(first), nested(second)])
    counted = cost(twins)
    assert counted.multiply_adds == 2 * single.multiply_adds
    assert counted.parameters == single.parameters
    assert counted.layers[0].name == "nested/resnet20/conv1_conv"


def test_counts_attention_and_transposed_convolutions_by_hand():
    images = keras.Input((4, 4, 6))
    larger = keras.layers.Conv2DTranspose(5, 3, strides=2, padding="same")(images)
    assert cost(keras.Model(images, larger)).multiply_adds == 4 * 4 * 3 * 3 * 5 * 6
    query, value = keras.Input((10, 32)), keras.Input((12, 16))
    attended = keras.layers.MultiHeadAttention(4, 8, value_dim=3)(query, value)
    projections = 10 * 32 * 32 + 12 * 16 * 32 + 12 * 16 * 12 + 10 * 12 * 32
    counted = cost(keras.Model([query, value], attended)).multiply_adds
    assert counted == projections + 4 * (10 * 12 * 8 + 10 * 12 * 3)


@pytest.mark.parametrize(
    ("multiply", "name"),
    [
        (lambda x: keras.ops.matmul(x, x), "matmul"),
        (lambda x: keras.layers.Dot(1, name="products")([x, x]), "products"),
        (lambda x: keras.layers.LSTM(3, name="recurrent")(x), "recurrent"),
    ],
)
def test_refuses_what_it_cannot_count(multiply, name):
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, multiply(inputs))
    with pytest.raises(ValueError, match=f"multiply-adds of '{name}"):
        cost(model)


def test_open_image_size():
    model = keras_resnet.ResNet18(weights=None, include_top=False)
    with pytest.raises(ValueError, match="pass `input_shape`"):
        cost(model)
    small = cost(model, input_shape=(64, 64, 3)).multiply_adds
    large = cost(model, input_shape=(128, 128, 3)).multiply_adds
    assert large == 4 * small


def test_prints_every_layer_and_the_total():
    model = keras_resnet.ResNet20()
    counted = cost(model)
    lines = str(counted).splitlines()
    assert len(lines) == len(counted.layers) + 2
    assert len(counted.layers) == len(model.layers) - 1
    assert lines[-1].split() == ["total", "269,722", "40,551,040"]
