"""The residual blocks and stages, for use in any functional model.

`basic` and `bottleneck` are those of the paper (Figure 5): convolution, batch norm,
activation, and the sum activated. `basic_v2` and `bottleneck_v2` are those of its
sequel (1603.05027, figure 4e): batch norm and activation first, and the sum untouched.
What all of them take is described at `basic`, what bottlenecks take at `bottleneck`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_resnet.conv import Settings, channel_axis, layer_of_rank
from keras_resnet.layers import BlurPool
from keras_resnet.shortcuts import SHORTCUTS, BlockInput, Shortcut

_DEFAULT = Settings()


def basic(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
    *,
    dilation: int = 1,
    first_dilation: int | None = None,
    antialias: str | None = None,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    zero_gamma: bool = False,
    settings: Settings = _DEFAULT,
) -> Any:
    """Adds two 3x3 convolutions to the shortcut (Figure 5, left).

    Args:
        x: Tensor `(batch, *space, channels)` with one to three spatial axes (or
            channels first).
        filters: Width of the 3x3 convolutions, and in basic blocks of the output.
        strides: Stride of the first 3x3 convolution and of the shortcut.
        shortcut: A key of `keras_resnet.shortcuts.SHORTCUTS`, such as `"A"`.
        name: Prefix of the layers' names. Defaults to a new `basic_N`.
        dilation: Distance of the kernel's taps in the 3x3 convolutions.
        first_dilation: The same in the first one. Defaults to `dilation`.
        antialias: How the strided 3x3 convolution subsamples: None by its stride,
            `"blur"` (1904.11486) or `"average"` by a pooling after it.
        squeeze_excitation: Factor by which squeeze-and-excitation (1709.01507) reduces
            the channels, None for none.
        stochastic_depth: Probability of dropping the residual branch of an image in
            training (1603.09382). What remains is scaled up then, where the source
            scales down in inference.
        zero_gamma: Whether the last batch norm's scale starts at zero (1706.02677,
            section 5.1), so that the block starts as its shortcut.
        settings: What all convolutions and batch norms share, see `Settings`.

    Returns:
        Tensor `(batch, *ceil(space / strides), filters)`.

    Raises:
        ValueError: If `shortcut` or `antialias` is not a known option.

    Example:

    >>> x = keras_resnet.blocks.basic(keras.Input((32, 32, 16)), filters=32, strides=2)
    >>> x.shape
    (None, 16, 16, 32)
    """
    block = _block("basic", x, filters, strides, name, dilation, settings)
    return _added(
        block,
        shortcut,
        _two_3x3(block, first_dilation),
        antialias=antialias,
        zero_gamma=zero_gamma,
        squeeze_excitation=squeeze_excitation,
        stochastic_depth=stochastic_depth,
    )


def bottleneck(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
    *,
    stride_on: str = "1x1",
    cardinality: int = 1,
    base_width: int = 64,
    dilation: int = 1,
    first_dilation: int | None = None,
    antialias: str | None = None,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    zero_gamma: bool = False,
    settings: Settings = _DEFAULT,
) -> Any:
    """Adds 1x1, 3x3 and 1x1 convolutions to the shortcut (Figure 5, right).

    Args:
        x: As in `basic`, like all that is not described here.
        filters: Width of the 3x3 convolution; the output is four times as wide.
        strides: Stride of the block.
        shortcut: A key of `keras_resnet.shortcuts.SHORTCUTS`, such as `"A"`.
        name: Prefix of the layers' names. Defaults to a new `bottleneck_N`.
        stride_on: Which convolution has the stride: the first `"1x1"`, as in the
            paper, or the `"3x3"`, known as v1.5.
        cardinality: Number of groups of the 3x3 convolution (ResNeXt, 1611.05431).
        base_width: Width of a group for each 64 filters: ResNeXt's "32x4d" is
            `cardinality=32, base_width=4`, a network of double width 128.
        dilation: Distance of the kernel's taps in the 3x3 convolution.
        first_dilation: The same in a stage's first block. Defaults to `dilation`.
        antialias: As in `basic`; only for a stride on the 3x3 convolution.
        squeeze_excitation: As in `basic`.
        stochastic_depth: As in `basic`.
        zero_gamma: As in `basic`.
        settings: What all convolutions and batch norms share, see `Settings`.

    Returns:
        Tensor `(batch, *ceil(space / strides), 4 * filters)`.

    Raises:
        ValueError: If `shortcut`, `stride_on` or `antialias` is not a known option, or
            `antialias` is for a stride on the 1x1 convolution.

    Example:

    >>> x = keras_resnet.blocks.bottleneck(keras.Input((56, 56, 64)), filters=64)
    >>> x.shape
    (None, 56, 56, 256)
    """
    if antialias and strides > 1 and stride_on == "1x1":
        raise ValueError(
            f"`antialias={antialias!r}` cannot smooth the stride of the 1x1 "
            "convolution: set `stride_on='3x3'`."
        )
    width = group_width(filters, base_width)
    block = _block("bottleneck", x, 4 * filters, strides, name, dilation, settings)
    return _added(
        block,
        shortcut,
        _1x1_3x3_1x1(block, width, cardinality, stride_on, first_dilation),
        antialias=antialias,
        zero_gamma=zero_gamma,
        squeeze_excitation=squeeze_excitation,
        stochastic_depth=stochastic_depth,
    )


def basic_v2(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
    *,
    dilation: int = 1,
    first_dilation: int | None = None,
    dropout: float = 0.0,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    settings: Settings = _DEFAULT,
) -> Any:
    """Adds two pre-activated 3x3 convolutions to the shortcut (1603.05027, figure 4e).

    Takes what `basic` takes, without `antialias` and `zero_gamma`, and `dropout`: the
    share of activations dropped between the convolutions (Wide ResNet, 1605.07146,
    section 2.4). `x` comes not yet activated.

    Returns:
        Tensor `(batch, *ceil(space / strides), filters)`, not activated.

    Raises:
        ValueError: If `shortcut` is not a known option.

    Example:

    >>> x = keras_resnet.blocks.basic_v2(keras.Input((32, 32, 16)), filters=16)
    >>> x.shape
    (None, 32, 32, 16)
    """
    block = _block("basic_v2", x, filters, strides, name, dilation, settings)
    return _added(
        block,
        shortcut,
        _two_3x3(block, first_dilation),
        dropout=dropout,
        squeeze_excitation=squeeze_excitation,
        stochastic_depth=stochastic_depth,
    )


def bottleneck_v2(
    x: Any,
    filters: int,
    strides: int = 1,
    shortcut: str = "B",
    name: str | None = None,
    *,
    stride_on: str = "1x1",
    cardinality: int = 1,
    base_width: int = 64,
    dilation: int = 1,
    first_dilation: int | None = None,
    squeeze_excitation: int | None = None,
    stochastic_depth: float = 0.0,
    settings: Settings = _DEFAULT,
) -> Any:
    """Adds pre-activated 1x1, 3x3 and 1x1 convolutions to the shortcut (1603.05027).

    Takes what `bottleneck` takes, without `antialias` and `zero_gamma`. `x` comes not
    yet activated.

    Returns:
        Tensor `(batch, *ceil(space / strides), 4 * filters)`, not activated.

    Raises:
        ValueError: If `shortcut` or `stride_on` is not a known option.

    Example:

    >>> x = keras_resnet.blocks.bottleneck_v2(keras.Input((56, 56, 64)), filters=64)
    >>> x.shape
    (None, 56, 56, 256)
    """
    width = group_width(filters, base_width)
    block = _block("bottleneck_v2", x, 4 * filters, strides, name, dilation, settings)
    return _added(
        block,
        shortcut,
        _1x1_3x3_1x1(block, width, cardinality, stride_on, first_dilation),
        squeeze_excitation=squeeze_excitation,
        stochastic_depth=stochastic_depth,
    )


@dataclasses.dataclass(frozen=True)
class Block:
    """A kind of block, for the table `BLOCKS`.

    Args:
        function: Builds the block.
        weighted_layers: Number of convolutions in its residual branch.
        expansion: Width of its output for each filter.
        preactivation: Whether batch norm and activation come before the convolutions.
    """

    function: Callable[..., Any]
    weighted_layers: int
    expansion: int
    preactivation: bool

    @property
    def is_bottleneck(self) -> bool:
        """Whether its 3x3 convolution is between two 1x1, and either may stride."""
        return "stride_on" in self.options

    @functools.cached_property
    def options(self) -> frozenset[str]:
        """The names of the keyword arguments that the function takes."""
        parameters = inspect.signature(self.function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


BLOCKS: dict[str, Block] = {
    "basic": Block(basic, 2, 1, preactivation=False),
    "bottleneck": Block(bottleneck, 3, 4, preactivation=False),
    "basic_v2": Block(basic_v2, 2, 1, preactivation=True),
    "bottleneck_v2": Block(bottleneck_v2, 3, 4, preactivation=True),
}
"""The blocks by name."""

STRIDED_BLOCKS = ("first", "last")
STRIDES_ON = ("1x1", "3x3")
ANTIALIASES = ("average", "blur")


def stage(
    x: Any,
    block: str,
    filters: int,
    blocks: int,
    strides: int = 2,
    shortcut: str = "B",
    name: str | None = None,
    *,
    first_shortcut: str | None = None,
    strided_block: str = "first",
    dilation: int = 1,
    first_dilation: int | None = None,
    stochastic_depth: float | Sequence[float] = 0.0,
    **options: Any,
) -> Any:
    """Stacks blocks at one resolution (a row `convN_x` of Table 1).

    Args:
        x: Tensor `(batch, *space, channels)` (or channels first).
        block: A key of `BLOCKS`, such as `"bottleneck"`.
        filters: Width of the 3x3 convolutions.
        blocks: Number of blocks.
        strides: Stride of the stage.
        shortcut: A key of `keras_resnet.shortcuts.SHORTCUTS`.
        name: Prefix of the blocks' names `{name}_block1` and so on. Defaults to a new
            `stage_N`.
        first_shortcut: Shortcut of the first block. Defaults to `shortcut`.
        strided_block: Whether the `"first"` block has the stride, as in the paper, or
            the `"last"`, as in the V2 networks of `keras.applications`.
        dilation: Distance of the 3x3 kernels' taps after the strided convolution.
        first_dilation: The same up to and in it. Defaults to `dilation`.
        stochastic_depth: Probability of dropping a block's residual branch: one for
            all blocks, or one for each.
        **options: Options of the block, such as `cardinality=32` or `settings=...`.

    Returns:
        The last block's output.

    Raises:
        ValueError: If `block`, `shortcut` or `strided_block` is not known, or
            `stochastic_depth` has another number of entries than `blocks`.

    Example:

    >>> x = keras_resnet.blocks.stage(x, "basic", filters=128, blocks=2)
    """
    if block not in BLOCKS:
        raise ValueError(
            f"`block` must be one of {', '.join(map(repr, BLOCKS))}, got {block!r}."
        )
    if strided_block not in STRIDED_BLOCKS:
        raise ValueError(
            f"`strided_block` must be one of "
            f"{', '.join(map(repr, STRIDED_BLOCKS))}, got {strided_block!r}."
        )
    name = name or f"stage_{keras.backend.get_uid('stage')}"
    if isinstance(stochastic_depth, (int, float)):
        stochastic_depth = [stochastic_depth] * blocks
    if blocks < 1 or len(stochastic_depth) != blocks:
        raise ValueError(
            f"`blocks` must be positive and `stochastic_depth` one number for each "
            f"block, got {blocks} blocks and {len(stochastic_depth)} numbers."
        )
    strided = 1 if strided_block == "first" else blocks
    first_dilation = first_dilation or dilation
    for index in range(1, blocks + 1):
        x = BLOCKS[block].function(
            x,
            filters,
            strides=strides if index == strided else 1,
            shortcut=(first_shortcut or shortcut) if index == 1 else shortcut,
            name=f"{name}_block{index}",
            dilation=first_dilation if index < strided else dilation,
            first_dilation=first_dilation if index <= strided else dilation,
            stochastic_depth=stochastic_depth[index - 1],
            **options,
        )
    return x


def group_width(filters: int, base_width: int) -> int:
    """Returns the width of each group of a bottleneck's 3x3 convolution."""
    return filters * base_width // 64


