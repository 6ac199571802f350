"""What comes before the first stage."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras_resnet.blocks import antialiased_pool
from keras_resnet.conv import Settings, layer_of_rank
from keras_resnet.layers import ReflectionPadding


@dataclasses.dataclass(frozen=True)
class Stem:
    """A kind of stem, for the table `STEMS`.

    Args:
        convolutions: Kernel size, stride and width of each convolution, the width in
            eighths of the stem's.
        pool: Halves the resolution after them: a function of the activations and of how
            to anti-alias, as `keras_resnet.blocks.basic` is told. None for no pooling.
        normalizes: Whether convolutions are normalised and activated, as
            post-activation blocks want it.

    Example:

    >>> STEMS["patches"] = Stem(((5, 4, 8),))
    """

    convolutions: tuple[tuple[int, int, int], ...]
    pool: Callable[[Any, str | None], Any] | None = None
    normalizes: bool = True

    @property
    def unpooled_strides(self) -> int:
        """By how much the convolutions reduce the resolution."""
        return math.prod(strides for _, strides, _ in self.convolutions)

    @property
    def strides(self) -> int:
        """By how much the stem reduces the resolution."""
        return self.unpooled_strides * (1 if self.pool is None else 2)

    def widths(self, filters: int) -> list[int]:
        """Returns the width of each convolution for that of the stem."""
        return [eighths * filters // 8 for _, _, eighths in self.convolutions]

    def build(
        self, x: Any, filters: int, *, antialias: str | None, settings: Settings
    ) -> tuple[Any, Any]:
        """Adds the stem to a network.

        Args:
            x: Images `(batch, *space, channels)` (or channels first).
            filters: Number of output channels.
            antialias: As `keras_resnet.blocks.basic` takes it.
            settings: What all convolutions and batch norms share.

        Returns:
            The activations before its pooling and those after.
        """
        conv = settings.conv_bn if self.normalizes else settings.conv
        for index, ((size, strides, _), width) in enumerate(
            zip(self.convolutions, self.widths(filters), strict=True), 1
        ):
            name = "conv1" if len(self.convolutions) == 1 else f"conv1_{index}"
            x = conv(x, width, size, strides, name=name)
            if self.normalizes:
                x = settings.activate(x, name=f"{name}_relu")
        return x, x if self.pool is None else self.pool(x, antialias)


def pool(x: Any, antialias: str | None) -> Any:
    """Takes the 3x3/2 maximum of Table 1; anti-aliased as timm, whose weights load."""
    if antialias == "average":
        return layer_of_rank("AveragePooling", x)(2, name="pool1_pool")(x)
    # Zeros are neutral for the maximum of activations that are never negative.
    x = layer_of_rank("ZeroPadding", x)(1, name="pool1_pad")(x)
    strides = 1 if antialias == "blur" else 2
    x = layer_of_rank("MaxPooling", x)(3, strides=strides, name="pool1_pool")(x)
    return antialiased_pool(x, 2, "blur", name="pool1_aa") if strides == 1 else x


def reflected_pool(x: Any, antialias: str | None) -> Any:
    """Takes the 3x3/2 maximum of Table 1 of activations that may be negative."""
    x = ReflectionPadding(name="pool1_pad")(x)
    return layer_of_rank("MaxPooling", x)(3, strides=2, name="pool1_pool")(x)


_7X7 = ((7, 2, 8),)
_3X3 = ((3, 1, 8),)

STEMS: dict[str, Stem] = {
    # The paper: Table 1, and section 4.2.
    "imagenet": Stem(_7X7, pool),
    "cifar": Stem(_3X3),
    # Three 3x3 (1812.01187, figure 2b: ResNet-C); of growing width: timm's ResNet-T.
    "deep": Stem(((3, 2, 4), (3, 1, 4), (3, 1, 8)), pool),
    "deep_tiered": Stem(((3, 2, 3), (3, 1, 4), (3, 1, 8)), pool),
    # Pre-activation: the first block normalises. The maximum of keras.applications
    # sees zeros around.
    "imagenet_v2": Stem(_7X7, reflected_pool, normalizes=False),
    "imagenet_v2_keras": Stem(_7X7, pool, normalizes=False),
    "cifar_v2": Stem(_3X3, normalizes=False),
}
"""The stems by name."""
