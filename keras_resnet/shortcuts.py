"""The shortcuts of residual blocks: how a block's input reaches its output.

A *carry* takes the block's input to the shape of its output. A *shortcut* also sees the
residual branch, as a function, and gives the terms of the block's sum. Both are told
about the block by a `BlockInput`, and say in the tables `CARRIES` and `SHORTCUTS` what
others have to know of them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.conv import Settings, channel_axis, layer_of_rank, rank
from keras_resnet.layers import StopGradient, SubsampleAndZeroPad


@dataclasses.dataclass(frozen=True)
class BlockInput:
    """What a shortcut knows of its block.

    Args:
        x: The block's input, a tensor `(batch, *space, channels)` (or channels first).
        filters: Number of channels of the block's output.
        strides: Stride of the block as a whole.
        name: Prefix of the layers' names.
        activated: What the residual branch of a pre-activation block starts from: `x`,
            normalised and activated. A projection starts there too, and is not
            normalised (1603.05027, section 4.1). None in other blocks.
        dilation: Distance of the kernels' taps in the block.
        settings: What all convolutions and batch norms share.

    Example:

    >>> block = BlockInput(keras.Input((8, 8, 64)), 128, strides=2, name="mine")
    >>> keras_resnet.shortcuts.project_changes(block).shape
    (None, 4, 4, 128)
    """

    x: Any
    filters: int
    strides: int
    name: str
    activated: Any = None
    dilation: int = 1
    settings: Settings = Settings()

    @property
    def start(self) -> Any:
        """What the residual branch and projections start from."""
        return self.x if self.activated is None else self.activated

    @property
    def keeps_channels(self) -> bool:
        """Whether the output has as many channels as the input."""
        return self.x.shape[channel_axis()] == self.filters

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.strides == 1 and self.keeps_channels

    def starting_from(self, start: Any) -> "BlockInput":
        """Returns the same block with another tensor in the place of `start`."""
        field = "x" if self.activated is None else "activated"
        return dataclasses.replace(self, **{field: start})


Residual = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Carry:
    """A way to change shapes, for the table `CARRIES`.

    Args:
        function: Takes a block's input to the shape of its output.
        projects: Where it has a 1x1 convolution: `"never"`, where the number of
            `"channels"` or any of the `"shape"` changes, or `"always"`.
        pads_channels: Whether it adds channels of zeros, and can take none away.
        pools: Whether it averages where the resolution changes, before it projects.

    Example:

    >>> CARRIES["B"] == Carry(project_changes, projects="shape")
    True
    """

    function: Callable[[BlockInput], Any]
    projects: str
    pads_channels: bool = False
    pools: bool = False


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """A kind of shortcut, for the table `SHORTCUTS`.

    Args:
        function: Returns the terms of a block's sum.
        carry: How it changes shapes. None where nothing is carried: a plain block.

    Example:

    >>> SHORTCUTS["mine"] = Shortcut(my_terms, CARRIES["A"])
    """

    function: Callable[[BlockInput, Residual], list[Any]]
    carry: Carry | None

    @property
    def is_plain(self) -> bool:
        """Whether blocks have no other branch than the residual one."""
        return self.carry is None


def zero_pad(block: BlockInput) -> Any:
    """Option A: identity; subsampled and zero-padded where shapes change.

    Half of the new channels come before, half after.
    """
    if block.keeps_shape:
        return block.x
    x, name = block.x, f"{block.name}_0"
    missing = block.filters - x.shape[channel_axis()]
    if missing < 0:
        raise ValueError(
            f"Block {block.name!r} pads channels up to filters={block.filters} and "
            "cannot take any away, but its input has "
            f"{x.shape[channel_axis()]} channels."
        )
    if rank(x) == 3:  # TensorFlow pools volumes of float64 on no processor.
        pad = SubsampleAndZeroPad(block.filters, block.strides, name=f"{name}_zero_pad")
        return pad(x)
    if block.strides > 1:
        pool = layer_of_rank("AveragePooling", x)
        x = pool(1, strides=block.strides, name=f"{name}_subsample")(x)
    # Keras pads what a data format takes for space: in the other one, the channels and
    # all spatial axes but one. So only layers of Keras are in the file of a model.
    halves, none = (missing // 2, missing - missing // 2), (0, 0)
    others = [none] * (len(x.shape) - 3)
    is_last = channel_axis() == -1
    padding = (*others, halves) if is_last else (halves, *others)
    return layer_of_rank("ZeroPadding", x)(
        padding if others else halves,
        data_format="channels_first" if is_last else "channels_last",
        name=f"{name}_zero_pad",
    )(x)


def project_changes(block: BlockInput) -> Any:
    """Option B: identity; a 1x1 convolution where shapes change."""
    return block.x if block.keeps_shape else project(block)


def project(block: BlockInput) -> Any:
    """Option C: a 1x1 convolution in every block."""
    conv = block.settings.conv_bn if block.activated is None else block.settings.conv
    return conv(block.start, block.filters, 1, block.strides, name=f"{block.name}_0")


def pool_and_project_changes(block: BlockInput) -> Any:
    """Option D: identity; 2x2 average pool and 1x1 convolution where shapes change.

    ResNet-D of *Bag of Tricks* (1812.01187, figure 2c).
    """
    return block.x if block.keeps_shape else pool_and_project(block)


def pool_and_project(block: BlockInput) -> Any:
    """2x2 average pool where the resolution changes, and 1x1 convolution always.

    PaddleClas' and KerasHub's "vd" networks have it in each stage's first block. Where
    dilation replaces the stride, it averages at each position, at the border over the
    pixels that exist; timm counts zeros there.
    """
    if block.strides > 1 or block.dilation > 1:
        pool = layer_of_rank("AveragePooling", block.x)(
            2, strides=block.strides, padding="same", name=f"{block.name}_0_pool"
        )
        block = block.starting_from(pool(block.start))
    return project(dataclasses.replace(block, strides=1))


def subsample(block: BlockInput) -> Any:
    """Identity, subsampled; a 1x1 convolution where the number of channels changes.

    The V2 networks of `keras.applications` have it.
    """
    if not block.keeps_channels:
        return project(block)
    if block.strides == 1:
        return block.x
    pool = layer_of_rank("MaxPooling", block.x)(
        1, strides=block.strides, name=f"{block.name}_0_pool"
    )
    return pool(block.x)


CARRIES: dict[str, Carry] = {
    "A": Carry(zero_pad, projects="never", pads_channels=True),
    "B": Carry(project_changes, projects="shape"),
    "C": Carry(project, projects="always"),
    "D": Carry(pool_and_project_changes, projects="shape", pools=True),
    "vd": Carry(pool_and_project, projects="always", pools=True),
    "subsample": Carry(subsample, projects="channels"),
}
"""The carries by name: A, B and C are the paper's (section 4.1), D is ResNet-D's."""


def plain(block: BlockInput, residual: Residual) -> list[Any]:
    """No shortcut: the plain networks of section 3.3."""
    return [residual(block.start)]


def carried(carry: Carry, block: BlockInput, residual: Residual) -> list[Any]:
    """The shortcut of a residual network: `x + F(x)` (equations 1 and 2)."""
    return [carry.function(block), residual(block.start)]


def gated(
    carry: Carry, block: BlockInput, residual: Residual, *, gates: str
) -> list[Any]:
    """Gates `T` and `C` of highway networks: `C(x) * x + T(x) * F(x)` (1505.00387).

    Both are 1x1 convolutions and sigmoids. The biases start at -2 and +2, so that the
    input passes at first (1505.00387, section 2.2). `gates` is `"coupled"` for
    `C = 1 - T`, `"uncoupled"`, or `"shortcut"` where `F(x)` is not gated.
    """
    terms = carried(carry, block, residual)
    transform = _gate(block, "gate", bias=-2.0)
    if gates == "uncoupled":
        passing = _gate(block, "carry", bias=2.0)
    else:
        rest = keras.layers.Rescaling(-1.0, 1.0, name=f"{block.name}_gate_rest")
        passing = rest(transform)
    multiply = keras.layers.Multiply
    terms[0] = multiply(name=f"{block.name}_carried")([terms[0], passing])
    if gates != "shortcut":
        terms[1] = multiply(name=f"{block.name}_transformed")([terms[1], transform])
    return terms


def _gate(block: BlockInput, kind: str, bias: float) -> Any:
    name = f"{block.name}_{kind}"
    gate = block.settings.conv(
        block.start, block.filters, 1, block.strides, bias=bias, name=name
    )
    return keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)


def scaled(carry: Carry, block: BlockInput, residual: Residual) -> list[Any]:
    """Half the input and half the residual: `0.5 x + 0.5 F(x)` (1603.05027, 3.1)."""
    names = ("carried", "transformed")
    return [
        keras.layers.Rescaling(0.5, name=f"{block.name}_{name}")(term)
        for name, term in zip(names, carried(carry, block, residual), strict=True)
    ]


def dropped(carry: Carry, block: BlockInput, residual: Residual) -> list[Any]:
    """Half the input's elements are dropped in training (1603.05027, section 3.1)."""
    terms = carried(carry, block, residual)
    drop = keras.layers.Dropout(0.5, name=f"{block.name}_carried")
    return [drop(terms[0]), terms[1]]