def antialiased_pool(x: Any, strides: int, antialias: str, name: str) -> Any:
    """Divides the resolution: by `"blur"` (1904.11486) or `"average"`."""
    if antialias == "blur":
        return BlurPool(strides, name=name)(x)
    return layer_of_rank("AveragePooling", x)(strides, padding="same", name=name)(x)


class _Conv(NamedTuple):
    """A convolution of a residual branch, as a line of Figure 5."""

    filters: int
    kernel_size: int
    strides: int = 1
    dilation: int = 1
    groups: int = 1


def _two_3x3(block: BlockInput, first_dilation: int | None) -> tuple[_Conv, ...]:
    first_dilation = first_dilation or block.dilation
    return (
        _Conv(block.filters, 3, block.strides, first_dilation),
        _Conv(block.filters, 3, dilation=block.dilation),
    )


def _1x1_3x3_1x1(
    block: BlockInput,
    width: int,
    groups: int,
    stride_on: str,
    first_dilation: int | None,
) -> tuple[_Conv, ...]:
    if stride_on not in STRIDES_ON:
        raise ValueError(
            f"`stride_on` must be one of {', '.join(map(repr, STRIDES_ON))}, "
            f"got {stride_on!r}."
        )
    strides = (block.strides, 1) if stride_on == "1x1" else (1, block.strides)
    return (
        _Conv(groups * width, 1, strides[0]),
        _Conv(groups * width, 3, strides[1], first_dilation or block.dilation, groups),
        _Conv(block.filters, 1),
    )


