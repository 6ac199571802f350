"""The public blocks and stages, in functional models of one's own."""

import keras
import numpy as np
import pytest
import reference

from keras_resnet import Settings, blocks

SHAPE = (9, 10, 8)
V1 = ["basic", "bottleneck"]
V2 = ["basic_v2", "bottleneck_v2"]


def images(shape=SHAPE, count=2):
    rng = np.random.default_rng(1)
    return rng.standard_normal((count, *shape)).astype("float32")


def model_of(kind, filters=8, shape=SHAPE, **options):
    x = keras.Input(shape)
    y = blocks.BLOCKS[kind].function(x, filters, name="b", **options)
    return reference.randomize(keras.Model(x, y))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kind", blocks.BLOCKS)
def test_shape_is_that_of_the_docstring(kind, strides):
    filters = 8
    model = model_of(kind, filters, strides=strides)
    width = filters * blocks.BLOCKS[kind].expansion
    rows, columns = -(-SHAPE[0] // strides), -(-SHAPE[1] // strides)
    assert model.output_shape == (None, rows, columns, width)
    assert model(images()).shape == (2, rows, columns, width)


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
@pytest.mark.parametrize("kind", ["bottleneck", "bottleneck_v2"])
def test_bottleneck_is_three_convolutions(kind, stride_on):
    """Figure 5 on the right; the stride on the first or on the second of them."""
    model = model_of(kind, 4, strides=2, stride_on=stride_on)
    x = images().astype("float64")
    first, second = (2, 1) if stride_on == "1x1" else (1, 2)
    start = x if kind == "bottleneck" else reference.preactivated(model, "b", x)
    y = reference.convolved_and_normalized(model, "b_1", start, first)
    y = reference.relu(y)
    y = reference.relu(reference.convolved_and_normalized(model, "b_2", y, second))
    if kind == "bottleneck":
        y = reference.convolved_and_normalized(model, "b_3", y)
        y += reference.convolved_and_normalized(model, "b_0", start, 2)
        y = reference.relu(y)
    else:
        y = reference.convolve(y, *reference.weights(model, "b_3_conv"))
        y += reference.convolve(start, *reference.weights(model, "b_0_conv"), 2)
    np.testing.assert_allclose(model(images()), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bottleneck", "bottleneck_v2"])
def test_cardinality_splits_the_3x3(kind):
    """A grouped convolution is one whose other connections are zero (1611.05431)."""
    groups = 4
    grouped = model_of(kind, 16, cardinality=groups, base_width=8)
    # 4 groups of 16 * 8 / 64 channels.
    kernel = grouped.get_layer("b_2_conv").get_weights()[0]
    assert kernel.shape == (3, 3, 2, 8)
    dense = model_of(kind, 16, base_width=32)
    for layer in dense.layers:
        if layer.weights and layer.name != "b_2_conv":
            layer.set_weights(grouped.get_layer(layer.name).get_weights())
    whole = np.zeros((3, 3, 8, 8))
    for group in range(groups):
        channels = slice(2 * group, 2 * group + 2)
        whole[:, :, channels, channels] = kernel[:, :, :, channels]
    dense.get_layer("b_2_conv").set_weights([whole])
    np.testing.assert_allclose(grouped(images()), dense(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bottleneck", "bottleneck_v2"])
def test_base_width_widens_the_3x3_alone(kind):
    model = model_of(kind, 64, base_width=128, shape=(4, 4, 8))
    shapes = [model.get_layer(f"b_{n}_conv").kernel.shape for n in (1, 2, 3)]
    assert shapes == [(1, 1, 8, 128), (3, 3, 128, 128), (1, 1, 128, 256)]


@pytest.mark.parametrize("kind", blocks.BLOCKS)
def test_squeeze_and_excitation(kind):
    """Each channel is scaled by a function of the means of all (1709.01507, eq. 3)."""
    model = model_of(kind, 32, squeeze_excitation=4, shortcut="none")
    channels = model.output_shape[-1]
    before = model.get_layer("b_se_pool").input
    scaled = model.get_layer("b_se_scale").output
    x, found = keras.Model(model.input, [before, scaled])(images())
    x = keras.ops.convert_to_numpy(x).astype("float64")
    kernel, bias = reference.weights(model, "b_se_1_conv")
    assert kernel.shape == (1, 1, channels, channels // 4)
    gate = reference.relu(x.mean(axis=(1, 2)) @ kernel[0, 0] + bias)
    kernel, bias = reference.weights(model, "b_se_2_conv")
    gate = reference.sigmoid(gate @ kernel[0, 0] + bias)
    np.testing.assert_allclose(found, x * gate[:, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "reduction", "reduced"),
    # timm's published shapes: a multiple of 8, at least 8.
    [(64, 16, 8), (256, 16, 16), (320, 16, 24), (2048, 16, 128), (24, 1, 24)],
)
def test_squeeze_and_excitation_has_published_widths(channels, reduction, reduced):
    x = keras.Input((2, 2, channels))
    y = blocks.bottleneck(
        x, channels // 4, squeeze_excitation=reduction, name="b", base_width=16
    )
    kernel = keras.Model(x, y).get_layer("b_se_1_conv").kernel
    assert kernel.shape == (1, 1, channels, reduced)


@pytest.mark.parametrize("kind", blocks.BLOCKS)
def test_stochastic_depth_drops_whole_images(kind):
    probability = 0.25
    frozen = Settings(norm_trainable=False)
    model = model_of(
        kind,
        SHAPE[-1] // blocks.BLOCKS[kind].expansion,
        shape=(3, 3, 8),
        stochastic_depth=probability,
        settings=frozen,
    )
    count = 2000
    branch = model.get_layer("b_drop")
    part = keras.Model(model.input, [branch.input, branch.output])
    x = images((3, 3, 8), count)
    before, after = part(x, training=True)
    before = np.asarray(before).reshape(count, -1)
    after = np.asarray(after).reshape(count, -1)
    survived = after.any(axis=1)
    # The survivors are scaled to keep the expectation.
    expected = survived[:, None] * before / (1 - probability)
    np.testing.assert_allclose(after, expected, rtol=1e-4)
    # Five standard deviations.
    deviation = np.sqrt(probability * (1 - probability) / count)
    assert abs((~survived).mean() - probability) < 5 * deviation
    before, after = part(x[:4], training=False)
    np.testing.assert_array_equal(before, after)


def test_stochastic_depth_decays_linearly():
    """1603.09382, equation 4: survival 1 - l / L (1 - p_L)."""
    import keras_resnet

    model = keras_resnet.create("resnet110_stochastic_depth")
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop")]
    np.testing.assert_allclose(rates, [level / 54 * 0.5 for level in range(1, 55)])


@pytest.mark.parametrize("kind", V1)
def test_zero_gamma_makes_the_block_its_shortcut(kind):
    x = keras.Input(SHAPE)
    filters = SHAPE[-1] // blocks.BLOCKS[kind].expansion
    y = blocks.BLOCKS[kind].function(x, filters, zero_gamma=True)
    model = keras.Model(x, y)
    np.testing.assert_array_equal(model(images()), reference.relu(images()))


@pytest.mark.parametrize("antialias", ["average", "blur"])
@pytest.mark.parametrize("kind", V1)
def test_antialias_subsamples_after_the_activation(kind, antialias):
    options = {} if kind == "basic" else {"stride_on": "3x3"}
    model = model_of(kind, strides=2, antialias=antialias, **options)
    name = {"basic": "b_1", "bottleneck": "b_2"}[kind]
    assert model.get_layer(f"{name}_conv").strides == (1, 1)
    x, found = keras.Model(
        model.input,
        [model.get_layer(f"{name}_relu").output, model.get_layer(f"{name}_aa").output],
    )(images())
    x = keras.ops.convert_to_numpy(x).astype("float64")
    if antialias == "average":
        expected = reference.average_pool(x)
    else:
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
        binomial = np.outer([1, 2, 1], [1, 2, 1]) / 16
        kernel = binomial[:, :, None, None] * np.eye(8)
        expected = reference.convolve(padded, kernel)[:, 1:-1:2, 1:-1:2]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    plain = model_of(kind, antialias=antialias, **options)
    assert not any(layer.name.endswith("_aa") for layer in plain.layers)


@pytest.mark.parametrize("antialias", ["average", "blur"])
def test_antialias_takes_any_stride(antialias):
    model = model_of("basic", strides=3, antialias=antialias)
    assert model.output_shape == (None, 3, 4, 8)


def test_dropout_stands_between_the_convolutions():
    model = model_of("basic_v2", dropout=0.3)
    names = [layer.name for layer in model.layers]
    order = ["b_1_conv", "b_1_bn", "b_1_relu", "b_dropout", "b_2_conv"]
    assert [name for name in names if name in order] == order
    assert model.get_layer("b_dropout").rate == 0.3


@pytest.mark.parametrize("kind", blocks.BLOCKS)
def test_dilation_skips_pixels(kind):
    model = model_of(kind, dilation=2, first_dilation=1)
    dilations = {
        layer.name: layer.dilation_rate[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3)
    }
    expected = {"b_1_conv": 1, "b_2_conv": 2} if "basic" in kind else {"b_2_conv": 1}
    assert dilations == expected
    if kind == "basic":
        x = images().astype("float64")
        y = reference.relu(reference.convolved_and_normalized(model, "b_1", x))
        (kernel,) = reference.weights(model, "b_2_conv")
        y = reference.convolve(y, kernel, dilation=2)
        y = reference.normalize(y, *reference.weights(model, "b_2_bn"))
        np.testing.assert_allclose(
            model(images()), reference.relu(x + y), rtol=1e-4, atol=1e-4
        )


def test_stages_pass_every_value_on():
    x = keras.Input((16, 16, 4))
    y = blocks.stage(
        x,
        "bottleneck",
        8,
        3,
        strides=2,
        shortcut="B",
        name="s",
        first_shortcut="D",
        stride_on="3x3",
        cardinality=4,
        stochastic_depth=[0.1, 0.2, 0.3],
        settings=Settings(norm_momentum=0.7),
    )
    model = keras.Model(x, y)
    assert model.output_shape == (None, 8, 8, 32)
    assert model.get_layer("s_block1_0_pool")
    strides = [model.get_layer(f"s_block{n}_2_conv").strides[0] for n in (1, 2, 3)]
    assert strides == [2, 1, 1]
    rates = [model.get_layer(f"s_block{n}_drop").rate for n in (1, 2, 3)]
    assert rates == [0.1, 0.2, 0.3]
    assert model.get_layer("s_block3_2_conv").groups == 4
    assert model.get_layer("s_block2_1_bn").momentum == 0.7


def test_last_block_may_have_the_stride():
    x = keras.Input((16, 16, 32))
    y = blocks.stage(
        x,
        "bottleneck_v2",
        8,
        2,
        shortcut="subsample",
        strided_block="last",
        stride_on="3x3",
        name="s",
    )
    model = keras.Model(x, y)
    assert model.get_layer("s_block1_out").output.shape[1:] == (16, 16, 32)
    assert model.get_layer("s_block2_out").output.shape[1:] == (8, 8, 32)
    assert isinstance(model.get_layer("s_block2_0_pool"), keras.layers.MaxPooling2D)


@pytest.mark.parametrize("channels", [1, 8, 15, 16])
def test_strided_1x1_convolutions_train_on_any_number_of_images(channels):
    # With TensorFlow's gradient of the strided kernel, narrow ones crash here.
    x = keras.Input((32, 32, channels))
    model = keras.Model(x, Settings().conv(x, 16, 1, strides=2, name="narrow"))
    before, rate = model.get_weights()[0][0, 0], 100.0
    model.compile(keras.optimizers.SGD(rate), "mse")
    batch = images((32, 32, channels), count=3)
    model.train_on_batch(batch, np.zeros((3, 16, 16, 16), "float32"))
    kept = batch[:, ::2, ::2].reshape(-1, channels)
    outputs = kept @ before
    gradient = kept.T @ outputs * 2 / outputs.size
    after = model.get_layer("narrow_conv").kernel
    expected = before - rate * gradient
    np.testing.assert_allclose(after[0, 0], expected, rtol=1e-3, atol=1e-3)


def test_names_are_new_each_time():
    x = keras.Input(SHAPE)
    y = blocks.basic(blocks.basic(x, 8), 8)
    y = blocks.stage(blocks.stage(y, "bottleneck", 2, 1), "basic_v2", 8, 2)
    names = [layer.name for layer in keras.Model(x, y).layers]
    assert len(names) == len(set(names))


def test_resnet18_of_d2l():
    """*Dive into Deep Learning*, section 8.6, with its shapes for 96x96 images."""
    images = keras.Input((96, 96, 1))
    x = keras.layers.Conv2D(64, 7, strides=2, padding="same")(images)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPool2D(3, strides=2, padding="same")(x)
    shapes = [x.shape[1:]]
    for index, filters in enumerate((64, 128, 256, 512)):
        x = blocks.stage(x, "basic", filters, 2, strides=1 if index == 0 else 2)
        shapes.append(x.shape[1:])
    x = keras.layers.GlobalAvgPool2D()(x)
    model = keras.Model(images, keras.layers.Dense(10)(x))
    sides = [(24, 64), (24, 64), (12, 128), (6, 256), (3, 512)]
    assert shapes == [(side, side, channels) for side, channels in sides]
    assert model.output_shape == (None, 10)


# What tfm.vision.layers.ResidualBlock(filters, strides, use_projection=True) and
# BottleneckBlock have: name of the weight there, and its shape for 8 channels in,
# filters=4 and strides=2. The package itself is not needed for that.
TFM = {
    "basic": {"shortcut": (1, 1, 8, 4), "conv1": (3, 3, 8, 4), "conv2": (3, 3, 4, 4)},
    "bottleneck": {
        "shortcut": (1, 1, 8, 16),
        "conv1": (1, 1, 8, 4),
        "conv2": (3, 3, 4, 4),
        "conv3": (1, 1, 4, 16),
    },
}


@pytest.mark.parametrize("kind", TFM)
def test_weights_are_those_of_the_model_garden(kind):
    model = model_of(kind, 4, strides=2, shortcut="C")
    kernels = sorted(
        tuple(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    assert kernels == sorted(TFM[kind].values())
    norms = [k for k in kinds(model) if k == "BatchNormalization"]
    assert len(norms) == len(kernels)


class TestSettings:
    """Each reaches every layer that it is about."""

    def model(self, kind="bottleneck_v2", **settings):
        x = keras.Input(SHAPE)
        options = {"squeeze_excitation": 4, "settings": Settings(**settings)}
        return keras.Model(
            x, blocks.stage(x, kind, 8, 2, strides=2, name="s", **options)
        )

    def layers(self, kind, **settings):
        found = [
            layer
            for block in blocks.BLOCKS
            for layer in self.model(block, **settings).layers
            if isinstance(layer, kind)
        ]
        assert len(found) > 8
        return found

    def test_activation(self):
        activations = self.layers(keras.layers.Activation, activation="gelu")
        used = {layer.activation.__name__ for layer in activations}
        assert used == {"gelu", "sigmoid"}
        for block in blocks.BLOCKS:
            assert "ReLU" not in kinds(self.model(block, activation="gelu"))
        for layer in self.layers(keras.layers.Activation, activation=keras.ops.tanh):
            assert layer.activation.__name__ in ("tanh", "sigmoid")

    def test_regularizers(self):
        kernel, bias = keras.regularizers.L2(0.1), keras.regularizers.L1(0.2)
        for layer in self.layers(
            keras.layers.Conv2D, kernel_regularizer=kernel, bias_regularizer=bias
        ):
            assert layer.kernel_regularizer is kernel
            assert layer.bias_regularizer is bias
        model = self.model(kernel_regularizer=kernel)
        squares = sum(
            (layer.get_weights()[0] ** 2).sum()
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D)
        )
        np.testing.assert_allclose(sum(model.losses), 0.1 * squares, rtol=1e-4)

    @pytest.mark.parametrize(
        "initializer",
        [
            None,
            "glorot_uniform",
            keras.initializers.HeNormal(),
            keras.initializers.HeNormal(seed=1),
            keras.initializers.HeNormal(seed=keras.random.SeedGenerator(1)),
        ],
    )
    def test_initializers_are_fresh(self, initializer):
        """Layers of one shape start with numbers of their own."""
        by_shape = {}
        for layer in self.model(kernel_initializer=initializer).layers:
            if isinstance(layer, keras.layers.Conv2D):
                kernel = layer.get_weights()[0]
                by_shape.setdefault(kernel.shape, []).append(kernel)
        assert any(len(kernels) > 1 for kernels in by_shape.values())
        for kernels in by_shape.values():
            firsts = [kernel.ravel()[0] for kernel in kernels]
            assert len(set(firsts)) == len(firsts)

    def test_seeded_initializers_repeat(self):
        models = [
            self.model(kernel_initializer=keras.initializers.HeNormal(seed=seed))
            for seed in (1, 1, 2)
        ]
        one, again, other = (model.get_layer("s_block2_2_conv") for model in models)
        np.testing.assert_array_equal(one.kernel, again.kernel)
        assert not np.allclose(one.kernel, other.kernel)

    def test_initializer_is_used(self):
        for layer in self.layers(keras.layers.Conv2D, kernel_initializer="ones"):
            assert (layer.get_weights()[0] == 1).all()

    def test_batch_norm(self):
        for layer in self.layers(
            keras.layers.BatchNormalization,
            norm_momentum=0.5,
            norm_epsilon=0.25,
            norm_trainable=False,
            norm_synchronized=True,
        ):
            assert layer.momentum == 0.5
            assert layer.epsilon == 0.25
            assert layer.synchronized
            assert not layer.trainable_weights
        for layer in self.layers(keras.layers.BatchNormalization):
            # The paper's, as far as it says: Caffe's and PyTorch's.
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
            assert not layer.synchronized
            assert len(layer.trainable_weights) == 2

    def test_frozen_batch_norm_uses_its_moving_statistics(self):
        model = reference.randomize(self.model(norm_trainable=False))
        x = images()
        np.testing.assert_array_equal(model(x, training=True), model(x))
        model = reference.randomize(self.model())
        assert not np.allclose(model(x, training=True), model(x))

    def test_bias_where_no_batch_norm_follows(self):
        model = self.model(use_bias=True)
        biased = {
            layer.name
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D) and layer.use_bias
        }
        assert biased == {
            "s_block1_0_conv",
            *(f"s_block{n}_3_conv" for n in (1, 2)),
            *(f"s_block{n}_se_{m}_conv" for n in (1, 2) for m in (1, 2)),
        }

    @pytest.mark.parametrize("size", [9, 10])
    def test_padding(self, size):
        """`"same"` is TensorFlow's, `"symmetric"` PyTorch's."""
        x = images((size, size, 8))
        found, kernels = {}, []
        for padding in ("same", "symmetric"):
            model = model_of(
                "basic",
                strides=2,
                shortcut="none",
                shape=(size, size, 8),
                settings=Settings(padding=padding),
            )
            first = keras.Model(model.input, model.get_layer("b_1_conv").output)
            found[padding] = first(x)
            kernels.append(model.get_layer("b_1_conv").get_weights()[0])
        np.testing.assert_array_equal(*kernels)
        symmetric = reference.convolve(x.astype("float64"), kernels[0], 2)
        np.testing.assert_allclose(found["symmetric"], symmetric, rtol=1e-4, atol=1e-4)
        tensorflow = keras.ops.conv(x, kernels[0], 2, padding="same")
        np.testing.assert_allclose(found["same"], tensorflow, rtol=1e-4, atol=1e-4)
        # On odd sizes both are one.
        assert np.allclose(found["same"], symmetric, atol=1e-3) == bool(size % 2)


BOTTLENECK = {"block": "bottleneck", "filters": 8, "blocks": 2}


@pytest.mark.parametrize(
    ("function", "options", "field"),
    [
        (blocks.basic, {"shortcut": "Z"}, "shortcut"),
        (blocks.bottleneck_v2, {"shortcut": None}, "shortcut"),
        (blocks.basic, {"antialias": "max"}, "antialias"),
        (blocks.bottleneck, {"stride_on": "2x2"}, "stride_on"),
        (blocks.bottleneck_v2, {"stride_on": "5x5"}, "stride_on"),
        # The stride is on the 1x1, where nothing could be smoothed.
        (blocks.bottleneck, {"strides": 2, "antialias": "blur"}, "antialias"),
    ],
)
def test_blocks_refuse_by_field(function, options, field):
    with pytest.raises(ValueError, match=f"`{field}"):
        function(keras.Input(SHAPE), 8, **options)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"block": "inverted"}, "block"),
        ({"shortcut": "Z"}, "shortcut"),
        ({"strided_block": "middle"}, "strided_block"),
        ({"blocks": 0}, "blocks"),
        ({"stochastic_depth": [0.1]}, "stochastic_depth"),
        ({"stochastic_depth": [0.1, 0.2, 0.3]}, "stochastic_depth"),
    ],
)
def test_stages_refuse_by_field(options, field):
    with pytest.raises(ValueError, match=f"`{field}`"):
        blocks.stage(keras.Input(SHAPE), **{**BOTTLENECK, **options})


@pytest.mark.parametrize("field", ["padding"])
def test_settings_refuse_by_field(field):
    with pytest.raises(ValueError, match=f"`{field}`"):
        Settings(**{field: "valid"})
