"""What comes before the first stage.

Every stem has the signature `(x, filters, *, antialias, settings)`. `x` are images
`(batch, *space, channels)` (or channels first), `filters` is the number of output
channels, `antialias` the way that `keras_resnet.blocks.basic` takes. It returns the
activations before its pooling and those after.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_resnet.blocks import antialiased_pool
from keras_resnet.conv import (
    Settings,
    activate,
    conv,
    conv_bn,
    layer_of_rank,
)
from keras_resnet.layers import ReflectionPadding


def imagenet(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Applies the 7x7/2 convolution and the 3x3/2 max-pool of Table 1."""
    x = conv_bn(x, filters, 7, strides=2, settings=settings, name="conv1")
    x = activate(x, settings=settings, name="conv1_relu")
    return x, _pool(x, antialias)


def deep(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Replaces the 7x7 by three 3x3 (1812.01187, figure 2b: ResNet-C)."""
    x = _three_convolutions(x, (filters // 2, filters // 2, filters), settings)
    return x, _pool(x, antialias)


def deep_tiered(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Replaces the 7x7 by three 3x3 of growing width (timm's ResNet-T)."""
    x = _three_convolutions(x, (3 * filters // 8, filters // 2, filters), settings)
    return x, _pool(x, antialias)


def cifar(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Applies the 3x3 convolution of section 4.2, and no pooling."""
    x = conv_bn(x, filters, 3, settings=settings, name="conv1")
    x = activate(x, settings=settings, name="conv1_relu")
    return x, x


def imagenet_v2(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Applies the stem of Table 1 and leaves normalising to the first block."""
    x = _first_convolution(x, filters, settings)
    padded = ReflectionPadding(name="pool1_pad")(x)
    return x, layer_of_rank("MaxPooling", x)(3, strides=2, name="pool1_pool")(padded)


def imagenet_v2_keras(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Applies the stem of `keras.applications` V2, whose max-pool sees zeros around."""
    x = _first_convolution(x, filters, settings)
    return x, _max_pool(x, strides=2)


def cifar_v2(
    x: Any, filters: int, *, antialias: str | None, settings: Settings
) -> tuple[Any, Any]:
    """Applies the 3x3 convolution and leaves normalising to the first block."""
    x = conv(x, filters, 3, bias=settings.bias, settings=settings, name="conv1")
    return x, x


def _first_convolution(x: Any, filters: int, settings: Settings) -> Any:
    return conv(x, filters, 7, 2, bias=settings.bias, settings=settings, name="conv1")


def _three_convolutions(x: Any, widths: tuple[int, ...], settings: Settings) -> Any:
    for index, (width, strides) in enumerate(zip(widths, (2, 1, 1), strict=True), 1):
        name = f"conv1_{index}"
        x = conv_bn(x, width, 3, strides, settings=settings, name=name)
        x = activate(x, settings=settings, name=f"{name}_relu")
    return x


def _pool(x: Any, antialias: str | None) -> Any:
    """Halves the resolution; anti-aliased as in timm, whose weights we load."""
    if antialias == "average":
        return layer_of_rank("AveragePooling", x)(2, name="pool1_pool")(x)
    if antialias == "blur":
        x = _max_pool(x, strides=1)
        return antialiased_pool(x, 2, antialias, name="pool1_aa")
    return _max_pool(x, strides=2)


def _max_pool(x: Any, strides: int) -> Any:
    # Zeros are neutral for the maximum of activations that are never negative.
    x = layer_of_rank("ZeroPadding", x)(1, name="pool1_pad")(x)
    return layer_of_rank("MaxPooling", x)(3, strides=strides, name="pool1_pool")(x)


@dataclasses.dataclass(frozen=True)
class Stem:
    """A kind of stem, for the table `STEMS`.

    Args:
        function: Builds the stem.
        strides: By how much it reduces the resolution.
        normalizes: Whether its output is normalised and activated, as post-activation
            blocks want it.
    """

    function: Callable[..., tuple[Any, Any]]
    strides: int
    normalizes: bool


STEMS: dict[str, Stem] = {
    "imagenet": Stem(imagenet, 4, normalizes=True),
    "deep": Stem(deep, 4, normalizes=True),
    "deep_tiered": Stem(deep_tiered, 4, normalizes=True),
    "cifar": Stem(cifar, 1, normalizes=True),
    "imagenet_v2": Stem(imagenet_v2, 4, normalizes=False),
    "imagenet_v2_keras": Stem(imagenet_v2_keras, 4, normalizes=False),
    "cifar_v2": Stem(cifar_v2, 1, normalizes=False),
}
"""The stems by name."""
