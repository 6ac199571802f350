"""The shortcuts of residual blocks: how a block's input reaches its output.

A *carry* takes the block's input `x` to the shape of its output. All have one
signature: `(x, filters, strides, name, *, activated, dilation, settings)`. `x` is a
tensor `(batch, *space, channels)` (or channels first), `filters`, `strides` and
`dilation` are those of the block as a whole, `name` prefixes the layers' names.
`activated` is what the residual branch of a pre-activation block starts from; a
projection starts there too, and is not normalised (1603.05027, section 4.1).

A *shortcut* also sees the residual branch, as a function, and gives the terms of the
block's sum: `(x, residual, filters, strides, name, *, activated, dilation, settings)`.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_resnet.convolution import (
    Settings,
    channel_axis,
    convolution,
    convolve,
    layer_of_rank,
)
from keras_resnet.layers import StopGradient, SubsampleAndZeroPad

Carry = Callable[..., Any]
Shortcut = Callable[..., list[Any]]
_DEFAULT = Settings()


def zero_pad(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """Option A: identity; subsampled and zero-padded where shapes change."""
    if _keeps_shape(x, filters, strides):
        return x
    return SubsampleAndZeroPad(filters, strides, name=f"{name}_0_zero_pad")(x)


def project_changes(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """Option B: identity; a 1x1 convolution where shapes change."""
    if _keeps_shape(x, filters, strides):
        return x
    return project(x, filters, strides, name, activated=activated, settings=settings)


def project(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """Option C: a 1x1 convolution in every block."""
    name = f"{name}_0"
    if activated is None:
        return convolution(x, filters, 1, strides, settings=settings, name=name)
    return convolve(
        activated, filters, 1, strides, bias=settings.bias, settings=settings, name=name
    )


def pool_and_project_changes(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """Option D: identity; 2x2 average pool and 1x1 convolution where shapes change.

    ResNet-D of *Bag of Tricks* (1812.01187, figure 2c).
    """
    if _keeps_shape(x, filters, strides):
        return x
    return pool_and_project(
        x,
        filters,
        strides,
        name,
        activated=activated,
        dilation=dilation,
        settings=settings,
    )


def pool_and_project(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """2x2 average pool where the resolution changes, and 1x1 convolution always.

    PaddleClas' and KerasHub's "vd" networks have it in each stage's first block. Where
    dilation replaces the stride, it averages at each position, at the border over the
    pixels that exist; timm counts zeros there.
    """
    if strides > 1 or dilation > 1:
        pool = layer_of_rank("AveragePooling", x)(
            2, strides=strides, padding="same", name=f"{name}_0_pool"
        )
        if activated is None:
            x = pool(x)
        else:
            activated = pool(activated)
    return project(x, filters, 1, name, activated=activated, settings=settings)


def subsample(
    x: Any,
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> Any:
    """Identity, subsampled; a 1x1 convolution where the number of channels changes.

    The V2 networks of `keras.applications` have it.
    """
    if x.shape[channel_axis()] != filters:
        return project(
            x, filters, strides, name, activated=activated, settings=settings
        )
    if strides == 1:
        return x
    pool = layer_of_rank("MaxPooling", x)(1, strides=strides, name=f"{name}_0_pool")
    return pool(x)


def _keeps_shape(x: Any, filters: int, strides: int) -> bool:
    return strides == 1 and x.shape[channel_axis()] == filters


CARRIES: dict[str, Carry] = {
    "A": zero_pad,
    "B": project_changes,
    "C": project,
    "D": pool_and_project_changes,
    "vd": pool_and_project,
    "subsample": subsample,
}
"""The carries by name: A, B and C are the paper's (section 4.1), D is ResNet-D's."""


def plain(
    x: Any,
    residual: Callable[[Any], Any],
    filters: int,
    strides: int,
    name: str,
    *,
    activated: Any = None,
    dilation: int = 1,
    settings: Settings = _DEFAULT,
) -> list[Any]:
    """No shortcut: the plain networks of section 3.3."""
    return [residual(x if activated is None else activated)]


def _carried(carry: Carry) -> Shortcut:
    """The shortcut of a residual network: `x + F(x)` (equations 1 and 2)."""

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        *,
        activated: Any = None,
        **options: Any,
    ) -> list[Any]:
        carried = carry(x, filters, strides, name, activated=activated, **options)
        return [carried, residual(x if activated is None else activated)]

    return shortcut


def _gate(
    x: Any, kind: str, bias: float, filters: int, strides: int, name: str, settings: Any
) -> Any:
    gate = convolve(
        x, filters, 1, strides, bias=bias, settings=settings, name=f"{name}_{kind}"
    )
    return keras.layers.Activation("sigmoid", name=f"{name}_{kind}_sigmoid")(gate)


def _gated(carry: Carry, gates: str) -> Shortcut:
    """Gates `T` and `C` of highway networks: `C(x) * x + T(x) * F(x)` (1505.00387).

    Both are 1x1 convolutions and sigmoids. The biases start at -2 and +2, so that the
    input passes at first (1505.00387, section 2.2).
    """

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        *,
        activated: Any = None,
        settings: Settings = _DEFAULT,
        **options: Any,
    ) -> list[Any]:
        start = x if activated is None else activated
        carried = carry(
            x,
            filters,
            strides,
            name,
            activated=activated,
            settings=settings,
            **options,
        )
        transformed = residual(start)
        transform = _gate(start, "gate", -2.0, filters, strides, name, settings)
        if gates == "uncoupled":
            pass_on = _gate(start, "carry", 2.0, filters, strides, name, settings)
        else:
            complement = keras.layers.Rescaling(-1.0, 1.0, name=f"{name}_gate_rest")
            pass_on = complement(transform)
        multiply = keras.layers.Multiply
        carried = multiply(name=f"{name}_carried")([carried, pass_on])
        if gates != "shortcut":
            transformed = multiply(name=f"{name}_transformed")([transformed, transform])
        return [carried, transformed]

    return shortcut


def _scaled(carry: Carry) -> Shortcut:
    """Half the input and half the residual: `0.5 x + 0.5 F(x)` (1603.05027, 3.1)."""

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        **options: Any,
    ) -> list[Any]:
        carried, transformed = _carried(carry)(
            x, residual, filters, strides, name, **options
        )
        return [
            keras.layers.Rescaling(0.5, name=f"{name}_carried")(carried),
            keras.layers.Rescaling(0.5, name=f"{name}_transformed")(transformed),
        ]

    return shortcut


def _dropped(carry: Carry) -> Shortcut:
    """Half the input's elements are dropped in training (1603.05027, section 3.1)."""

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        **options: Any,
    ) -> list[Any]:
        carried, transformed = _carried(carry)(
            x, residual, filters, strides, name, **options
        )
        return [keras.layers.Dropout(0.5, name=f"{name}_carried")(carried), transformed]

    return shortcut


