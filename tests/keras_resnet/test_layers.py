"""The layers that Keras lacks, in one to three dimensions and both data formats."""

import itertools

import keras
import numpy as np
import pytest
from keras.src.saving import object_registration

import keras_resnet
from keras_resnet import layers
from keras_resnet.shortcuts import BlockInput, zero_pad

# Odd, even and the smallest size; two images, three channels.
SHAPES = [(2, 7, 3), (2, 1, 3), (2, 6, 1, 3), (2, 5, 8, 3), (2, 2, 3, 4, 3)]
DATA_FORMATS = ["channels_last", "channels_first"]


def to_first(x):
    return np.moveaxis(x, -1, 1)


def to_last(x):
    return np.moveaxis(x, 1, -1)


def pads(shape, extents):
    """What `np.pad` wants to pad only the spatial axes."""
    return [(0, 0), *((extent, extent) for extent in extents), (0, 0)]


def check(layer, x, expected, data_format):
    """Eagerly, symbolically and with open sizes, `layer` gives `expected`."""
    if data_format == "channels_first":
        x, expected = to_first(x), to_first(expected)
    for static in (x.shape[1:], [None] * (x.ndim - 1)):
        channels = -1 if data_format == "channels_last" else 0
        static = list(static)
        static[channels] = 3
        symbol = keras.Input(static)
        model = keras.Model(symbol, layer(symbol))
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
        assert all(
            size in (None, found)
            for size, found in zip(
                model.output_shape[1:], expected.shape[1:], strict=True
            )
        )
    assert layer.compute_output_shape(x.shape) == expected.shape
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(x), layer(x))


def random(shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_pool(shape, strides, data_format):
    x = random(shape)
    rank = x.ndim - 2
    # NumPy's own reflection, which repeats the pixel where there is only one.
    padded = np.pad(x, pads(shape, [1] * rank), mode="reflect")
    expected = np.zeros(shape)
    for taps in itertools.product(range(3), repeat=rank):
        weight = np.prod([(0.25, 0.5, 0.25)[tap] for tap in taps])
        window = tuple(
            slice(tap, tap + n) for tap, n in zip(taps, shape[1:], strict=False)
        )
        expected += weight * padded[(slice(None), *window)]
    kept = (slice(None), *[slice(None, None, strides)] * rank)
    layer = layers.BlurPool(strides, data_format=data_format)
    check(layer, x, expected[kept], data_format)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_reflection_padding(shape, data_format):
    x = random(shape)
    expected = np.pad(x, pads(shape, [1] * (x.ndim - 2)), mode="reflect")
    layer = layers.ReflectionPadding(data_format=data_format)
    check(layer, x, expected, data_format)


@pytest.mark.parametrize("shape", SHAPES)
def test_maximum_over_reflection_is_the_maximum_over_the_pixels_that_exist(shape):
    x = random(shape) - 10
    rank = x.ndim - 2
    lowest = np.pad(x, pads(shape, [1] * rank), constant_values=-np.inf)
    padded = layers.ReflectionPadding()(x)
    pool = getattr(keras.layers, f"MaxPooling{rank}D")(3, strides=2)
    np.testing.assert_array_equal(pool(padded), pool(lowest))


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("extent", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_depth_edge_padding(shape, extent, data_format):
    x = random(shape)
    depth_only = [extent] + [0] * (x.ndim - 3)
    expected = np.pad(x, pads(shape, depth_only), mode="edge")
    layer = layers.DepthEdgePadding(extent, data_format=data_format)
    check(layer, x, expected, data_format)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize(("filters", "strides"), [(3, 1), (3, 2), (6, 1), (8, 2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_subsample_and_zero_pad(shape, filters, strides, data_format):
    x = random(shape)
    kept = x[(slice(None), *[slice(None, None, strides)] * (x.ndim - 2))]
    expected = np.zeros((*kept.shape[:-1], filters), "float32")
    before = (filters - 3) // 2
    expected[..., before : before + 3] = kept
    layer = layers.SubsampleAndZeroPad(filters, strides, data_format=data_format)
    check(layer, x, expected, data_format)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize(("filters", "strides"), [(3, 2), (7, 1), (8, 2)])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) < 5])
def test_option_a_of_layers_of_keras(
    shape, filters, strides, data_format, monkeypatch, tmp_path
):
    """As the layer that it had before, and in a file that Keras alone can load."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        x = random(shape)
        x = x if data_format == "channels_last" else to_first(x)
        inputs = keras.Input(x.shape[1:])
        block = BlockInput(inputs, filters, strides, name="block")
        model = keras.Model(inputs, zero_pad(block))
        model.save(tmp_path / "model.keras")
        monkeypatch.setattr(object_registration, "GLOBAL_CUSTOM_OBJECTS", {})
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        expected = layers.SubsampleAndZeroPad(filters, strides)(x)
        np.testing.assert_array_equal(loaded(x), expected)
    finally:
        keras.config.set_image_data_format(before)


def test_saved_models_and_keras_alone(monkeypatch, tmp_path):
    """A network of the paper loads; any other says what to import."""
    small = {"filters": (4, 8), "blocks_per_stage": (1, 1), "input_shape": (16, 16, 3)}
    monkeypatch.setattr(object_registration, "GLOBAL_CUSTOM_OBJECTS", {})
    for network in ("resnet20", "plainnet20", "resnet18", "resnet50d", "resnet164"):
        model = keras_resnet.create(network, **small)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        x = random((2, 16, 16, 3))
        np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    keras_resnet.create("resnet18", antialias="blur", **small).save(
        tmp_path / "other.keras"
    )
    with pytest.raises(TypeError, match="'BlurPool'.*imported.*keras_resnet.layers"):
        keras.saving.load_model(tmp_path / "other.keras")


def test_subsample_and_zero_pad_refuses_to_narrow():
    block = BlockInput(keras.Input((4, 4, 3)), 2, 1, name="narrow")
    with pytest.raises(ValueError, match="'narrow'.*cannot take any away.* has 3 cha"):
        zero_pad(block)
    with pytest.raises(ValueError, match="cannot take any away.* has 3 channels"):
        layers.SubsampleAndZeroPad(2)(np.ones((1, 4, 4, 3)))


def test_stop_gradient():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("takes TensorFlow's gradient")
    x = tf.constant(random((2, 4, 4, 3)))
    layer = layers.StopGradient()
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x) + 3 * x
    np.testing.assert_array_equal(tape.gradient(y, x), np.full(x.shape, 3.0))
    np.testing.assert_array_equal(layer(x), x)
    assert layer.compute_output_shape((2, 4, 4, 3)) == (2, 4, 4, 3)
    copy = layers.StopGradient.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "layer",
    [
        layers.BlurPool(2),
        layers.ReflectionPadding(),
        layers.DepthEdgePadding(2),
        layers.SubsampleAndZeroPad(8, 2),
        layers.StopGradient(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_saves_and_loads(layer, tmp_path):
    model = keras.Sequential([keras.Input((5, 6, 3)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = random((2, 5, 6, 3))
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("kind", [layers.BlurPool, layers.ReflectionPadding])
def test_half_precision(kind):
    layer = kind(dtype="float16")
    assert keras.backend.standardize_dtype(layer(random((1, 4, 4, 3))).dtype) == (
        "float16"
    )
