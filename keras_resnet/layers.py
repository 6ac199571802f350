"""The Keras layers that Keras lacks."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_resnet")
class SubsampleAndZeroPad(keras.layers.Layer):
    """Identity across a change of shape, without parameters (option A, section 3.3).

    Keeps every `strides`-th row and column and pads the channels with zeros, half
    before and half after, up to `filters` channels.

    Args:
        filters: Number of output channels, at least that of the input.
        strides: Distance in pixels between the rows, and columns, that are kept.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, height, width, channels)`, or
        `(batch, channels, height, width)` with `"channels_first"`.

    Output shape: the same with `ceil(height / strides)`, `ceil(width / strides)` and
        `filters`.

    Raises:
        ValueError: When built on an input that has more than `filters` channels.

    Example:

    >>> SubsampleAndZeroPad(filters=32, strides=2)(keras.ops.ones((1, 8, 8, 16))).shape
    (1, 4, 4, 32)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.data_format = data_format or keras.config.image_data_format()
        self._channel_axis = 3 if self.data_format == "channels_last" else 1
        self._spatial_axes = (1, 2) if self.data_format == "channels_last" else (2, 3)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks that no channel would have to be dropped."""
        channels = input_shape[self._channel_axis]
        if channels is None or channels > self.filters:
            raise ValueError(
                f"Layer {self.name!r} pads channels up to filters={self.filters} and "
                f"cannot take any away, but its input has {channels} channels."
            )
        missing = self.filters - channels
        self._padding = [(0, 0)] * 4
        self._padding[self._channel_axis] = (missing // 2, missing - missing // 2)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Maps `inputs` of the input shape to the output shape."""
        kept = [slice(None)] * 4
        for axis in self._spatial_axes:
            kept[axis] = slice(None, None, self.strides)
        return keras.ops.pad(inputs[tuple(kept)], self._padding)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        shape = list(input_shape)
        for axis in self._spatial_axes:
            size = shape[axis]
            shape[axis] = None if size is None else -(-size // self.strides)
        shape[self._channel_axis] = self.filters
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "data_format": self.data_format,
        }
