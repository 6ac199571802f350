"""The layer that remains of a batch norm that cannot be folded away."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_resnet")
class ScaleAndShift(keras.layers.Layer):
    """Multiplies each channel by one number and adds another.

    Args:
        axis: The channels' axis.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: any with a known number of channels.

    Output shape: that of the input.

    Example:

    >>> ScaleAndShift()(keras.ops.ones((1, 8, 8, 16))).shape
    (1, 8, 8, 16)
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the two weights, first the scale, then the shift."""
        channels = (input_shape[self.axis],)
        self._shape: list[int | None] = [1] * len(input_shape)
        self._shape[self.axis] = input_shape[self.axis]
        self.scale = self.add_weight(shape=channels, initializer="ones", name="scale")
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")

    def call(self, inputs: Any) -> Any:
        """Returns `scale * inputs + shift`."""
        scale = keras.ops.reshape(self.scale, self._shape)
        return scale * inputs + keras.ops.reshape(self.shift, self._shape)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that recreate this layer."""
        return {**super().get_config(), "axis": self.axis}
