"""Preprocessing against keras.applications, Pillow and the peers' own transforms."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from other_backend import answer_of

import keras_resnet
from keras_resnet.preprocessing import (
    MODES,
    Preprocessing,
    Standardize,
    decode_predictions,
    prepare_images,
    preprocess_input,
)
from keras_resnet.weights import LocatedWeights

imagenet_utils = keras.applications.imagenet_utils


def pixels(shape, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


SHAPES = [
    ("channels_last", (2, 5, 4, 3)),
    ("channels_first", (2, 3, 5, 4)),
    ("channels_last", (5, 4, 3)),
    ("channels_first", (3, 5, 4)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("data_format", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
def test_arrays_as_keras_applications(mode, data_format, shape, dtype):
    x = pixels(shape, dtype)
    # Keras changes an array of floats in place, we do not.
    expected = imagenet_utils.preprocess_input(x.copy(), data_format, mode)
    actual = preprocess_input(x, data_format, mode)
    assert isinstance(actual, np.ndarray) and actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(x, pixels(shape, dtype))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("data_format", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensors_as_keras_applications(mode, data_format, shape, dtype):
    x = keras.ops.convert_to_tensor(pixels(shape), dtype)
    expected = imagenet_utils.preprocess_input(x, data_format, mode)
    actual = preprocess_input(x, data_format, mode)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(actual), keras.ops.convert_to_numpy(expected)
    )


def test_defaults_are_those_of_keras_applications():
    x = pixels((2, 5, 4, 3))
    np.testing.assert_array_equal(
        preprocess_input(x), imagenet_utils.preprocess_input(x)
    )
    integers = preprocess_input(keras.ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(integers.dtype) == "float32"
    np.testing.assert_array_equal(integers, preprocess_input(x))


def test_a_model_says_what_it_wants():
    x = pixels((2, 32, 32, 3))
    model = keras_resnet.create("resnet20")
    for mode in MODES:
        model.preset = LocatedWeights("", "", preprocessing=MODES[mode])
        np.testing.assert_array_equal(
            preprocess_input(x, model), preprocess_input(x, mode=mode)
        )
    for preset in (None, LocatedWeights("", "")):
        model.preset = preset
        with pytest.raises(ValueError, match="how 'resnet20' wants.*pass `mode=`"):
            preprocess_input(x, model)
    whole = keras_resnet.create("resnet20", include_preprocessing=True)
    np.testing.assert_array_equal(preprocess_input(x, whole), x)
    inputs = keras.Input((32, 32, 3))
    nested = keras.Model(inputs, whole(inputs))
    np.testing.assert_array_equal(preprocess_input(x, nested), x)


def test_symbolic_tensors():
    inputs = keras.Input((5, 4, 3))
    model = keras.Model(inputs, preprocess_input(inputs, mode="torch"))
    x = pixels((2, 5, 4, 3))
    np.testing.assert_array_equal(model(x), preprocess_input(x, mode="torch"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: preprocess_input(pixels((5, 4, 3)), mode="torch2"),
            "'caffe', 'torch'",
        ),
        (lambda: preprocess_input(pixels((5, 4, 3)), "NHWC"), "`data_format`.*'NHWC'"),
        (lambda: preprocess_input(pixels((5, 4, 1))), "3 channels.*have 1"),
        (lambda: Preprocessing(mean=(0.5,)), "`mean` and `std`.*1 and 3"),
        (lambda: Preprocessing().size, "no `crop`"),
        (lambda: Preprocessing(channels="gbr"), "`channels`.*'gbr'"),
        (lambda: Preprocessing(interpolation="cubic"), "'bilinear' or 'bicubic'"),
        (lambda: Preprocessing(orientation="turn"), "`orientation`.*'turn'"),
        (lambda: Standardize()(pixels((1, 5, 4, 1))), "3 channels.*input has 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_values_as_json():
    values = dataclasses.replace(MODES["caffe"], crop=224, interpolation="bicubic")
    text = json.dumps(dataclasses.asdict(values))
    assert Preprocessing(**json.loads(text)) == values


@pytest.mark.parametrize("mode", MODES)
def test_mean_colour_becomes_about_zero(mode):
    image = np.full((1, 1, 3), MODES[mode].mean_colour, "uint8")
    # Half a level at most, of the deviations of these.
    assert np.abs(preprocess_input(image, "channels_last", mode)).max() <= 0.5
    if mode != "tf":
        assert image[0, 0, 0] == 124  # Red.


def test_pixels_of_another():
    sizes = Preprocessing(resize=256, crop=224, orientation="apply")
    mixed = sizes.with_pixels_of(MODES["caffe"])
    assert mixed == dataclasses.replace(
        MODES["caffe"], resize=256, crop=224, orientation="apply"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("data_format", "shape"), SHAPES[:2])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_layer(mode, data_format, shape, dtype, tmp_path):
    x = pixels(shape, dtype)
    inputs = keras.Input(shape[1:], dtype=dtype)
    layer = Standardize.from_preprocessing(MODES[mode], data_format=data_format)
    model = keras.Model(inputs, layer(inputs))
    expected = imagenet_utils.preprocess_input(x.copy(), data_format, mode)
    np.testing.assert_array_equal(model(x), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), expected)
    assert loaded.layers[1].get_config() == layer.get_config()


def test_layer_under_mixed_precision():
    layer = Standardize(dtype="mixed_float16")
    x = pixels((1, 16, 16, 3)) + np.float32(0.4)
    outputs = layer(x)
    assert outputs.dtype == "float16"
    # Rounded once, at the end.
    expected = preprocess_input(x, mode="torch").astype("float16")
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 3, 4, 5, 3)])
def test_layer_in_other_dimensions(shape):
    x = pixels(shape)
    expected = preprocess_input(x, "channels_last", "caffe")
    layer = Standardize.from_preprocessing(MODES["caffe"])
    np.testing.assert_array_equal(layer(x), expected)
    first = Standardize.from_preprocessing(MODES["caffe"], data_format="channels_first")
    moved = np.moveaxis(expected, -1, 1)
    np.testing.assert_array_equal(first(np.moveaxis(x, -1, 1)), moved)


SCRIPT = """
import sys
import keras, numpy as np
from keras_resnet.preprocessing import *

