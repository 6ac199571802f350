"""From pixels to what a network was trained on, and from its answer to class names."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_KNOWN = {
    "channels": ("rgb", "bgr"),
    "interpolation": ("bilinear", "bicubic"),
    "orientation": ("ignore", "apply"),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Describes how images are prepared for a network.

    A pixel `p` of 0..255 becomes `(p / scale - mean) / std`, channel by channel.

    Args:
        mean: What is taken off each channel, in the order of `channels`.
        std: What each channel is divided by afterwards.
        scale: What pixels are divided by first.
        channels: `"rgb"`, or `"bgr"` if the network wants blue first.
        resize: Length in pixels that the shorter side is resized to, None to keep the
            size (or if the publisher does not say).
        crop: Side in pixels of the square that is cut from the centre, None for none.
        interpolation: Filter of the resizing, `"bilinear"` or `"bicubic"`, widened for
            shrinking, which is antialiasing.
        orientation: `"apply"` if an encoded photograph is turned as its EXIF data says
            when it is decoded, `"ignore"` if not.

    Raises:
        ValueError: If `mean` and `std` differ in length, or a name is unknown.

    Example:

    >>> values = json.loads(json.dumps(dataclasses.asdict(MODES["caffe"])))
    >>> Preprocessing(**values) == MODES["caffe"]
    True
    """

    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    scale: float = 255.0
    channels: str = "rgb"
    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    orientation: str = "ignore"

    def __post_init__(self) -> None:
        for field in ("mean", "std"):  # Lists, as JSON has them, are taken too.
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if len(self.mean) != len(self.std):
            raise ValueError(
                "`mean` and `std` must have one number for each channel, got "
                f"{len(self.mean)} and {len(self.std)}."
            )
        for field, known in _KNOWN.items():
            if (value := getattr(self, field)) not in known:
                raise ValueError(
                    f"`{field}` must be {' or '.join(map(repr, known))}, got {value!r}."
                )

    @property
    def size(self) -> int:
        """Height and width in pixels of what a network gets.

        Raises:
            ValueError: If there is no crop, so that the images decide.
        """
        if self.crop is None:
            raise ValueError("The size of the images is open: there is no `crop`.")
        return self.crop

    @property
    def mean_colour(self) -> tuple[int, ...]:
        """The mean in whole levels, RGB, which normalisation turns into about zero."""
        colour = tuple(round(mean * self.scale) for mean in self.mean)
        return colour[::-1] if self.channels == "bgr" else colour

    def with_pixels_of(self, other: "Preprocessing") -> "Preprocessing":
        """Returns these sizes with `mean`, `std`, `scale` and `channels` of another.

        Args:
            other: What the weights of a network want.

        Example:

        >>> Preprocessing(crop=64).with_pixels_of(MODES["caffe"]).channels
        'bgr'
        """
        return dataclasses.replace(self, **_pixel_part(other))


MODES: dict[str, Preprocessing] = {
    "caffe": Preprocessing(
        mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), scale=1.0, channels="bgr"
    ),
    "torch": Preprocessing(),
    "tf": Preprocessing(mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0), scale=127.5),
}
"""The three ways of `keras.applications`, by its names for them."""


def preprocess_input(
    x: Any,
    data_format: str | keras.Model | None = None,
    mode: str | Preprocessing = "caffe",
) -> Any:
    """Does what `keras.applications.imagenet_utils.preprocess_input` does.

    Integers are taken as well as floats, and `x` itself is left as it is. Beyond that
    it takes a model in the second place, `preprocess_input(x, model)`, and does what
    its weights want (`model.preset`), or nothing for a model that normalises by itself.

    Args:
        x: Array or tensor `(..., height, width, channels)`, or `(channels, height,
            width)` with or without a batch, of pixels 0..255 in RGB order.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`. Or a model, which decides the mode.
        mode: A key of `MODES`, or a `Preprocessing` of which only the pixel part is
            applied: nothing is resized or cropped.

    Returns:
        The same shape: an array for an array, otherwise a tensor, of the same type if
        that is floating point and of `keras.config.floatx()` otherwise.

    Raises:
        ValueError: If `mode` or `data_format` is unknown, nothing tells what the model
            wants, or `x` has another number of channels.

    Example:

    >>> preprocess_input(np.full((1, 2, 2, 3), 255, "uint8"), mode="tf").max()
    np.float32(1.0)
    """
    if isinstance(mode, str) and mode not in MODES:
        raise ValueError(
            f"`mode` must be one of {', '.join(map(repr, MODES))} or a Preprocessing, "
            f"got {mode!r}."
        )
    preprocessing = MODES[mode] if isinstance(mode, str) else mode
    if isinstance(data_format, keras.Model):
        preprocessing, data_format = _wanted(data_format), None
    data_format = data_format or keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last' or 'channels_first', got "
            f"{data_format!r}."
        )
    if isinstance(x, np.ndarray):
        if not np.issubdtype(x.dtype, np.floating):
            x = x.astype(keras.config.floatx())
    elif not keras.backend.is_float_dtype(x.dtype):
        x = keras.ops.cast(x, keras.config.floatx())
    if data_format == "channels_last":
        axis = -1
    else:
        axis = (0 if len(x.shape) == 3 else 1) - len(x.shape)
    return _standardize(x, preprocessing, axis)