def _without_shortcut_gradient(carry: Carry) -> Shortcut:
    """The shortcut passes the activation, and no gradient to the block's input."""

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        *,
        activated: Any = None,
        **options: Any,
    ) -> list[Any]:
        stopped = StopGradient(name=f"{name}_0_stop")(x)
        if activated is None:
            carried = carry(stopped, filters, strides, name, **options)
        else:
            start = StopGradient(name=f"{name}_0_stop_activated")(activated)
            carried = carry(stopped, filters, strides, name, activated=start, **options)
        return [carried, residual(x if activated is None else activated)]

    return shortcut


def _without_residual_gradient(carry: Carry) -> Shortcut:
    """The residual branch learns, and passes no gradient to the block's input.

    In a pre-activation block the gradient stops after the batch norm that it begins
    with, which the shortcut may share.
    """

    def shortcut(
        x: Any,
        residual: Callable[[Any], Any],
        filters: int,
        strides: int,
        name: str,
        **options: Any,
    ) -> list[Any]:
        stop = StopGradient(name=f"{name}_1_stop")
        return _carried(carry)(
            x, lambda start: residual(stop(start)), filters, strides, name, **options
        )

    return shortcut


_JOINS: dict[str, Callable[[Carry], Shortcut]] = {
    "gated": functools.partial(_gated, gates="coupled"),
    "gated_uncoupled": functools.partial(_gated, gates="uncoupled"),
    "gated_shortcut_only": functools.partial(_gated, gates="shortcut"),
    "constant_scaling": _scaled,
    "dropout": _dropped,
    "stop_shortcut_gradient": _without_shortcut_gradient,
    "stop_residual_gradient": _without_residual_gradient,
}

SHORTCUTS: dict[str, Shortcut] = {
    **{name: _carried(carry) for name, carry in CARRIES.items()},
    "none": plain,
    **{name: join(project_changes) for name, join in _JOINS.items()},
    **{f"{name}-A": join(zero_pad) for name, join in _JOINS.items()},
}
"""The shortcuts by name.

Every carry (`A`, `B`, `C`, `D`, `vd`, `subsample`); `none`; and what others put in the
shortcut's place, where shapes change by option B, or with `-A` by option A: `gated`
(highway networks with a coupled carry `1 - T(x)`, the exclusive gating of 1603.05027),
`gated_uncoupled` (a carry gate of its own), `gated_shortcut_only`,
`constant_scaling`, `dropout` (1603.05027, table 1), `stop_shortcut_gradient` and
`stop_residual_gradient`.
"""