def _block(
    kind: str,
    x: Any,
    filters: int,
    strides: int,
    name: str | None,
    dilation: int,
    settings: Settings,
) -> BlockInput:
    """Begins a block of the table `BLOCKS`."""
    name = name or f"{kind}_{keras.backend.get_uid(kind)}"
    activated = None
    if BLOCKS[kind].preactivation:
        activated = settings.norm(x, name=f"{name}_preact")
        activated = settings.activate(activated, name=f"{name}_preact_relu")
    return BlockInput(x, filters, strides, name, activated, dilation, settings)


def _added(
    block: BlockInput,
    shortcut: str,
    convs: Sequence[_Conv],
    *,
    antialias: str | None = None,
    dropout: float = 0.0,
    zero_gamma: bool = False,
    squeeze_excitation: int | None,
    stochastic_depth: float,
) -> Any:
    """Ends a block: a residual branch of `convs`, added to the shortcut.

    Batch norm and activation follow each convolution, the last activation after the
    sum. In a pre-activation block they have come before, and the sum stays as it is.
    """
    settings, name = block.settings, block.name
    *inner, last = convs

    def residual(x: Any) -> Any:
        for index, conv in enumerate(inner, 1):
            unstrided = conv._replace(strides=1) if antialias else conv
            x = settings.conv_bn(x, **unstrided._asdict(), name=f"{name}_{index}")
            x = settings.activate(x, name=f"{name}_{index}_relu")
        is_dilated = conv.dilation != block.dilation
        x = _subsampled(x, conv.strides, antialias, is_dilated, f"{name}_{index}_aa")
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
        options = {**last._asdict(), "name": f"{name}_{len(convs)}"}
        if block.activated is None:
            x = settings.conv_bn(x, **options, zero_gamma=zero_gamma)
        else:
            x = settings.conv(x, **options)
        x = _squeezed_and_excited(x, squeeze_excitation, settings, name)
        return _dropped(x, stochastic_depth, name)

    terms = _shortcut(shortcut).function(block, residual)
    if block.activated is None:
        x = _sum(terms, f"{name}_add")
        return settings.activate(x, name=f"{name}_out")
    if len(terms) == 1:
        return keras.layers.Identity(name=f"{name}_out")(terms[0])
    return _sum(terms, f"{name}_out")


