"""Surgery against independent truths: doubles, zeroed branches, built counterparts."""

import keras
import numpy as np
import pytest
from other_backend import answer_of

import keras_resnet
from keras_resnet import surgery

# One of every kind of block, shortcut and stem, as small as they come.
TINY = {"classes": 3, "classifier_activation": None, "input_shape": (17, 19, 3)}
FOUR = {"filters": (8, 8, 16, 16), "blocks_per_stage": (2, 2, 1, 1), **TINY}
THREE = {"filters": (4, 8, 8), "blocks_per_stage": (2, 2, 1), **TINY}
NETWORKS = {
    "resnet20": THREE,
    "resnet50": FOUR,
    "resnext50d_32x4d": {**FOUR, "cardinality": 4, "base_width": 32},
    "seresnetaa50d": FOUR,
    "resnetblur18": FOUR,
    "plainnet18": FOUR,
    "preresnet18": FOUR,
    "resnet50v2": FOUR,
    "wrn_16_8": {**THREE, "stem_filters": 4},
    "resnet110_stochastic_depth": THREE,
}
VARIANTS = [
    *((name, {}) for name in NETWORKS),
    ("resnet20", {"shortcut": "gated"}),
    ("resnet20", {"shortcut": "C"}),
    ("resnet20", {"rank": 1, "input_shape": (16, 3)}),
    ("resnet20", {"rank": 3, "input_shape": (4, 9, 9, 3)}),
    ("preresnet18", {"shortcut": "D"}),
]


@pytest.fixture(autouse=True)
def double_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


def create(name, **overrides):
    """Builds a small network whose weights, batch norms' too, are all random."""
    keras.utils.set_random_seed(0)
    model = keras_resnet.create(name, **{**NETWORKS[name], **overrides})
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, channels),
                    rng.normal(size=channels),
                    rng.normal(size=channels),
                    rng.uniform(0.5, 2.0, channels),
                ]
            )
    return model


def images(model, count=4):
    return np.random.default_rng(1).standard_normal((count, *model.input_shape[1:]))


def outputs(model, training=False):
    keras.utils.set_random_seed(0)
    return keras.ops.convert_to_numpy(model(images(model), training=training))


def norms(model):
    kind = keras.layers.BatchNormalization
    return [layer for layer in model.layers if isinstance(layer, kind)]


def names(model):
    return {layer.name for layer in model.layers[1:]}


def assert_close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize(("name", "overrides"), VARIANTS)
def test_folded_network_computes_the_same(name, overrides):
    model = create(name, **overrides)
    before = model.get_weights()

    folded = surgery.fold_batch_norm(model)

    assert_close(outputs(folded), outputs(model))
    assert not norms(folded)
    assert folded.count_params() < model.count_params()
    assert all(map(np.array_equal, before, model.get_weights()))
    kept = names(model) - {layer.name for layer in norms(model)}
    assert kept <= names(folded) <= names(model)
    assert outputs(folded, training=True).shape == outputs(model).shape


def test_only_norms_that_follow_no_convolution_remain_as_scales():
    folded = surgery.fold_batch_norm(create("preresnet18"))

    remaining = {
        layer.name
        for layer in folded.layers
        if isinstance(layer, surgery.ScaleAndShift)
    }
    assert "post_bn" in remaining
    assert all(name.endswith(("preact_bn", "post_bn")) for name in remaining)


def test_a_convolution_that_is_also_read_elsewhere_is_not_changed():
    model = create("resnet20")
    tapped = keras.Model(
        model.input, [model.get_layer("conv1_conv").output, model.output]
    )

    folded = surgery.fold_batch_norm(tapped)

    for actual, expected in zip(
        folded(images(model)), tapped(images(model)), strict=True
    ):
        assert_close(actual, expected)


def test_a_convolutions_own_bias_is_folded_too():
    x = start = keras.Input((5, 5, 3))
    x = keras.layers.Conv2D(4, 3, bias_initializer="ones", name="conv2_block1_1_conv")(
        x
    )
    x = keras.layers.BatchNormalization(
        gamma_initializer=keras.initializers.Constant(3.0), name="conv2_block1_1_bn"
    )(x)
    model = keras.Model(start, keras.layers.ReLU(name="conv2_block1_out")(x))
    assert_close(outputs(surgery.fold_batch_norm(model)), outputs(model))


