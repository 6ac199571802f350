"""The shortcut of a residual block: options A, B and C of the paper (section 4.1).

Each takes the block's input to the shape of the block's output. All have one
signature: `(x, filters, strides, name)`, where `x` is a tensor
`(batch, height, width, channels)` (or channels first), `filters` and `strides` are
those of the block as a whole, and `name` prefixes the layers' names.
"""

from collections.abc import Callable
from typing import Any

from keras_resnet.convolution import channel_axis, convolution
from keras_resnet.layers import SubsampleAndZeroPad


def zero_pad(x: Any, filters: int, strides: int, name: str) -> Any:
    """Option A: identity; subsampled and zero-padded where shapes change."""
    if _keeps_shape(x, filters, strides):
        return x
    return SubsampleAndZeroPad(filters, strides, name=f"{name}_0_zero_pad")(x)


def project_changes(x: Any, filters: int, strides: int, name: str) -> Any:
    """Option B: identity; a 1x1 convolution where shapes change."""
    if _keeps_shape(x, filters, strides):
        return x
    return project(x, filters, strides, name)


def project(x: Any, filters: int, strides: int, name: str) -> Any:
    """Option C: a 1x1 convolution in every block."""
    return convolution(x, filters, 1, strides=strides, name=f"{name}_0")


def _keeps_shape(x: Any, filters: int, strides: int) -> bool:
    return strides == 1 and x.shape[channel_axis()] == filters


SHORTCUTS: dict[str, Callable[[Any, int, int, str], Any]] = {
    "A": zero_pad,
    "B": project_changes,
    "C": project,
}
"""The shortcuts by their letter in the paper."""
