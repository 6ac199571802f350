"""A rematerialised model against the plain one, on every backend."""

import json

import keras
import numpy as np
import pytest
from other_backend import answer_of

import keras_resnet
from keras_resnet.remat import rematerialize

SMALL = {
    "classes": 3,
    "filters": (4, 8),
    "blocks_per_stage": (2, 4),
    "input_shape": (8, 8, 3),
}

NETWORKS = (
    (
        "wrn_16_8",
        {"stem": "cifar_v2", "stem_filters": 4, "stochastic_depth": 0.5},
        "float32",
    ),
    ("resnet20", {}, "float32"),
    ("preresnet18", {"stem": "cifar_v2", "rank": 1}, "mixed_bfloat16"),
)

# Prints how far a step of the rematerialised model is from one of the plain model, and
# how often the first residual convolution ran.
SCRIPT = """
import json, sys
import numpy as np
import keras, keras_resnet
from keras_resnet.remat import rematerialize

small, networks, eagerly = map(json.loads, sys.argv[1:])
x = np.random.default_rng(0).standard_normal((6, 8, 8, 3))
answer = {"gaps": {}, "calls": {}}
for name, overrides, policy in networks:
    keras.config.set_dtype_policy(policy)
    images = x if "rank" not in overrides else x[:, 0]
    overrides = {**small, **overrides, "input_shape": images.shape[1:]}
    keras.utils.set_random_seed(0)
    plain = keras_resnet.create(name, **overrides)
    twin = keras_resnet.create(name, **overrides)
    twin.set_weights(plain.get_weights())
    for model in (plain, twin):
        for variable in model.non_trainable_variables:
            if "seed" in variable.path:
                variable.assign(np.array([0, 7], variable.dtype))
    start = plain.get_weights()
    losses, states, calls = [], [], []
    for model in (plain, rematerialize(twin, ["conv3", "conv2"])):
        first = model.get_layer("conv2_block1_1_conv")
        count = [0]

        def call(inputs, count=count, original=first.call):
            count[0] += 1
            return original(inputs)

        first.call = call
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
            run_eagerly=eagerly,
            jit_compile=keras.backend.backend() == "jax" and not eagerly,
        )
        # PyTorch draws dropout from its global state.
        keras.utils.set_random_seed(1)
        losses.append(float(model.train_on_batch(images, np.arange(6) % 3)))
        calls.append(count[0])
        variables = [v for v in model.variables if "seed" in v.path]
        states.append(model.get_weights() + [np.array(v) for v in [
            keras.ops.convert_to_numpy(variable) for variable in variables
        ]])
    gap = max(np.abs(1.0 * a - b).max() for a, b in zip(*states, strict=True))
    moved = np.mean([np.any(a != b) for a, b in zip(start, states[0])])
    loss_gap = abs(losses[0] - losses[1])
    answer["gaps"][f"{name} {policy}"] = [loss_gap, float(gap), float(moved)]
    answer["calls"][f"{name} {policy}"] = calls
print(json.dumps(answer))
"""


@pytest.mark.parametrize(
    ("backend", "eagerly", "networks"),
    [
        # Tracing takes long, and compiling by XLA longer.
        ("tensorflow", False, NETWORKS[::2]),
        ("tensorflow", True, NETWORKS),
        ("jax", False, NETWORKS[:1]),
        ("torch", True, NETWORKS),
    ],
)
def test_a_training_step_is_that_of_the_plain_model(backend, eagerly, networks):
    arguments = map(json.dumps, (SMALL, networks, eagerly))
    answer = answer_of(SCRIPT, backend, *arguments)
    for name, (loss, state, moved) in answer["gaps"].items():
        assert loss < 1e-5, answer
        assert state < (1e-5 if "float32" in name else 1e-2), answer
        assert moved > 0.9, answer
    if backend != "jax":
        # JAX traces a function once and repeats its operations.
        assert all(b > a for a, b in answer["calls"].values()), answer


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras_resnet.create("resnet20", **SMALL)


