"""The Keras layers that Keras lacks."""

from typing import Any

import keras


class _SpatialLayer(keras.layers.Layer):
    """A layer that treats all spatial axes, one to three of them, alike.

    Args:
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "`data_format` must be 'channels_last' or 'channels_first', got "
                f"{data_format!r}."
            )

    def _channel_axis(self, shape: Any) -> int:
        return len(shape) - 1 if self.data_format == "channels_last" else 1

    def _spatial_axes(self, shape: Any) -> range:
        first = 1 if self.data_format == "channels_last" else 2
        return range(first, first + len(shape) - 2)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {**super().get_config(), "data_format": self.data_format}


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, part)


def _reflected(x: Any, axes: range) -> Any:
    """Pads `axes` by the second pixel from each border, or by the only one."""
    for axis in axes:
        first_two = x[_along(axis, slice(None, 2))]
        last_two = x[_along(axis, slice(-2, None))]
        before = first_two[_along(axis, slice(-1, None))]
        after = last_two[_along(axis, slice(None, 1))]
        x = keras.ops.concatenate([before, x, after], axis=axis)
    return x


@keras.saving.register_keras_serializable(package="keras_resnet")
class SubsampleAndZeroPad(_SpatialLayer):
    """Identity across a change of shape, without parameters (option A, section 3.3).

    For volumes, and for files of models that have it: others have layers of Keras in
    its place, see `keras_resnet.shortcuts.zero_pad`.

    Keeps every `strides`-th position on each spatial axis and pads the channels with
    zeros, half before and half after, up to `filters` channels.

    Args:
        filters: Number of output channels, at least that of the input.
        strides: Distance in pixels between the positions that are kept.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, *space, channels)` with one to three spatial axes, or
        `(batch, channels, *space)` with `"channels_first"`.

    Output shape: the same with `ceil(space / strides)` and `filters`.

    Raises:
        ValueError: When built on an input that has more than `filters` channels.

    Example:

    >>> SubsampleAndZeroPad(filters=32, strides=2)(keras.ops.ones((1, 8, 8, 16))).shape
    (1, 4, 4, 32)
    """

    def __init__(self, filters: int, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks that no channel would have to be dropped."""
        axis = self._channel_axis(input_shape)
        channels = input_shape[axis]
        if channels is None or channels > self.filters:
            raise ValueError(
                f"Layer {self.name!r} pads channels up to filters={self.filters} and "
                f"cannot take any away, but its input has {channels} channels."
            )
        missing = self.filters - channels
        self._padding = [(0, 0)] * len(input_shape)
        self._padding[axis] = (missing // 2, missing - missing // 2)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Maps `inputs` of the input shape to the output shape."""
        kept = [slice(None)] * len(inputs.shape)
        for axis in self._spatial_axes(inputs.shape):
            kept[axis] = slice(None, None, self.strides)
        return keras.ops.pad(inputs[tuple(kept)], self._padding)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        shape = list(input_shape)
        for axis in self._spatial_axes(shape):
            size = shape[axis]
            shape[axis] = None if size is None else -(-size // self.strides)
        shape[self._channel_axis(shape)] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
        }


@keras.saving.register_keras_serializable(package="keras_resnet")
class DepthEdgePadding(_SpatialLayer):
    """Repeats the first and the last slice along the first spatial axis.

    Input that is constant along that axis stays constant, which zeros would break.

    Args:
        extent: Number of slices to add on each side.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, depth, *space, channels)` (or channels first).

    Output shape: the same with `depth + 2 * extent`.

    Example:

    >>> DepthEdgePadding(1)(keras.ops.ones((1, 4, 8, 8, 3))).shape
    (1, 6, 8, 8, 3)
    """

    def __init__(self, extent: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extent = extent

    def call(self, inputs: Any) -> Any:
        """Maps `inputs` of the input shape to the output shape."""
        axis = self._spatial_axes(inputs.shape)[0]
        first = inputs[_along(axis, slice(None, 1))]
        last = inputs[_along(axis, slice(-1, None))]
        return keras.ops.concatenate(
            [*[first] * self.extent, inputs, *[last] * self.extent], axis=axis
        )

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        shape = list(input_shape)
        axis = self._spatial_axes(shape)[0]
        size = shape[axis]
        shape[axis] = None if size is None else size + 2 * self.extent
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {**super().get_config(), "extent": self.extent}


@keras.saving.register_keras_serializable(package="keras_resnet")
class ReflectionPadding(_SpatialLayer):
    """Pads each spatial axis by one pixel, with the pixel next to the border's.

    Where there is one pixel only, it is repeated. A 3-wide maximum over the result is
    the maximum over the pixels that exist, also where they are negative and zeros
    would win.

    Args:
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, *space, channels)` (or channels first).

    Output shape: the same with `space + 2`.

    Example:

    >>> ReflectionPadding()(keras.ops.ones((1, 8, 8, 3))).shape
    (1, 10, 10, 3)
    """

    def call(self, inputs: Any) -> Any:
        """Maps `inputs` of the input shape to the output shape."""
        return _reflected(inputs, self._spatial_axes(inputs.shape))

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        shape = list(input_shape)
        for axis in self._spatial_axes(shape):
            size = shape[axis]
            shape[axis] = None if size is None else size + 2
        return tuple(shape)


@keras.saving.register_keras_serializable(package="keras_resnet")
class BlurPool(_SpatialLayer):
    """Blurs with the binomial filter 1-2-1, then subsamples (1904.11486, section 3).

    Args:
        strides: Distance in pixels between the positions that are kept.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, *space, channels)` (or channels first).

    Output shape: the same with `ceil(space / strides)`.

    Example:

    >>> BlurPool(strides=2)(keras.ops.ones((1, 8, 8, 3))).shape
    (1, 4, 4, 3)
    """

    def __init__(self, strides: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = strides

    def call(self, inputs: Any) -> Any:
        """Maps `inputs` of the input shape to the output shape."""
        axes = self._spatial_axes(inputs.shape)
        x = _reflected(inputs, axes)
        for axis in axes:
            left = x[_along(axis, slice(None, -2, self.strides))]
            middle = x[_along(axis, slice(1, -1, self.strides))]
            right = x[_along(axis, slice(2, None, self.strides))]
            x = 0.25 * left + 0.5 * middle + 0.25 * right
        return x

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        shape = list(input_shape)
        for axis in self._spatial_axes(shape):
            size = shape[axis]
            shape[axis] = None if size is None else -(-size // self.strides)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {**super().get_config(), "strides": self.strides}


@keras.saving.register_keras_serializable(package="keras_resnet")
class StopGradient(keras.layers.Layer):
    """Passes the activation forward and no gradient back.

    Example:

    >>> StopGradient()(keras.ops.ones((1, 8, 8, 3))).shape
    (1, 8, 8, 3)
    """

    def call(self, inputs: Any) -> Any:
        """Returns `inputs`."""
        return keras.ops.stop_gradient(inputs)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns `input_shape`."""
        return input_shape