def without_shortcut_gradient(
    carry: Carry, block: BlockInput, residual: Residual
) -> list[Any]:
    """The shortcut passes the activation, and no gradient to the block's input."""
    stopped = dataclasses.replace(
        block, x=StopGradient(name=f"{block.name}_0_stop")(block.x)
    )
    if block.activated is not None:
        stop = StopGradient(name=f"{block.name}_0_stop_activated")
        stopped = stopped.starting_from(stop(block.activated))
    return [carry.function(stopped), residual(block.start)]


def without_residual_gradient(
    carry: Carry, block: BlockInput, residual: Residual
) -> list[Any]:
    """The residual branch learns, and passes no gradient to the block's input.

    In a pre-activation block the gradient stops after the batch norm that it begins
    with, which the shortcut may share.
    """
    stop = StopGradient(name=f"{block.name}_1_stop")
    return [carry.function(block), residual(stop(block.start))]


_JOINS: dict[str, Callable[..., list[Any]]] = {
    "gated": functools.partial(gated, gates="coupled"),
    "gated_uncoupled": functools.partial(gated, gates="uncoupled"),
    "gated_shortcut_only": functools.partial(gated, gates="shortcut"),
    "constant_scaling": scaled,
    "dropout": dropped,
    "stop_shortcut_gradient": without_shortcut_gradient,
    "stop_residual_gradient": without_residual_gradient,
}


def _carrying(carry: Carry, join: Callable[..., list[Any]] = carried) -> Shortcut:
    return Shortcut(functools.partial(join, carry), carry)


SHORTCUTS: dict[str, Shortcut] = {
    **{name: _carrying(carry) for name, carry in CARRIES.items()},
    "none": Shortcut(plain, None),
    **{name: _carrying(CARRIES["B"], join) for name, join in _JOINS.items()},
    **{f"{name}-A": _carrying(CARRIES["A"], join) for name, join in _JOINS.items()},
}
"""The shortcuts by name.

Every carry (`A`, `B`, `C`, `D`, `vd`, `subsample`); `none`; and what others put in the
shortcut's place, where shapes change by option B, or with `-A` by option A: `gated`
(highway networks with a coupled carry `1 - T(x)`, the exclusive gating of 1603.05027),
`gated_uncoupled` (a carry gate of its own), `gated_shortcut_only`,
`constant_scaling`, `dropout` (1603.05027, table 1), `stop_shortcut_gradient` and
`stop_residual_gradient`.
"""