@pytest.mark.parametrize("name", ["resnet50", "preresnet18"])
def test_precise_statistics_are_those_of_the_whole_data(name):
    model = create(name)
    data = images(model, count=7)
    before = model.get_weights()

    precise = surgery.precise_batch_norm(model, data, batch_size=3)

    for norm in norms(precise):
        x = keras.Model(precise.input, norm.input)(data).numpy()
        assert_close(norm.moving_mean, x.mean((0, 1, 2)))
        assert_close(norm.moving_variance, x.var((0, 1, 2)))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert_close(precise.get_layer("conv1_conv").get_weights()[0], before[0])


class Batches(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.data[3 * index : 3 * index + 3], np.zeros(3)


def test_any_batches_give_the_same_statistics():
    import tensorflow as tf

    model = create("resnet20", blocks_per_stage=(1, 1, 1))
    data = images(model, count=7)
    tensors = tf.data.Dataset.from_tensor_slices(data)

    expected = surgery.precise_batch_norm(model, data).get_weights()

    for batches in (
        [data[:1], data[1:6], data[6:]],
        [(data[:5], np.zeros(5)), (data[5:], np.zeros(2))],
        tensors.batch(2),
        Batches(data),
    ):
        precise = surgery.precise_batch_norm(model, batches)
        for actual, weight in zip(precise.get_weights(), expected, strict=True):
            np.testing.assert_allclose(actual, weight, rtol=1e-9, atol=1e-12)


class Counted(list):
    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


def test_norms_that_do_not_depend_on_one_another_share_a_pass():
    model = create("resnet50", blocks_per_stage=(1, 1, 1, 1))
    data = Counted([images(model)])

    surgery.precise_batch_norm(model, data)

    # The stem and three for each block; those of the projections come for free.
    assert data.passes == 1 + 4 * 3
    assert len(norms(model)) == 1 + 4 * 4


class Shrinking(Counted):
    def __iter__(self):
        super().__iter__()
        return iter([self[0][: 4 - (self.passes > 1)]])


@pytest.mark.parametrize(
    ("data", "batch_size", "sentence"),
    [
        (lambda x: iter([x]), None, "can be iterated only once"),
        (lambda x: [x], 2, "leave it out"),
        (lambda x: [], None, "holds no images"),
        (lambda x: x[:0], None, "holds no images"),
        (lambda x: Shrinking([x]), None, "4 images in one pass and 3 in the next"),
    ],
)
def test_data_that_cannot_be_averaged_are_refused(data, batch_size, sentence):
    model = create("resnet20", blocks_per_stage=(1, 1, 1))
    with pytest.raises(ValueError, match=sentence):
        surgery.precise_batch_norm(model, data(images(model)), batch_size)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"plainnet18"}))
def test_deeper_network_computes_the_same(name):
    model = create(name)
    before = model.get_weights()
    counts = (3, 2, 3) if NETWORKS[name]["filters"] == (4, 8, 8) else (3, 2, 2, 3)

    deeper = surgery.deepen(model, counts)

    assert_close(outputs(deeper), outputs(model))
    assert all(map(np.array_equal, before, model.get_weights()))
    if "drop" not in str(names(model)):
        assert_close(outputs(deeper, training=True), outputs(model, training=True))
    # The same weights as if it had been built that deep.
    built = create(name, blocks_per_stage=counts)
    shapes = {
        layer.name: [weight.shape for weight in layer.weights]
        for layer in built.layers
        if layer.weights
    }
    assert shapes == {
        layer.name: [weight.shape for weight in layer.weights]
        for layer in deeper.layers
        if layer.weights
    }


def test_one_call_makes_resnet101_of_resnet50():
    small = {"filters": (2, 2, 2, 2), **TINY}
    deeper = surgery.deepen(keras_resnet.create("resnet50", **small), (3, 4, 23, 3))
    assert names(deeper) == names(keras_resnet.create("resnet101", **small))


@pytest.mark.parametrize(
    ("name", "first", "later"),
    [
        ("resnet20", "conv2_block3_2_bn", "conv2_block3_1_conv"),
        ("preresnet18", "conv2_block3_2_conv", "conv2_block3_1_conv"),
    ],
)
def test_added_blocks_learn(name, first, later):
    model = create(name)
    deeper = surgery.deepen(model, (3, *NETWORKS[name]["blocks_per_stage"][1:]))
    deeper.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    x, y = images(deeper), np.ones((4, 3))
    moved = []
    for _ in range(2):
        before = {n: deeper.get_layer(n).get_weights()[0] for n in (first, later)}
        deeper.train_on_batch(x, y)
        moved.append(
            [
                n
                for n in (first, later)
                if not np.array_equal(before[n], deeper.get_layer(n).get_weights()[0])
            ]
        )
    # Through a zero no gradient comes: the first step lifts it, the second goes on.
    assert moved == [[first], [first, later]]