arrays = np.load(sys.argv[1])
x = arrays["x"]
for mode in MODES:
    for data_format in ("channels_last", "channels_first"):
        axes = (0, 1, 2, 3) if data_format == "channels_last" else (0, 3, 1, 2)
        images, expected = x.transpose(axes), arrays[mode].transpose(axes)
        inputs = keras.Input(images.shape[1:], dtype="uint8")
        layer = Standardize.from_preprocessing(MODES[mode], data_format=data_format)
        model = keras.Model(inputs, layer(inputs))
        model.save(sys.argv[1] + ".keras")
        for outputs in (
            model(images),
            keras.saving.load_model(sys.argv[1] + ".keras")(images),
            preprocess_input(keras.ops.convert_to_tensor(images), data_format, mode),
        ):
            outputs = keras.ops.convert_to_numpy(outputs)
            np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)
preprocessing = Preprocessing(resize=48, crop=40, interpolation="bicubic")
prepared = keras.ops.convert_to_numpy(prepare_images(arrays["large"], preprocessing))
assert np.abs(prepared - arrays["prepared"]).max() <= 1
keras.config.set_image_data_format("channels_first")
first = prepare_images(arrays["large"].transpose(0, 3, 1, 2), preprocessing)
first = keras.ops.convert_to_numpy(first).transpose(0, 2, 3, 1)
assert np.abs(first - arrays["prepared"]).max() <= 1
print('"done"')
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends(backend, tmp_path):
    x, large = pixels((2, 5, 4, 3)), smooth_pixels((2, 97, 120, 3))
    preprocessing = Preprocessing(resize=48, crop=40, interpolation="bicubic")
    np.savez(
        tmp_path / "arrays.npz",
        x=x,
        large=large,
        prepared=prepare_images(large, preprocessing),
        **{mode: imagenet_utils.preprocess_input(x, mode=mode) for mode in MODES},
    )
    assert answer_of(SCRIPT, backend, tmp_path / "arrays.npz") == "done"


def smooth_pixels(shape):
    """Noise and large shapes, to tell filters apart and to find shifts.

    Away from black and white, where Pillow's cubic filter clips between its two passes.
    """
    _, height, width, _ = shape
    ramp = np.linspace(40, 120, height)[:, None, None] * np.ones((1, width, 3))
    ramp[height // 4 : height // 2, width // 3 : width // 2] = 150
    return (ramp + pixels(shape) / 4).astype("uint8")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(97, 120), (120, 97), (50, 64), (41, 300)])
def test_images_as_pillow(interpolation, size):
    image = pytest.importorskip("PIL.Image")
    resize, crop = 48, 41
    x = smooth_pixels((2, *size, 3))
    preprocessing = Preprocessing(resize=resize, crop=crop, interpolation=interpolation)
    actual = np.asarray(prepare_images(x, preprocessing))
    # As torchvision's Resize and CenterCrop, with the same rounding.
    height, width = size
    short = min(size)
    new = (resize * height // short, resize * width // short)
    top, left = (round((side - crop) / 2) for side in new)
    for one, prepared in zip(x, actual, strict=True):
        resized = image.fromarray(one).resize(
            new[::-1], getattr(image.Resampling, interpolation.upper())
        )
        expected = np.asarray(resized)[top : top + crop, left : left + crop]
        assert prepared.shape == expected.shape
        assert np.abs(prepared - expected).max() <= 1


def test_images_without_resizing():
    x = pixels((1, 10, 8, 3))
    np.testing.assert_array_equal(prepare_images(x, MODES["torch"]), x)
    cropped = prepare_images(x, Preprocessing(crop=4))
    np.testing.assert_array_equal(cropped, x[:, 3:7, 2:6])
    with pytest.raises(ValueError, match="10x8 pixels.*crop of 9"):
        prepare_images(x, Preprocessing(crop=9))


def test_decode_predictions(tmp_path, monkeypatch):
    # Keras' own downloads would come from here.
    index = {str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps(index), encoding="utf-8")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path)
    )
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", None)
    predictions = np.zeros((2, 1000), "float32")
    predictions[0, [7, 42]] = 0.25, 0.75
    predictions[1, 999] = 1.0
    decoded = decode_predictions(predictions, top=2)
    assert decoded[0] == [
        ("n00000042", "class_42", 0.75),
        ("n00000007", "class_7", 0.25),
    ]
    assert decoded[1][0] == ("n00000999", "class_999", 1.0)
    assert (
        decode_predictions(keras.ops.convert_to_tensor(predictions), top=2) == decoded
    )
    with pytest.raises(ValueError, match="1000"):
        decode_predictions(predictions[:, :10])
