"""Every shortcut against its formula, computed in NumPy and float64."""

import keras
import numpy as np
import pytest
import reference

from keras_resnet import Settings, blocks, shortcuts

BLOCKS = {"basic": blocks.basic, "basic_v2": blocks.basic_v2}

# Shape changes: none, resolution, channels, both; odd sizes show the padding.
CHANGES = {"none": (6, 1), "size": (6, 2), "channels": (9, 1), "both": (9, 2)}
SHAPE = (7, 10, 6)


def images():
    return np.random.default_rng(1).standard_normal((2, *SHAPE)).astype("float32")


def block(kind, shortcut, filters, strides, **options):
    """A model of one block called "b", with random weights."""
    x = keras.Input(SHAPE)
    y = BLOCKS[kind](
        x, filters, strides=strides, shortcut=shortcut, name="b", **options
    )
    return reference.randomize(keras.Model(x, y))


class Reference:
    """The carries and joins of the block of `model`, on the images `x`."""

    def __init__(self, model, kind, filters, strides):
        self.model, self.filters, self.strides = model, filters, strides
        self.preactivation = kind == "basic_v2"
        self.x = images().astype("float64")
        self.start = self.x
        if self.preactivation:
            self.start = reference.preactivated(model, "b", self.x)

    def residual(self):
        return reference.residual(
            self.model, "b", self.start, self.strides, self.preactivation
        )

    def output(self, total):
        return total if self.preactivation else reference.relu(total)

    def keeps_shape(self):
        return self.strides == 1 and self.filters == SHAPE[-1]

    def subsampled(self):
        return self.x[:, :: self.strides, :: self.strides]

    def project(self, x, strides):
        if self.preactivation:
            (kernel,) = reference.weights(self.model, "b_0_conv")
            return reference.convolve(x, kernel, strides)
        return reference.convolved_and_normalized(self.model, "b_0", x, strides)

    def gate(self, kind):
        kernel, bias = reference.weights(self.model, f"b_{kind}_conv")
        gate = reference.convolve(self.start, kernel, self.strides) + bias
        return reference.sigmoid(gate)

    def A(self):
        missing = self.filters - SHAPE[-1]
        before, after = missing // 2, missing - missing // 2
        return np.pad(self.subsampled(), [(0, 0)] * 3 + [(before, after)])

    def B(self):
        return self.x if self.keeps_shape() else self.C()

    def C(self):
        return self.project(self.start, self.strides)

    def D(self):
        return self.x if self.keeps_shape() else self.vd()

    def vd(self):
        x = self.start if self.strides == 1 else reference.average_pool(self.start)
        return self.project(x, 1)

    def subsample(self):
        return self.subsampled() if self.filters == SHAPE[-1] else self.C()


def names_of_convolutions(model):
    return {layer.name for layer in model.layers if layer.name.endswith("conv")}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("carry", ["A", "B", "C", "D", "vd", "subsample"])
def test_carries(carry, kind, change):
    model = block(kind, carry, *CHANGES[change])
    expected = Reference(model, kind, *CHANGES[change])
    total = getattr(expected, carry)() + expected.residual()
    np.testing.assert_allclose(
        model(images()), expected.output(total), rtol=1e-4, atol=1e-4
    )
    projects = {
        "A": False,
        "B": change != "none",
        "C": True,
        "D": change != "none",
        "vd": True,
        "subsample": change in ("channels", "both"),
    }
    assert ("b_0_conv" in names_of_convolutions(model)) == projects[carry]


@pytest.mark.parametrize("kind", BLOCKS)
def test_plain(kind):
    model = block(kind, "none", *CHANGES["both"])
    expected = Reference(model, kind, *CHANGES["both"])
    np.testing.assert_allclose(
        model(images()), expected.output(expected.residual()), rtol=1e-4, atol=1e-4
    )
    assert not any("add" in layer.name for layer in model.layers)


def joined(join, expected, carried):
    """The sum of the shortcut called `join`, 1505.00387 and 1603.05027 (3.1, 3.2)."""
    transformed = expected.residual()
    if join == "gated":
        gate = expected.gate("gate")
        return (1 - gate) * carried + gate * transformed
    if join == "gated_uncoupled":
        gate, pass_on = expected.gate("gate"), expected.gate("carry")
        return pass_on * carried + gate * transformed
    if join == "gated_shortcut_only":
        return (1 - expected.gate("gate")) * carried + transformed
    if join == "constant_scaling":
        return 0.5 * carried + 0.5 * transformed
    return carried + transformed


JOINS = [
    "gated",
    "gated_uncoupled",
    "gated_shortcut_only",
    "constant_scaling",
    "dropout",
    "stop_shortcut_gradient",
    "stop_residual_gradient",
]


