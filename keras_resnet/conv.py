"""Convolution, batch norm and activation, bound to what they share in a network."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.initializers import own_initializer
from keras_resnet.layers import DepthEdgePadding

PADDINGS = ("symmetric", "same")

# TensorFlow 2.21 with oneDNN writes beyond its memory in the gradient of a strided 1x1
# kernel of fewer input channels, unless the number of images is a multiple of that of
# its threads.
_FEW_CHANNELS = 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all convolutions and batch norms of a network share, and these bound to it.

    Args:
        activation: What follows each batch norm: a name or function that
            `keras.layers.Activation` takes.
        kernel_initializer: Initializer of the convolutions; each draws numbers of its
            own, also where it has a seed. None is `he_normal()`.
        kernel_regularizer: Regularizer of the convolutions, None for none.
        bias_regularizer: Regularizer of the few biases, None for none.
        norm_layer: Makes the batch norms; takes what Keras' own layer takes.
        norm_momentum: Weight of the old moving average in the batch norms.
        norm_epsilon: What the batch norms add to the variance.
        norm_trainable: Whether the batch norms learn; if not, they use their moving
            statistics in training too.
        norm_synchronized: Whether replicas share the batch norms' statistics.
        use_bias: Whether convolutions that no batch norm follows have a bias.
        padding: `"symmetric"` pads a strided convolution on both sides alike, as Caffe
            and PyTorch do; `"same"` as TensorFlow does, mostly right and below.

    Raises:
        ValueError: If `padding` is neither.

    Example:

    >>> settings = Settings(kernel_regularizer=keras.regularizers.L2(5e-5))
    >>> x = keras_resnet.blocks.basic(keras.Input((32, 32, 16)), 16, settings=settings)
    """

    activation: str | Callable[[Any], Any] = "relu"
    kernel_initializer: Any = None
    kernel_regularizer: Any = None
    bias_regularizer: Any = None
    norm_layer: Callable[..., keras.layers.Layer] = keras.layers.BatchNormalization
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    norm_trainable: bool = True
    norm_synchronized: bool = False
    use_bias: bool = False
    padding: str = "symmetric"

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ValueError(
                f"`padding` must be one of {', '.join(map(repr, PADDINGS))}, "
                f"got {self.padding!r}."
            )

    def conv(
        self,
        x: Any,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: float | None = None,
        name: str,
    ) -> Any:
        """Convolves in one, two or three dimensions.

        In three dimensions the first axis (depth, time) is padded with its own first
        and last slices: input that is constant in depth stays so, and gives what the
        network in two dimensions gives (see `keras_resnet.load_weights`).

        A strided 1x1 convolution of fewer than 16 channels, but for volumes, is a layer
        `{name}_subsample` and a convolution without stride, which is the same function.

        Args:
            x: Tensor `(batch, *space, channels)` (or channels first).
            filters: Number of output channels.
            kernel_size: Extent of the kernel on each axis, odd.
            strides: Stride on each axis.
            dilation: Distance of the kernel's taps.
            groups: Number of groups of channels that are convolved separately.
            bias: Initial value of the bias. Defaults to 0 with `use_bias`, and to no
                bias without (section 3.4).
            name: Prefix of the layers `{name}_pad` and `{name}_conv`.

        Returns:
            Tensor `(batch, *ceil(space / strides), filters)`.

        Example:

        >>> x = Settings().conv(keras.Input((32, 32, 3)), 16, 3, name="conv1")
        """
        padding = "same"
        if self.padding == "symmetric" and kernel_size > 1:
            extent = dilation * (kernel_size - 1) // 2
            if rank(x) == 3:
                x = DepthEdgePadding(extent, name=f"{name}_depth_pad")(x)
                x = _zero_padding(x, (0, extent, extent), f"{name}_pad")
                padding = "valid"
            elif strides > 1:
                x = _zero_padding(x, extent, f"{name}_pad")
                padding = "valid"
        few = rank(x) < 3 and x.shape[channel_axis()] < _FEW_CHANNELS
        if few and kernel_size == 1 < strides:
            subsample = layer_of_rank("AveragePooling", x)
            x = subsample(1, strides=strides, name=f"{name}_subsample")(x)
            strides = 1
        return layer_of_rank("Conv", x)(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            dilation_rate=dilation,
            groups=groups,
            use_bias=self.use_bias or bias is not None,
            bias_initializer=keras.initializers.Constant(bias or 0.0),
            kernel_initializer=own_initializer(self.kernel_initializer, f"{name}_conv"),
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            name=f"{name}_conv",
        )(x)

    def conv_bn(
        self,
        x: Any,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        zero_gamma: bool = False,
        name: str,
    ) -> Any:
        """Convolves as `conv`, without bias, then normalises as `norm` (section 3.4).

        Example:

        >>> x = Settings().conv_bn(images, 64, 7, strides=2, name="conv1")
        """
        unbiased = dataclasses.replace(self, use_bias=False)
        x = unbiased.conv(
            x,
            filters,
            kernel_size,
            strides,
            dilation=dilation,
            groups=groups,
            name=name,
        )
        return self.norm(x, zero_gamma=zero_gamma, name=name)

    def norm(self, x: Any, *, zero_gamma: bool = False, name: str) -> Any:
        """Normalises over the batch in a layer `{name}_bn`.

        Args:
            x: Tensor `(batch, *space, channels)` (or channels first).
            zero_gamma: Whether the scale starts at zero instead of one.
            name: Prefix of the layer.
        """
        return self.norm_layer(
            axis=channel_axis(),
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
            gamma_initializer="zeros" if zero_gamma else "ones",
            synchronized=self.norm_synchronized,
            trainable=self.norm_trainable,
            name=f"{name}_bn",
        )(x)

    def activate(self, x: Any, *, name: str) -> Any:
        """Applies the activation in a layer called `name`."""
        if self.activation == "relu":
            return keras.layers.ReLU(name=name)(x)
        return keras.layers.Activation(self.activation, name=name)(x)


def channel_axis() -> int:
    """Returns the channels' axis in the current `keras.config.image_data_format`."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def rank(x: Any) -> int:
    """Returns the number of spatial axes of `(batch, *space, channels)`."""
    return len(x.shape) - 2


def layer_of_rank(kind: str, x: Any) -> type[keras.layers.Layer]:
    """Returns the Keras layer `kind` for the rank of `x`, such as `Conv2D`."""
    return getattr(keras.layers, f"{kind}{rank(x)}D")


def _zero_padding(x: Any, extent: int | tuple[int, ...], name: str) -> Any:
    return layer_of_rank("ZeroPadding", x)(extent, name=name)(x)
