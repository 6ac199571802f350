"""What the networks compute, in plain NumPy and float64, for the tests.

Weights are those of a Keras model, found by the layers' names.
"""

import numpy as np


def randomize(model, seed=0):
    """Random weights everywhere, so that nothing hides behind zeros and ones."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape)
            if w.path.endswith(("gamma", "moving_variance"))
            else 0.3 * rng.standard_normal(w.shape)
            for w in model.weights
        ]
    )
    return model


def weights(model, name):
    """The weights of the layer called `name`, in float64."""
    return [w.astype("float64") for w in model.get_layer(name).get_weights()]


def convolve(x, kernel, strides=1, dilation=1):
    """A two-dimensional convolution of `(batch, height, width, channels)`."""
    extent = dilation * (kernel.shape[0] - 1)
    pad = (extent // 2, extent // 2)
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (extent + 1, extent + 1), axis=(1, 2)
    )[:, ::strides, ::strides, :, ::dilation, ::dilation]
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel)


def normalize(x, gamma, beta, mean, variance, epsilon=1e-5):
    """Batch norm in inference."""
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def average_pool(x):
    """2x2 averages with stride 2, over those pixels that exist."""
    rows, columns = ((size + 1) // 2 for size in x.shape[1:3])
    pooled = np.empty((len(x), rows, columns, x.shape[-1]))
    for row in range(rows):
        for column in range(columns):
            window = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            pooled[:, row, column] = window.mean(axis=(1, 2))
    return pooled


def convolved_and_normalized(model, name, x, strides=1):
    """Convolution and batch norm called `{name}_conv` and `{name}_bn`."""
    (kernel,) = weights(model, f"{name}_conv")
    return normalize(convolve(x, kernel, strides), *weights(model, f"{name}_bn"))


def preactivated(model, name, x):
    """What a pre-activation block's convolutions start from."""
    return relu(normalize(x, *weights(model, f"{name}_preact_bn")))


def residual(model, name, x, strides=1, preactivation=False):
    """The residual branch of a basic block, from its input or its pre-activation."""
    x = relu(convolved_and_normalized(model, f"{name}_1", x, strides))
    if preactivation:
        return convolve(x, *weights(model, f"{name}_2_conv"))
    return convolved_and_normalized(model, f"{name}_2", x)