def test_added_blocks_draw_kernels_of_their_own():
    seeded = keras_resnet.Settings(kernel_initializer=keras.initializers.HeNormal(1))
    model = keras_resnet.create("resnet20", blocks_per_stage=(1, 1, 1), settings=seeded)
    deeper = surgery.deepen(model, (3, 1, 1))
    kernels = [
        deeper.get_layer(f"conv2_block{n}_1_conv").get_weights()[0] for n in (1, 2, 3)
    ]
    assert len({kernel.ravel()[0] for kernel in kernels}) == 3


def test_networks_without_identity_are_not_deepened():
    with pytest.raises(ValueError, match="conv2_block2.*without a shortcut"):
        surgery.deepen(create("plainnet18"), (3, 2, 1, 1))
    with pytest.raises(ValueError, match="scale or drop"):
        surgery.deepen(create("resnet20", shortcut="gated"), (3, 2, 1))
    swish = keras_resnet.Settings(activation="silu")
    with pytest.raises(ValueError, match="only ReLU"):
        surgery.deepen(create("resnet20", settings=swish), (3, 2, 1))


@pytest.mark.parametrize("counts", [(1, 2, 1), (3, 3), (2.5, 2, 1)])
def test_deepening_takes_no_blocks_away(counts):
    with pytest.raises(ValueError, match=r"conv2, conv3, conv4 .* \(2, 2, 1\)"):
        surgery.deepen(create("resnet20"), counts)


def silence(model, block):
    """Makes a block's residual branch zero by its weights."""
    parts = sorted(n for n in names(model) if n.startswith(block) and n[-5:] == "_conv")
    last = [n for n in parts if n[len(block) + 1].isdigit()][-1]
    if f"{block}_preact_bn" not in names(model):
        last = last.removesuffix("_conv") + "_bn"
    layer = model.get_layer(last)
    weights = layer.get_weights()
    zeros = 2 if last.endswith("_bn") else len(weights)
    layer.set_weights([*(0 * weight for weight in weights[:zeros]), *weights[zeros:]])


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"plainnet18"}))
@pytest.mark.parametrize(
    "which", [["conv2_block2", "conv3_block1"], ["conv2_block1", "conv3_block2"]]
)
def test_a_dropped_block_is_one_without_residual_branch(name, which):
    model = create(name)
    before = model.get_weights()

    lesioned = surgery.drop_blocks(model, which)

    assert all(map(np.array_equal, before, model.get_weights()))
    assert names(lesioned) < names(model)
    for block in which:
        assert not any(n.startswith(f"{block}_1_") for n in names(lesioned))
        silence(model, block)
    assert_close(outputs(lesioned), outputs(model))


def test_a_dropped_identity_block_leaves_nothing():
    model = create("resnet20")
    lesioned = surgery.drop_blocks(model, ["conv3_block2"])
    assert names(lesioned) == {
        name for name in names(model) if not name.startswith("conv3_block2")
    }


def test_plain_networks_lose_only_blocks_that_keep_the_shape():
    model = create("plainnet18", input_shape=(None, None, 3), filters=(8, 8, 8, 8))

    lesioned = surgery.drop_blocks(model, ["conv2_block2"])

    assert "conv2_block2_out" not in names(lesioned)
    with pytest.raises(ValueError, match="'conv3_block1' cannot be dropped"):
        surgery.drop_blocks(model, ["conv3_block1"])


@pytest.mark.parametrize("which", ["conv2_block2", ["conv2_block9"], ["conv1"]])
def test_unknown_blocks_are_refused(which):
    with pytest.raises(ValueError, match="'conv2_block1' to 'conv4_block1'"):
        surgery.drop_blocks(create("resnet20"), which)