def names(model):
    return [layer.name for layer in model.layers]


def test_layers_weights_and_inference_are_the_plain_models(model):
    before = model.get_config()

    rematerialized = rematerialize(model, ("conv3",))

    assert names(rematerialized) == names(model)
    for ours, theirs in zip(rematerialized.weights, model.weights, strict=True):
        assert ours is theirs
    assert rematerialized.stages == ("conv3",)
    assert rematerialized.name == model.name
    assert model.get_config() == before
    x = np.ones((2, 8, 8, 3))
    np.testing.assert_array_equal(rematerialized(x), model(x))


def test_it_trains_saves_loads_and_clones(model, tmp_path):
    rematerialized = rematerialize(keras.models.clone_model(model), ("conv3",))
    rematerialized.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3))
    y = np.arange(4) % 3
    history = rematerialized.fit(x, y, batch_size=2, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()

    rematerialized.save(tmp_path / "model.keras")
    rematerialized.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    plain = keras.models.clone_model(model)
    plain.load_weights(tmp_path / "model.weights.h5")

    assert loaded.stages == ("conv3",)
    expected = rematerialized.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), expected)
    loaded.fit(x, y, verbose=0)
    clone = keras.models.clone_model(rematerialized)
    assert clone.stages == ("conv2", "conv3")
    assert names(clone)[1:] == names(model)[1:]


def test_surgery_keeps_the_stages(model):
    rematerialized = rematerialize(model, ("conv3",))
    lesioned = keras_resnet.surgery.drop_blocks(rematerialized, ["conv2_block2"])
    assert lesioned.stages == ("conv3",)


def test_features_come_out_in_training(model):
    levels = {
        level: model.get_layer(name).output
        for level, name in (
            ("conv1", "conv1_relu"),
            ("conv2", "conv2_block2_out"),
            ("conv3", "conv3_block4_out"),
        )
    }
    plain = keras.Model(model.input, levels)
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3))
    expected = plain(x, training=True)
    actual = rematerialize(plain)(x, training=True)
    assert list(actual) == list(expected)
    for level in levels:
        np.testing.assert_allclose(actual[level], expected[level], rtol=1e-5)


@pytest.mark.parametrize("stages", [("conv7",), (), "conv2"])
def test_unknown_stages_are_refused(model, stages):
    with pytest.raises(ValueError, match="some of 'conv2', 'conv3'"):
        rematerialize(model, stages)


def test_foreign_models_are_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="no layers named like"):
        rematerialize(model)


# Bytes of the activations between the forward and the backward pass, by tracing alone.
MEMORY = """
import json, math
import jax, keras, numpy as np
import keras_resnet
from keras_resnet.remat import rematerialize

answer = []
for blocks in (4, 16, 36):
    model = keras_resnet.create("resnet20", blocks_per_stage=(blocks,), filters=(4,))
    for model in (model, rematerialize(model)):
        learned = [v.value for v in model.trainable_variables]
        state = [v.value for v in model.non_trainable_variables]

        def residuals(learned, images, model=model, state=state):
            def forward(learned, images):
                return model.stateless_call(learned, state, images, training=True)[0]
            return jax.vjp(forward, learned, images)[1]

        kept = jax.eval_shape(residuals, learned, np.zeros((16, 32, 32, 3), "float32"))
        sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(kept)]
        answer.append(sum(size for size in sizes if size >= 16 * 32 * 32 * 4))
print(json.dumps(answer))
"""


def test_kept_activations_grow_with_the_square_root_of_depth():
    sizes = np.array(answer_of(MEMORY, "jax"))
    plain, rematerialized = sizes[::2], sizes[1::2]
    # From 4 blocks to 16 as from 16 to 36: a constant for each 2 of the square root.
    assert np.ptp(np.diff(rematerialized)) == 0, sizes
    assert np.diff(plain)[0] * 20 == np.diff(plain)[1] * 12, sizes
    assert rematerialized[-1] < plain[-1] / 10, sizes