@pytest.mark.parametrize("change", ["none", "both"])
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("carry", ["A", "B"])
@pytest.mark.parametrize("join", JOINS)
def test_joins(join, carry, kind, change):
    name = join if carry == "B" else f"{join}-A"
    model = block(kind, name, *CHANGES[change])
    expected = Reference(model, kind, *CHANGES[change])
    total = joined(join, expected, getattr(expected, carry)())
    np.testing.assert_allclose(
        model(images()), expected.output(total), rtol=1e-4, atol=1e-4
    )


def test_every_shortcut_is_tested():
    carries = {"A", "B", "C", "D", "vd", "subsample", "none"}
    joins = {name + suffix for name in JOINS for suffix in ("", "-A")}
    assert set(shortcuts.SHORTCUTS) == carries | joins


@pytest.mark.parametrize("shortcut", ["A", "B", "D", "gated", "constant_scaling"])
def test_bottlenecks_have_the_same_shortcuts(shortcut):
    """With a last batch norm that starts at zero, only the shortcut is left."""
    x = keras.Input(SHAPE)
    y = blocks.bottleneck(x, 4, strides=2, shortcut=shortcut, name="b", zero_gamma=True)
    model = reference.randomize(keras.Model(x, y))
    gamma, beta, *statistics = model.get_layer("b_3_bn").get_weights()
    model.get_layer("b_3_bn").set_weights([0 * gamma, 0 * beta, *statistics])
    expected = Reference(model, "basic", 16, 2)
    total = getattr(expected, shortcut if shortcut in "ABD" else "B")()
    if shortcut == "gated":
        total *= 1 - expected.gate("gate")
    if shortcut == "constant_scaling":
        total *= 0.5
    np.testing.assert_allclose(
        model(images()), reference.relu(total), rtol=1e-4, atol=1e-4
    )


def test_gates_start_by_passing_the_input():
    x = keras.Input(SHAPE)
    model = keras.Model(x, blocks.basic(x, 6, shortcut="gated_uncoupled", name="b"))
    assert (model.get_layer("b_gate_conv").get_weights()[1] == -2).all()
    assert (model.get_layer("b_carry_conv").get_weights()[1] == 2).all()


def test_dropout_halves_the_shortcut_in_training_only():
    frozen = Settings(norm_trainable=False)
    model = block("basic_v2", "dropout", 6, 1, settings=frozen)
    expected = Reference(model, "basic_v2", 6, 1)
    outputs = keras.ops.convert_to_numpy(model(images(), training=True))
    kept = (outputs - expected.residual()) / images()
    dropped = np.isclose(kept, 0, atol=1e-2)
    assert np.isclose(kept[~dropped], 2, atol=1e-2).all()
    assert 0.4 < dropped.mean() < 0.6
    # Elements are dropped one by one, not channels or images.
    assert 0 < dropped[0, :, :, 0].mean() < 1


def gradients(tensor, model):
    """Gradients of a weighted sum of `tensor` by the images, and by the weights."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("takes TensorFlow's gradients")
    part = keras.Model(model.input, tensor)
    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = part(x)
        cotangent = np.random.default_rng(2).standard_normal(y.shape)
        total = tf.reduce_sum(y * cotangent.astype("float32"))
    variables = [weight.value for weight in model.trainable_weights]
    by_x, by_weights = tape.gradient(total, [x, variables])
    return (np.zeros(x.shape) if by_x is None else by_x), by_weights


@pytest.mark.parametrize("suffix", ["", "-A"])
@pytest.mark.parametrize("change", ["none", "both"])
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("branch", ["shortcut", "residual"])
def test_stopped_gradient_is_the_other_branchs_alone(branch, kind, change, suffix):
    stopped = block(kind, f"stop_{branch}_gradient{suffix}", *CHANGES[change])
    whole = block(kind, "A" if suffix else "B", *CHANGES[change])
    whole.set_weights(stopped.get_weights())
    np.testing.assert_allclose(stopped(images()), whole(images()), rtol=1e-5)

    # Before the activation that follows a post-activation block's sum.
    total = "b_add" if kind == "basic" else "b_out"
    shortcut, residual = whole.get_layer(total).input
    kept = residual if branch == "shortcut" else shortcut
    expected, _ = gradients(kept, whole)
    found, by_weights = gradients(stopped.get_layer(total).output, stopped)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() > 0

    # Weights of both branches learn as ever.
    _, by_weights_of_whole = gradients(whole.get_layer(total).output, whole)
    for weight, ours, wholes in zip(
        stopped.trainable_weights, by_weights, by_weights_of_whole, strict=True
    ):
        if "preact" not in weight.path:
            assert np.abs(ours).max() > 0, weight.path
            np.testing.assert_allclose(ours, wholes, rtol=1e-3, atol=1e-4)