def takes_pixels(model: keras.Model) -> bool:
    """Returns whether a model normalises by itself, before its first weights.

    By `Standardize`, or Keras' `Rescaling` or `Normalization`, also in a model within.
    """
    for layer in _layers(model):
        if isinstance(layer, _NORMALIZING):
            return True
        if layer.weights and not isinstance(layer, keras.Model):
            return False
    return False


def wanted_by_weights(model: keras.Model) -> Preprocessing | None:
    """Returns how the weights in a model, or in a model within, want images."""
    presets = (getattr(one, "preset", None) for one in (model, *_layers(model)))
    return next((one.preprocessing for one in presets if one is not None), None)


def _wanted(model: keras.Model) -> Preprocessing:
    """Returns what turns pixels 0..255 into what a model takes."""
    if takes_pixels(model):
        channels = model.input_shape[-1]
        if keras.config.image_data_format() == "channels_first":
            channels = model.input_shape[1]
        return Preprocessing((0.0,) * channels, (1.0,) * channels, scale=1.0)
    wanted = wanted_by_weights(model)
    if wanted is None:
        raise ValueError(
            f"Nothing tells how {model.name!r} wants its images, for it has no weights "
            "of a preset (`model.preset`), or was copied or saved since, which keeps "
            "none: pass `mode=` instead of the model."
        )
    return wanted


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers, and after each model within its own."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _standardize(x: Any, preprocessing: Preprocessing, axis: int) -> Any:
    """Applies the pixel part to floating point `x`, an array or a tensor."""
    channels = len(preprocessing.mean)
    if x.shape[axis] != channels:
        raise ValueError(
            f"The preprocessing is for {channels} channels, but the images of shape "
            f"{tuple(x.shape)} have {x.shape[axis]}."
        )
    is_array = isinstance(x, np.ndarray)
    if preprocessing.channels == "bgr":
        x = np.flip(x, axis) if is_array else keras.ops.flip(x, axis)
    mean, std = (
        np.reshape(values, (channels,) + (1,) * (-1 - axis))
        for values in (preprocessing.mean, preprocessing.std)
    )
    if is_array:
        mean, std = mean.astype(x.dtype), std.astype(x.dtype)
    else:
        mean = keras.ops.convert_to_tensor(mean, x.dtype)
        std = keras.ops.convert_to_tensor(std, x.dtype)
    return (x / preprocessing.scale - mean) / std


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names the most probable ImageNet classes, as `keras.applications` does.

    The names are in a file of Keras' that is downloaded once, to Keras' cache.

    Args:
        preds: Array or tensor `(batch, 1000)` of probabilities.
        top: Number of classes to name for each image.

    Returns:
        For each image a list of `(wnid, name, probability)`, most probable first.

    Raises:
        ValueError: If `preds` has another shape.

    Example:

    >>> decode_predictions(np.eye(1000)[[281]], top=1)
    [[('n02123045', 'tabby', np.float64(1.0))]]
    """
    return keras.applications.imagenet_utils.decode_predictions(preds, top=top)


def prepare_images(images: Any, preprocessing: Preprocessing) -> Any:
    """Resizes and crops images as a preset's publisher does for evaluation.

    The shorter side is resized with an antialiasing filter, then the square in the
    centre is cut out; the pixels stay 0..255, for `preprocess_input` or a model with
    `include_preprocessing=True`.

    Args:
        images: Array or tensor `(batch, height, width, channels)` of pixels 0..255, or
            `(batch, channels, height, width)` if that is
            `keras.config.image_data_format()`.
        preprocessing: How to resize and crop.

    Returns:
        Tensor of floats of whole numbers, `(batch, crop, crop, channels)` or channels
        first.

    Raises:
        ValueError: If the resized images are smaller than the crop.

    Example:

    >>> prepare_images(np.zeros((1, 375, 500, 3)), Preprocessing(resize=256, crop=224))
    <tf.Tensor: shape=(1, 224, 224, 3), ...>
    """
    rows = 1 if keras.config.image_data_format() == "channels_last" else 2
    x = keras.ops.cast(images, keras.config.floatx())
    if preprocessing.resize is not None:
        size = x.shape[rows : rows + 2]
        x = keras.ops.image.resize(
            x,
            [preprocessing.resize * side // min(size) for side in size],
            interpolation=preprocessing.interpolation,
            antialias=True,
        )
        # As image libraries do, which resize whole numbers to whole numbers.
        x = keras.ops.clip(keras.ops.round(x), 0, 255)
    if preprocessing.crop is not None:
        height, width = x.shape[rows : rows + 2]
        if min(height, width) < preprocessing.crop:
            raise ValueError(
                f"Images of {height}x{width} pixels are too small for a crop of "
                f"{preprocessing.crop}: pass larger ones, or a Preprocessing with "
                "`resize`."
            )
        window = [slice(None)] * 4
        for axis, side in ((rows, height), (rows + 1, width)):
            start = round((side - preprocessing.crop) / 2)
            window[axis] = slice(start, start + preprocessing.crop)
        x = x[tuple(window)]
    return x


@keras.saving.register_keras_serializable(package="keras_resnet")
class Standardize(keras.layers.Layer):
    """The pixel part of a `Preprocessing`, as a layer for the start of a model.

    Takes images 0..255 of any type in RGB order. It computes in float32 at least, also
    under mixed precision, and then casts to the type that the next layers compute in.

    Args:
        mean: What is taken off each channel, in the order of `channels`.
        std: What each channel is divided by afterwards.
        scale: What pixels are divided by first.
        channels: `"rgb"`, or `"bgr"` to put blue first.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: `(batch, ..., channels)`, or `(batch, channels, ...)` with
        `"channels_first"`.

    Output shape: the same.

    Raises:
        ValueError: If the values are not those of a `Preprocessing`, or when built on
            an input with another number of channels.

    Example:

    >>> layer = Standardize.from_preprocessing(MODES["caffe"])
    >>> layer(np.zeros((1, 2, 2, 3), "uint8")).shape
    (1, 2, 2, 3)
    """

    def __init__(
        self,
        mean: tuple[float, ...] = _IMAGENET_MEAN,
        std: tuple[float, ...] = _IMAGENET_STD,
        scale: float = 255.0,
        channels: str = "rgb",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Casting pixels to float16 first would round what is left of them.
        super().__init__(autocast=False, **kwargs)
        self.preprocessing = Preprocessing(mean, std, scale, channels)
        self.data_format = data_format or keras.config.image_data_format()

    @classmethod
    def from_preprocessing(
        cls, preprocessing: Preprocessing, **kwargs: Any
    ) -> "Standardize":
        """Makes the layer for `preprocessing`.

        Args:
            preprocessing: How to prepare images; resize and crop are not applied.
            **kwargs: The other arguments of `Standardize`.

        Returns:
            The layer.

        Example:

        >>> Standardize.from_preprocessing(MODES["tf"], name="pixels").name
        'pixels'
        """
        return cls(**_pixel_part(preprocessing), **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the number of channels."""
        channels = input_shape[self._axis(len(input_shape))]
        if channels != len(self.preprocessing.mean):
            raise ValueError(
                f"Layer {self.name!r} standardizes {len(self.preprocessing.mean)} "
                f"channels, but its input has {channels}: give as many in `mean` and "
                "`std`, or leave the preprocessing out of the model."
            )

    def call(self, inputs: Any) -> Any:
        """Maps pixels 0..255 to what the network was trained on."""
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        x = keras.ops.cast(inputs, dtype)
        x = _standardize(x, self.preprocessing, self._axis(len(x.shape)))
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the output shape for `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return {
            **super().get_config(),
            **_pixel_part(self.preprocessing),
            "data_format": self.data_format,
        }

    def _axis(self, ndim: int) -> int:
        return -1 if self.data_format == "channels_last" else 1 - ndim


_NORMALIZING = (Standardize, keras.layers.Rescaling, keras.layers.Normalization)


def _pixel_part(preprocessing: Preprocessing) -> dict[str, Any]:
    return {
        field: getattr(preprocessing, field)
        for field in ("mean", "std", "scale", "channels")
    }
