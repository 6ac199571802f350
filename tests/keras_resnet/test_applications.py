"""Every network through the promises of keras.applications."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

import keras_resnet

SMALL = (keras_resnet.ResNet18, keras_resnet.ResNet20)


def _randomize(model):
    """Random weights everywhere, so that nothing hides behind zeros and ones."""
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape)
            if w.path.endswith(("gamma", "moving_variance"))
            else 0.1 * rng.standard_normal(w.shape)
            for w in model.weights
        ]
    )


def test_resnet50_is_the_peers_resnet50():
    peer = keras.applications.ResNet50(weights=None, input_shape=(64, 96, 3))
    ours = keras_resnet.ResNet50(weights=None, input_shape=(64, 96, 3))
    names = [{layer.name for layer in model.layers[1:]} for model in (peer, ours)]
    assert names[0] == names[1]
    _randomize(peer)
    for layer in ours.layers:
        if layer.weights:
            values = peer.get_layer(layer.name).get_weights()
            if isinstance(layer, keras.layers.Conv2D):
                kernel, bias = values
                peer.get_layer(layer.name).set_weights([kernel, 0 * bias])
                values = [kernel]
            layer.set_weights(values)
    images = np.random.default_rng(1).standard_normal((2, 64, 96, 3))
    expected = peer.predict(images, verbose=0)
    # The batch norms' epsilons differ by 1e-8.
    np.testing.assert_allclose(ours.predict(images, verbose=0), expected, rtol=1e-3)


@pytest.mark.parametrize("build", SMALL)
def test_signature_is_the_peers(build):
    ours = inspect.signature(build).parameters
    theirs = inspect.signature(keras.applications.ResNet50).parameters
    assert list(ours) == [*theirs, "include_preprocessing", "overrides"]


@pytest.mark.parametrize("build", SMALL)
def test_top_and_pooling(build):
    images = np.ones((2, 40, 56, 3), "float32")
    top = build(weights=None, input_shape=(40, 56, 3), classes=7)
    assert top.output_shape == (None, 7)
    assert top.layers[-1].name == "predictions"
    np.testing.assert_allclose(top(images).numpy().sum(axis=1), 1, rtol=1e-5)
    features = build(weights=None, include_top=False)
    assert features.input_shape == (None, None, None, 3)
    activations = features(images).numpy()
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = build(weights=None, include_top=False, pooling=pooling)
        pooled.set_weights(features.get_weights())
        np.testing.assert_allclose(
            pooled(images).numpy(), reduce(activations, axis=(1, 2)), rtol=1e-4
        )


def test_logits_are_before_softmax():
    logits = keras_resnet.ResNet20(classifier_activation=None)
    softmax = keras_resnet.ResNet20()
    softmax.set_weights(logits.get_weights())
    images = np.random.default_rng(0).standard_normal((3, 32, 32, 3))
    np.testing.assert_allclose(
        keras.ops.softmax(logits(images)), softmax(images), rtol=1e-4, atol=1e-6
    )


def test_input_tensor_and_name():
    image = keras.Input((32, 32, 3), name="photo")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    model = keras_resnet.ResNet20(input_tensor=scaled, name="mine")
    assert model.name == "mine"
    assert model.inputs[0] is image
    assert keras_resnet.ResNet20().name == "resnet20"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"weights": "no/such.h5"}, "no file, folder or preset 'no/such.h5'"),
        ({"pooling": "sum", "include_top": False}, "`pooling` must be"),
        ({"classes": -1}, "`classes` must be a positive integer"),
        ({"classes": 0}, "`classes` must be a positive integer"),
        ({"input_shape": (32, 32)}, "`input_shape` must be"),
        ({"input_shape": (0, 32, 3)}, "`input_shape` must be"),
    ],
)
def test_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        keras_resnet.ResNet18(**{"weights": None, **arguments})


def test_default_weights():
    def default(build):
        return inspect.signature(build).parameters["weights"].default

    assert (
        default(keras_resnet.ResNet18) == default(keras_resnet.ResNet152) == "imagenet"
    )
    assert default(keras_resnet.PlainNet34) is default(keras_resnet.ResNet20) is None
    with pytest.raises(ValueError, match="pass `weights=None`"):
        keras_resnet.PlainNet34(weights="imagenet")


def test_other_files_leave_no_half_loaded_model(tmp_path):
    other = tmp_path / "other.weights.h5"
    keras_resnet.ResNet32().save_weights(other)
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(other.read_bytes()[:5000])
    with pytest.raises(ValueError, match="do not fit 'resnet20'"):
        keras_resnet.ResNet20(weights=other)
    with pytest.raises(ValueError, match="damaged.weights.h5' cannot be read"):
        keras_resnet.ResNet20(weights=damaged)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_saves_and_loads(tmp_path, suffix):
    model = keras_resnet.ResNet20(classes=4)
    _randomize(model)
    path = tmp_path / f"model{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3))
    loaded = keras_resnet.ResNet20(weights=path, classes=4)
    np.testing.assert_array_equal(loaded(images), model(images))
    if suffix == ".keras":
        np.testing.assert_array_equal(
            keras.saving.load_model(path)(images), model(images)
        )


def test_config_and_clone_round_trip():
    model = keras_resnet.ResNet20()
    _randomize(model)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3))
    for copy in (
        keras.Model.from_config(model.get_config()),
        keras.models.clone_model(model),
    ):
        copy.set_weights(model.get_weights())
        np.testing.assert_array_equal(copy(images), model(images))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = keras_resnet.ResNet20()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv3_block1_1_conv").compute_dtype == policy[6:]
    assert all(w.dtype == "float32" for w in model.weights)
    assert model.output.dtype == "float32"
    assert np.isfinite(model(np.ones((1, 32, 32, 3)))).all()


def test_shortcut_options_differ_by_their_projections():
    parameters = {
        option: keras_resnet.build(
            dataclasses.replace(keras_resnet.NETWORKS["resnet20"], shortcut=option)
        ).count_params()
        for option in "ABC"
    }
    # A projection from m to n channels has m * n weights and 4 * n of batch norm.
    widening = (16 * 32 + 4 * 32) + (32 * 64 + 4 * 64)
    same = sum((3 if n == 16 else 2) * (n * n + 4 * n) for n in (16, 32, 64))
    assert parameters["B"] - parameters["A"] == widening
    assert parameters["C"] - parameters["B"] == same


def test_he_initialisation():
    kernel = keras_resnet.ResNet18(weights=None).get_layer("conv5_block2_2_conv").kernel
    values = np.asarray(kernel)
    # 1502.01852, equation 10: variance 2 / fan-in; the tails of a Gaussian are there.
    assert np.isclose(values.std(), np.sqrt(2 / (3 * 3 * 512)), rtol=0.01)
    assert np.isclose((np.abs(values) > 2 * values.std()).mean(), 0.0455, atol=0.001)


def test_published_checkpoint(shared_data):
    """A PyTorch ResNet-20 with option A gives PyTorch's logits here."""
    torch = pytest.importorskip("torch")
    folder = shared_data / "resnet20_cifar10"
    state = torch.load(
        folder / "resnet20-12fca82f.th", map_location="cpu", weights_only=True
    )["state_dict"]
    model = keras_resnet.ResNet20(classifier_activation=None)

    def tensors(theirs, *names):
        return [state[f"module.{theirs}.{name}"].numpy() for name in names]

    def norm(ours, theirs):
        names = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(ours).set_weights(tensors(theirs, *names))

    def convolution(ours, theirs):
        (kernel,) = tensors(theirs, "weight")
        model.get_layer(ours).set_weights([kernel.transpose(2, 3, 1, 0)])

    convolution("conv1_conv", "conv1")
    norm("conv1_bn", "bn1")
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            for n in (1, 2):
                ours = f"conv{stage + 1}_block{block}_{n}"
                theirs = f"layer{stage}.{block - 1}"
                convolution(f"{ours}_conv", f"{theirs}.conv{n}")
                norm(f"{ours}_bn", f"{theirs}.bn{n}")
    kernel, bias = tensors("linear", "weight", "bias")
    model.get_layer("predictions").set_weights([kernel.T, bias])

    expected = np.load(folder / "expected.npz")
    images = expected["images"].astype("float32") / 255
    images = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(model(images), expected["logits"], atol=1e-4)
