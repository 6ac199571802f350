"""Analyses of networks whose answers are known."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_resnet
from keras_resnet import analysis
from keras_resnet.analysis.lesions import kendall_tau
from keras_resnet.analysis.loss_surface import filter_normalized_direction


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def images(rng):
    return rng.standard_normal((4, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def resnet():
    keras.utils.set_random_seed(0)
    return small()


def small(**overrides):
    return keras_resnet.create(
        "resnet20",
        **{
            "blocks_per_stage": (3, 1, 2),
            "filters": (4, 8, 8),
            "input_shape": (16, 16, 3),
            "classifier_activation": None,
            **overrides,
        },
    )


def first_class(logits):
    return ops.mean(logits[:, 0])


def linear(kernel):
    """Returns the network that multiplies by a matrix."""
    inputs = keras.Input((len(kernel),))
    dense = layers.Dense(kernel.shape[1], use_bias=False, name="dense")
    model = keras.Model(inputs, dense(inputs))
    dense.set_weights([kernel])
    return model


def scaling_blocks(factors):
    """Returns blocks `x + factor * x`, named as ours."""
    x = inputs = keras.Input((2, 2, 1))
    for index, factor in enumerate(factors, 1):
        name = f"conv2_block{index}"
        branch = layers.Rescaling(factor, name=f"{name}_1_scale")(x)
        x = layers.Add(name=f"{name}_out")([x, branch])
    return keras.Model(inputs, x)


def test_gradients_of_a_product():
    x, y = np.array([1.0, 2.0]), np.array([[3.0], [5.0]])
    by_x, by_y = analysis.gradients(lambda x, y: ops.sum(ops.matmul(x, y)), [x, y])
    np.testing.assert_array_equal(by_x, [3, 5])
    np.testing.assert_array_equal(by_y, [[1], [2]])


def test_jacobian_of_a_linear_network(rng):
    kernel = rng.standard_normal((5, 7)).astype("float32")
    point = rng.standard_normal(5)
    found = analysis.jacobian(linear(kernel), point, rows_at_once=3)
    np.testing.assert_allclose(found, kernel.T, atol=1e-6)
    np.testing.assert_allclose(
        analysis.singular_values(linear(kernel), point),
        np.linalg.svd(kernel, compute_uv=False),
        rtol=1e-5,
    )


def test_an_identity_block_keeps_all_changes(images):
    model = small(zero_gamma=True)
    values = analysis.singular_values(model, np.abs(images[0]), "conv4_block2")
    # The block's input is not negative; where it is zero, ReLU lets nothing through.
    start = keras.Model(model.input, model.get_layer("conv4_block1_out").output)
    passing = (start(np.abs(images[:1])).numpy() > 0).sum()
    assert set(np.round(values, 3)) <= {0, 1}
    assert values.sum() == pytest.approx(passing)
    with pytest.raises(ValueError, match="a Jacobian of more than 8,192 is too large"):
        big = keras_resnet.ResNet20()
        analysis.singular_values(big, np.zeros((32, 32, 3)), "conv2_block2")


def test_responses_are_after_batch_norm_and_before_addition(resnet, images):
    found = analysis.responses(resnet, images, batch_size=3)
    assert len(found.layers) == 1 + 2 * 6
    seen = keras.Model(resnet.input, resnet.get_layer("conv3_block1_2_bn").output)
    index = found.layers.index("conv3_block1_2_conv")
    np.testing.assert_allclose(found.stds[index], np.std(seen(images)), rtol=1e-4)
    # In training a batch norm's output has its scale as deviation, which starts at 1.
    plain = small(shortcut="none")
    plain.get_layer("conv1_bn").set_weights(
        [np.full(4, 3.0), np.zeros(4), *plain.get_layer("conv1_bn").get_weights()[2:]]
    )
    fitted = keras_resnet.surgery.precise_batch_norm(plain, images, batch_size=4)
    stds = analysis.responses(fitted, images).stds
    np.testing.assert_allclose(stds, [3] + [1] * 12, rtol=1e-3)


def test_projections_and_unnormalised_convolutions_in_responses(images):
    model = small(block="basic_v2", stem="cifar_v2", shortcut="B")
    found = analysis.responses(model, images)
    assert not any("_0_" in layer for layer in found.layers)
    seen = keras.Model(model.input, model.get_layer("conv4_block2_2_conv").output)
    np.testing.assert_allclose(found.stds[-1], np.std(seen(images)), rtol=1e-4)


def test_norms_of_a_linear_network():
    """Each layer doubles, so that gradients halve from layer to layer."""
    x = inputs = keras.Input((3,))
    for _ in range(3):
        x = layers.Dense(3, use_bias=False)(x)
    model = keras.Model(inputs, x)
    model.set_weights([2 * np.eye(3)] * 3)
    found = analysis.layer_norms(model, np.ones((2, 3)), loss=ops.sum)
    np.testing.assert_allclose(found.activations, [2, 4, 8])
    np.testing.assert_allclose(found.gradients, np.sqrt(6) * np.array([4, 2, 1]))


def test_gradients_along_paths():
    """A path through blocks that multiply by 0.1 hands on a tenth for each."""
    model = scaling_blocks([0.1] * 6)
    found = analysis.path_gradients(model, np.ones((1, 2, 2, 1)), ops.sum, samples=2)
    whole = np.linalg.norm(np.ones(4))
    expected = np.tile(whole * 0.1 ** np.arange(7)[:, None], (1, 2))
    np.testing.assert_allclose(found.norms, expected, rtol=1e-4)
    # All paths together are the gradient: a binomial distribution of chance 1/11.
    assert found.paths @ found.norms[:, 0] == pytest.approx(whole * 1.1**6)
    assert found.effective_length == pytest.approx(6 / 11)
    with pytest.raises(ValueError, match="'conv2_block1' of .* has no shortcut"):
        analysis.path_gradients(
            small(shortcut="none"), np.ones((1, 16, 16, 3)), ops.sum
        )
    with pytest.raises(ValueError, match="must be from 0 to 6"):
        analysis.path_gradients(model, np.ones((1, 2, 2, 1)), ops.sum, lengths=[7])


def test_lesions(resnet, images):
    answers = resnet(images).numpy()

    def error(network):
        return float(np.abs(network(images).numpy() - answers).mean())

    found = analysis.drop_each(resnet, error, ["conv2_block2", "conv4_block2"])
    one = keras_resnet.surgery.drop_blocks(resnet, ["conv4_block2"])
    assert found.intact == 0
    assert found.errors[1] == error(one) > 0
    # An identity can be dropped, and swapped with one.
    identity = small(zero_gamma=True)
    answers = identity(images).numpy()
    assert not analysis.drop_random(identity, error, [1, 3]).errors.any()
    swapped = analysis.permute_random(identity, error, [0, 1, 2])
    assert not swapped.errors.any()
    assert swapped.changes[0] == 1 > swapped.changes[1]
    plain = small(shortcut="none")
    dropped = analysis.drop_each(plain, lambda network: len(network.layers))
    assert dropped.changes == (
        *("conv2_block1", "conv2_block2", "conv2_block3"),
        "conv4_block2",
    )
    assert set(dropped.intact - dropped.errors) == {6}
    with pytest.raises(ValueError, match="has 4 blocks that can be dropped"):
        analysis.drop_random(plain, error, [5])


def test_permuted_blocks(resnet, images):
    swap = {"conv2_block2": "conv2_block3", "conv2_block3": "conv2_block2"}
    swapped = keras_resnet.surgery.permute_blocks(resnet, swap)
    for block, other in swap.items():
        for old, new in zip(
            resnet.get_layer(f"{block}_1_conv").get_weights(),
            swapped.get_layer(f"{other}_1_conv").get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)
    back = keras_resnet.surgery.permute_blocks(swapped, swap)
    np.testing.assert_array_equal(back(images), resnet(images))
    with pytest.raises(ValueError, match="cannot take the weights of 'conv3_block1'"):
        keras_resnet.surgery.permute_blocks(resnet, {"conv2_block2": "conv3_block1"})
    with pytest.raises(ValueError, match="got 'conv9_block1'"):
        keras_resnet.surgery.permute_blocks(resnet, {"conv9_block1": "conv2_block1"})


def test_kendall_tau_as_scipy():
    stats = pytest.importorskip("scipy.stats")
    order = np.random.default_rng(1).permutation(9)
    expected = stats.kendalltau(np.arange(9), order).statistic
    assert kendall_tau(order) == pytest.approx(expected)


def test_directions_are_as_long_as_filters(resnet):
    for step, weights in zip(
        filter_normalized_direction(resnet), resnet.get_weights(), strict=True
    ):
        if weights.ndim == 1:
            assert not step.any()
        else:
            own, others = (a.reshape(-1, a.shape[-1]) for a in (step, weights))
            np.testing.assert_allclose(
                np.linalg.norm(own, axis=0), np.linalg.norm(others, axis=0), rtol=1e-4
            )


def test_surface_of_a_quadratic(rng):
    model = linear(rng.standard_normal((6, 2)).astype("float32"))
    found = analysis.loss_surface(
        model,
        lambda network: float(np.square(network.get_weights()[0]).sum()),
        xs=[-1, 0, 2],
        ys=[0, 1],
        seed=3,
    )
    weights = model.get_weights()[0].astype("float64")
    one, other = (filter_normalized_direction(model, seed)[0] for seed in (6, 7))
    for row, y in enumerate([0, 1]):
        for column, x in enumerate([-1, 0, 2]):
            expected = np.square(weights + x * one + y * other).sum()
            assert found.losses[row, column] == pytest.approx(expected, rel=1e-5)


def test_curvature_of_a_quadratic():
    factors = np.array([1.0, -3.0, 0.5, 2.0])

    def loss(x, y):
        return ops.sum(ops.concatenate([x, ops.reshape(y, (2,))]) ** 2 * factors)

    points = [np.ones(2), np.ones((1, 2))]
    found = analysis.hessian_extremes(loss, points)
    np.testing.assert_allclose(found, (-6, 4), rtol=1e-2)


def test_cka(rng, resnet, images):
    features = rng.standard_normal((20, 4))
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    assert analysis.linear_cka(features, 3 * features @ turn + 1) == pytest.approx(1)
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    assert analysis.linear_cka(signs[:, :1], signs[:, 1:]) == pytest.approx(0)
    # Half of what one has is the other: 1 / sqrt(2).
    assert analysis.linear_cka(signs, signs[:, :1]) == pytest.approx(0.5**0.5)
    names = ["conv2_block1_out", "predictions"]
    found = analysis.cka(resnet, images, names)
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, analysis.cka(resnet, images, names, resnet))


def test_gradients_of_neighbours(rng):
    same = analysis.gradient_correlations(
        linear(rng.standard_normal((4, 3))), rng.standard_normal((3, 4))
    )
    np.testing.assert_allclose(same, np.ones((3, 3)), rtol=1e-5)
    # Each unit sees one side of zero: gradients at right angles.
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.ReLU()(inputs))
    apart = analysis.gradient_correlations(model, np.array([[1.0, -1.0], [-1.0, 1.0]]))
    np.testing.assert_allclose(apart, np.eye(2))


@pytest.mark.parametrize(
    "layer", ["conv1_conv", "conv3_block1_out", "conv4_block1_add"]
)
def test_receptive_field_by_counting(layer):
    """Where all weights are positive, all that is seen has a gradient."""
    size = 61
    model = small(input_shape=(size, size, 1), shortcut="B", blocks_per_stage=(1, 1, 1))
    for one in model.layers:
        if isinstance(one, layers.Conv2D):
            one.set_weights([np.full(one.kernel.shape, 0.1)])
    seen = analysis.effective_receptive_field(model, np.ones((1, size, size, 1)), layer)
    counted = (seen > 0).sum(axis=0).max()
    assert analysis.receptive_field(model, layer).size == counted


def test_receptive_field_of_published_networks(resnet):
    """483 pixels are what Araujo, Norris and Sim (Distill, 2019) have for ResNet-50."""
    for name, size in (("resnet50", 483), ("resnet50_v1_5", 427)):
        model = keras_resnet.create(name, include_top=False)
        field = analysis.receptive_field(model, "conv5_block3_out")
        assert field == analysis.ReceptiveField(size, 32)
    with pytest.raises(ValueError, match="sees the whole image"):
        analysis.receptive_field(resnet, "predictions")


def test_gates_start_shut(images):
    """Their kernels zero, gates are the sigmoid of their biases."""
    model = small(shortcut="gated_uncoupled")
    for layer in model.layers:
        if layer.name.endswith(("_gate_conv", "_carry_conv")):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.zeros_like(kernel), bias])
    found = analysis.gate_statistics(model, images)
    expected = [
        1 / (1 + np.exp(-2 if "carry" in layer else 2)) for layer in found.layers
    ]
    np.testing.assert_allclose(found.means, expected, rtol=1e-5)
    np.testing.assert_allclose(found.stds, 0, atol=1e-6)
    assert set(found.open_shares) == {0, 1}
    with pytest.raises(ValueError, match="has no gates"):
        analysis.gate_statistics(small(), images)


def test_features_of_a_linear_filter(rng):
    inputs = keras.Input((None, None, 3))
    conv = layers.Conv2D(2, 5, padding="valid", use_bias=False, name="seen")
    model = keras.Model(inputs, conv(inputs))
    filters = analysis.first_filters(model)
    kernel = np.moveaxis(conv.get_weights()[0], -1, 0)
    assert filters.shape == (2, 5, 5, 3)
    assert filters.min(axis=(1, 2, 3)).tolist() == [0, 0]
    np.testing.assert_allclose(np.corrcoef(filters[0].flat, kernel[0].flat)[0, 1], 1)
    # What excites a linear filter most is the filter itself.
    found = analysis.visualize(model, "seen", [1], size=5, steps=5)
    assert np.corrcoef(found[0].flat, kernel[1].flat)[0, 1] > 0.95


def test_everything_plots(resnet, images):
    found = analysis.responses(resnet, images)
    axes = found.plot(label="resnet")
    found.plot(axes, ordered=True)
    assert [len(line.get_xdata()) for line in axes.lines] == [13, 13]
    assert axes.get_xlabel()
    surface = analysis.LossSurface(np.arange(3.0), np.arange(2.0), np.eye(2, 3))
    paths = analysis.PathGradients(2, np.arange(3), np.ones((3, 1)))
    ones = np.ones(2)
    for drawn in (
        surface.plot(),
        paths.plot(),
        analysis.Lesions(0.1, ("conv2_block1",), ones[:1]).plot(),
        analysis.Lesions(0.1, (1, 2), ones).plot(),
        analysis.LayerNorms(("a", "b"), ones, ones).plot(),
        analysis.GateStatistics(("a", "b"), ones, ones, ones).plot(),
        analysis.plot_cka(np.eye(2)),
        analysis.plot_correlations(np.eye(2)),
        analysis.plot_spectrum(ones),
        analysis.plot_images(analysis.first_filters(resnet)),
    ):
        drawn.figure.canvas.draw()
