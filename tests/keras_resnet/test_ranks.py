"""Networks for signals and volumes, and any size and number of channels."""

import dataclasses

import keras
import numpy as np
import pytest
import reference

import keras_resnet

TINY = {"filters": (8, 16), "blocks_per_stage": (1, 1), "classes": 5}

# Of every kind of block, stem and shortcut; with all that has a layer of its own.
VARIANTS = {
    "basic": ("resnet18", {}),
    "bottleneck": ("resnet50", {}),
    "cifar": ("resnet20", {}),
    "v2": ("preresnet50", {}),
    "v2_keras": ("resnet50v2", {}),
    "wide": ("wrn_16_8", {"stem_filters": 4}),
    "d": ("resnet50d", {}),
    "se": ("seresnet18", {}),
    "resnext": ("resnext50_32x4d", {"cardinality": 2, "base_width": 32}),
    "blur": ("resnetblur50", {}),
    "average": ("resnetaa50d", {}),
}
SIZES = {1: (37,), 2: (19, 14), 3: (5, 18, 11)}


def spec_of(variant, rank):
    name, changes = VARIANTS[variant]
    return dataclasses.replace(
        keras_resnet.NETWORKS[name], rank=rank, **{**TINY, **changes}
    )


def images(shape, count=2):
    return np.random.default_rng(0).standard_normal((count, *shape)).astype("float32")


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_builds_runs_trains_and_saves(variant, rank, tmp_path):
    shape = (*SIZES[rank], 2)
    model = keras_resnet.build(spec_of(variant, rank), input_shape=shape)
    convolutions = {
        type(layer).__name__ for layer in model.layers if "Conv" in type(layer).__name__
    }
    assert convolutions == {f"Conv{rank}D"}
    x = images(shape)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = model.get_weights()
    assert np.isfinite(model.train_on_batch(x, np.array([1, 3])))
    kernels = [
        not np.array_equal(old, new)
        for old, new in zip(before, model.get_weights(), strict=True)
        if old.ndim > 1
    ]
    assert all(kernels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("channels", [1, 4, 13])
@pytest.mark.parametrize("rank", SIZES)
def test_any_number_of_channels(rank, channels):
    shape = (*SIZES[rank], channels)
    model = keras_resnet.build(spec_of("basic", rank), input_shape=shape)
    assert model.get_layer("conv1_conv").kernel.shape[-2:] == (channels, 8)
    assert model(images(shape)).shape == (2, 5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_size(variant):
    """One model takes them all, down to one pixel where its pooling lets it."""
    model = keras_resnet.build(spec_of(variant, 2), include_top=False)
    smallest = 3 if variant == "average" else 1
    stride = 8 if variant not in ("cifar", "wide") else 2
    for size in (smallest, smallest + 1, 9, 32, 33):
        outputs = np.asarray(model(images((size, 40, 3))))
        assert outputs.shape[2] == 40 // stride
        if variant != "average":
            assert outputs.shape[1] == -(-size // stride)
        assert outputs.size
        assert np.isfinite(outputs).all()


@pytest.mark.parametrize("variant", ["basic", "bottleneck", "d", "v2", "blur", "se"])
def test_volumes_without_a_neighbour_in_depth_or_width_are_images(variant):
    """The middle of the kernel's depth does what the network of rank 2 does.

    The other slices of every kernel are zero here; an axis of one pixel then must not
    change anything, in depth as in width.
    """
    x = images((21, 18, 3))
    flat = keras_resnet.build(spec_of(variant, 2), input_shape=x.shape[1:])
    reference.randomize(flat)
    deep = keras_resnet.build(spec_of(variant, 3), input_shape=(1, *x.shape[1:]))
    for layer in deep.layers:
        if not layer.weights:
            continue
        values = flat.get_layer(layer.name).get_weights()
        if isinstance(layer, keras.layers.Conv3D):
            kernel = np.zeros(layer.kernel.shape)
            kernel[len(kernel) // 2] = values[0]
            values[0] = kernel
        layer.set_weights(values)
    np.testing.assert_allclose(deep(x[:, None]), flat(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", SIZES)
def test_default_input_shape(rank):
    spec = dataclasses.replace(spec_of("cifar", rank), input_size=6)
    assert keras_resnet.build(spec).input_shape == (None, *[6] * rank, 3)
    open_sizes = keras_resnet.build(spec, include_top=False)
    assert open_sizes.input_shape == (None, *[None] * rank, 3)


@pytest.mark.parametrize(
    ("rank", "shape", "expected"),
    [
        (1, (32, 32, 3), r"\(length, channels\)"),
        (2, (32, 3), r"\(height, width, channels\)"),
        (3, (32, 32, 3), r"\(depth, height, width, channels\)"),
        (3, (4, 0, 4, 3), r"\(depth, height, width, channels\)"),
        (2, (32, 32, None), r"\(height, width, channels\)"),
    ],
)
def test_refuses_shapes_of_another_rank(rank, shape, expected):
    with pytest.raises(ValueError, match=f"`input_shape` must be {expected}"):
        keras_resnet.create("resnet20", rank=rank, input_shape=shape)


def test_refuses_tensors_of_another_rank():
    with pytest.raises(ValueError, match="`input_tensor` must have 3 axes"):
        keras_resnet.create("resnet20", rank=1, input_tensor=keras.Input((8, 8, 3)))