@pytest.mark.parametrize(
    "operate",
    [
        surgery.fold_batch_norm,
        lambda model: surgery.precise_batch_norm(model, np.zeros((2, 4))),
        lambda model: surgery.deepen(model, (1,)),
        lambda model: surgery.drop_blocks(model, ["conv2_block1"]),
    ],
)
def test_foreign_models_are_refused(operate):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match="no layers named like"):
        operate(model)


def test_features_stay_a_dictionary_with_strides():
    model = create("resnet20", feature_levels=("conv2", "conv4"))

    lesioned = surgery.drop_blocks(model, ["conv2_block2"])

    assert lesioned.feature_strides == model.feature_strides
    features = lesioned(images(model))
    assert list(features) == ["conv2", "conv4"]
    silence(model, "conv2_block2")
    for level, expected in model(images(model)).items():
        assert_close(features[level], expected)


SCRIPT = """
import json, sys
import numpy as np
import keras, keras_resnet
from keras_resnet import surgery

folder = sys.argv[1]
tiny = dict(classes=3, blocks_per_stage=(2, 1), filters=(4, 8), stem="cifar")
post = dict(tiny, input_shape=(9, 7, 3))
pre = dict(tiny, stem="cifar_v2", input_shape=(3, 9, 7))
gaps = {}
for name, overrides, data_format in (
    ("seresnet18", post, "channels_last"), ("preresnet18", pre, "channels_first")
):
    keras.config.set_image_data_format(data_format)
    keras.utils.set_random_seed(0)
    model = keras_resnet.create(name, **overrides)
    x = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:]))
    noise = np.random.default_rng(1)
    before = [w + 0.1 * noise.uniform(size=w.shape) for w in model.get_weights()]
    model.set_weights(before)
    before = model.get_weights()

    def outputs(model):
        return np.asarray(keras.ops.convert_to_numpy(model(x)), "float64")

    precise = surgery.precise_batch_norm(model, x, batch_size=2)
    by_one = surgery.precise_batch_norm(model, list(x[:, None]))
    silenced = keras.models.clone_model(model)
    silenced.set_weights(before)
    last = silenced.get_layer(
        "conv2_block2_2_bn" if name == "seresnet18" else "conv2_block2_2_conv"
    )
    zeros = [0 * w for w in last.get_weights()[:2]]
    last.set_weights([*zeros, *last.get_weights()[len(zeros):]])
    for result, truth in (
        (surgery.fold_batch_norm(model), model),
        (precise, by_one),
        (surgery.deepen(model, (3, 2)), model),
        (surgery.drop_blocks(model, ["conv2_block2"]), silenced),
    ):
        gap = np.abs(outputs(result) - outputs(truth)).max()
        path = f"{folder}/{keras.backend.backend()}.keras"
        result.save(path)
        loaded = keras.saving.load_model(path)
        reload_gap = np.abs(outputs(result) - outputs(loaded)).max()
        clone = keras.models.clone_model(result)
        clone.set_weights(result.get_weights())
        clone_gap = np.abs(outputs(result) - outputs(clone)).max()
        gaps.setdefault(name, []).append([gap, reload_gap, clone_gap])
    # Compiling takes XLA long; without it JAX compiles each operation.
    jit = keras.backend.backend() == "jax"
    loaded.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit)
    loss = loaded.train_on_batch(x, np.arange(3))
    unchanged = all(map(np.array_equal, before, model.get_weights()))
    gaps[name].append([float(not unchanged), float(not np.isfinite(loss))])
print(json.dumps(gaps))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_backend(backend, tmp_path):
    for name, gaps in answer_of(SCRIPT, backend, tmp_path).items():
        for gap in gaps:
            np.testing.assert_allclose(gap, 0, atol=1e-6, err_msg=f"{name}: {gaps}")


@pytest.mark.parametrize("shared", ["conv", "bn"])
def test_refuses_shared_layers(shared):
    inputs = keras.Input((8, 8, 4))
    convolution = keras.layers.Conv2D(4, 3, padding="same", name="conv2_block1_1_conv")
    norm = keras.layers.BatchNormalization(name="conv2_block1_1_bn")
    x = norm(convolution(inputs))
    x = convolution(x) if shared == "conv" else norm(x)
    model = keras.Model(inputs, x, name="twice")
    for change in (
        surgery.fold_batch_norm,
        lambda model: surgery.precise_batch_norm(model, np.zeros((2, 8, 8, 4))),
    ):
        with pytest.raises(ValueError, match=rf"_1_{shared}' of 'twice' is called 2 t"):
            change(model)
