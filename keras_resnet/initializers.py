"""How the weights of a network start, by the source that starts them so."""

import zlib
from typing import Any, NamedTuple

import keras
from keras.initializers import RandomNormal, RandomUniform, VarianceScaling


class Start(NamedTuple):
    """What the weights are drawn from; other biases start at zero.

    Args:
        convolution: The convolutions' kernels. None is `he_normal()`.
        classifier: The classifier's kernel, likewise.
        bias: The classifier's bias is uniform between this over the root of its number
            of inputs and the negative of it.
    """

    convolution: Any = None
    classifier: Any = None
    bias: float = 0.0

    def classifier_bias(self, inputs: int) -> Any:
        """Returns the initializer of the classifier's bias."""
        limit = self.bias * inputs**-0.5
        return RandomUniform(-limit, limit) if limit else "zeros"


def _gaussian(scale: float, mode: str) -> VarianceScaling:
    return VarianceScaling(scale, mode, "untruncated_normal")


_GLUONCV = _gaussian(2 / (1 + 0.25**2), "fan_avg")

INITIALIZERS: dict[str, Start] = {
    "he2015": Start(),
    "goyal2017": Start(classifier=RandomNormal(stddev=0.01)),
    # MXNet's `MSRAPrelu()`, which GluonCV's scripts train with.
    "gluoncv": Start(_GLUONCV, _GLUONCV),
    # torchvision's and timm's convolutions, and PyTorch's linear layer.
    "pytorch": Start(
        convolution=_gaussian(2.0, "fan_out"),
        classifier=VarianceScaling(1 / 3, "fan_in", "uniform"),
        bias=1.0,
    ),
}
"""How weights start, by name."""


def he_normal() -> keras.initializers.Initializer:
    """Returns the Gaussian of variance 2 / fan-in (He et al. 2015, 1502.01852, eq. 10).

    `keras.initializers.HeNormal` is that Gaussian cut off at two deviations.
    """
    return _gaussian(2.0, "fan_in")


def own_initializer(initializer: Any, name: str) -> Any:
    """Returns an initializer of a layer's own, since no two layers are to start alike.

    A Keras initializer that has an integer as its seed draws the same numbers each time
    it is called. What is returned has a seed made of that integer and the layer's name.

    Args:
        initializer: What Keras takes for one; None for `he_normal()`.
        name: Name of the layer.

    Example:

    >>> own_initializer(keras.initializers.HeNormal(seed=1), "conv1_conv")
    """
    if initializer is None:
        return he_normal()
    initializer = keras.initializers.get(initializer)
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), dict):
        return initializer  # A generator of seeds, which gives another at each call.
    if config.get("seed") is not None:
        config["seed"] = zlib.crc32(f"{config['seed']} {name}".encode())
    return type(initializer).from_config(config)
