"""Random weights, and the comparison of two networks."""

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.weights.importing import load_file

# Odd sizes show any difference in padding; deep and wide networks get small ones.
LARGE = (225, 193)
SMALL = (97, 65)
TINY = (49, 33)


def slow(*row):
    """A row of a table of networks that takes long."""
    return pytest.param(*row, marks=pytest.mark.slow)


def random_array(rng, name, shape):
    """Random values for a weight, so that nothing hides behind zeros and ones.

    Scales keep the activations' size from block to block.
    """
    leaf = name.rpartition("/")[2].rpartition(".")[2]
    if leaf in ("moving_variance", "running_var"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) > 1:
        fan_in = np.prod(shape) / max(shape[0], shape[-1])
        # Ninety million are long to draw: a prime number of values, in turn.
        drawn = rng.standard_normal(min(np.prod(shape), 99_991), dtype="float32")
        return np.resize(drawn * np.float32(np.sqrt(2 / fan_in)), shape)
    if leaf in ("gamma", "weight"):
        return rng.uniform(0.4, 0.8, shape).astype("float32")
    return np.float32(0.1) * rng.standard_normal(shape, dtype="float32")


def randomize_keras(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random_array(rng, variable.path, tuple(variable.shape)))


def randomize_torch(module, seed=0):
    import torch

    rng = np.random.default_rng(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            array = random_array(rng, name, tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(array))
    module.eval()


def random_images(height, width, channels=3, batch=1):
    shape = (batch, height, width, channels)
    return np.random.default_rng(1).standard_normal(shape, dtype="float32")


def every_output(model):
    """The model with its unpooled and pooled features before its logits."""
    pool = model.get_layer("avg_pool")
    return keras.Model(model.input, [pool.input, pool.output, model.output])


def ours(network, path, **options):
    """Our network with the weights of a file, and all its outputs."""
    # What is read over all of them need not be drawn first.
    zeros = keras_resnet.Settings(kernel_initializer=keras.initializers.Zeros())
    model = keras_resnet.create(
        network,
        input_shape=(None, None, 3),
        classifier_activation=None,
        settings=zeros,
        **options,
    )
    load_file(model, path)
    return every_output(model)


def assert_same_outputs(ours, theirs):
    """Compares to 1e-4 of the largest absolute value."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        mine = keras.ops.convert_to_numpy(mine)
        assert mine.shape == other.shape
        assert np.isfinite(other).all()
        assert np.abs(other).max() > 0
        assert np.abs(mine - other).max() < 1e-4 * np.abs(other).max()