def _subsampled(
    x: Any, strides: int, antialias: str | None, is_dilated: bool, name: str
) -> Any:
    """Divides the resolution; where dilation replaces that, only blurs, as timm."""
    if antialias not in (None, *ANTIALIASES):
        raise ValueError(
            f"`antialias` must be None or one of "
            f"{', '.join(map(repr, ANTIALIASES))}, got {antialias!r}."
        )
    if antialias is None or (strides == 1 and not is_dilated):
        return x
    return antialiased_pool(x, strides, antialias, name)


def _squeezed_and_excited(
    x: Any, reduction: int | None, settings: Settings, name: str
) -> Any:
    """Scales each channel by a function of all channels' means (1709.01507, eq. 3).

    The reduced width is rounded to a multiple of 8, as published weights have it.
    """
    if reduction is None:
        return x
    if reduction < 1:
        raise ValueError(
            "`squeeze_excitation` must be None or a factor of at least 1, got "
            f"{reduction!r}."
        )
    channels = x.shape[channel_axis()]
    reduced = max(8, int(channels / reduction + 4) // 8 * 8)
    gate = layer_of_rank("GlobalAveragePooling", x)(
        keepdims=True, name=f"{name}_se_pool"
    )(x)
    gate = settings.conv(gate, reduced, 1, bias=0.0, name=f"{name}_se_1")
    gate = settings.activate(gate, name=f"{name}_se_1_relu")
    gate = settings.conv(gate, channels, 1, bias=0.0, name=f"{name}_se_2")
    gate = keras.layers.Activation("sigmoid", name=f"{name}_se_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_se_scale")([x, gate])


def _dropped(x: Any, probability: float, name: str) -> Any:
    if not probability:
        return x
    one_for_each_image = (None,) + (1,) * (len(x.shape) - 1)
    return keras.layers.Dropout(
        probability, noise_shape=one_for_each_image, name=f"{name}_drop"
    )(x)


def _shortcut(option: str) -> Shortcut:
    if option not in SHORTCUTS:
        raise ValueError(
            f"`shortcut` must be one of {', '.join(map(repr, SHORTCUTS))}, "
            f"got {option!r}."
        )
    return SHORTCUTS[option]


def _sum(terms: list[Any], name: str) -> Any:
    return terms[0] if len(terms) == 1 else keras.layers.Add(name=name)(terms)
