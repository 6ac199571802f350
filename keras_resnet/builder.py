"""From a spec to a Keras model: stem, stages, head."""

import sys
from typing import Any

import keras

from keras_resnet.blocks import BLOCKS
from keras_resnet.convolution import he_normal
from keras_resnet.spec import ResNetSpec
from keras_resnet.stems import STEMS

_POOLING = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def build(
    spec: ResNetSpec,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> keras.Model:
    """Builds the functional model that `spec` describes, with new random weights.

    The model takes images that are already normalised. The data format is
    `keras.config.image_data_format()`, the precision `keras.config.dtype_policy()`;
    the class scores are float32 under any mixed-precision policy.

    Args:
        spec: The network, for example `NETWORKS["resnet50"]`.
        include_top: Whether to end with average pooling and the classifier.
        input_tensor: Keras tensor or tensor to use as the images. Defaults to a new
            input.
        input_shape: `(height, width, channels)`, or `(channels, height, width)` with
            channels first; height and width may be None. Defaults to the published
            size with three channels, or with any size where `include_top=False`.
        pooling: Without top: None gives the last stage's activations
            `(batch, height, width, channels)`, `"avg"` and `"max"` pool them to
            `(batch, channels)`.
        classes: Number of classes. Defaults to that of the spec.
        classifier_activation: Activation of the classifier, None for logits.
        name: Name of the model. Defaults to that of the spec.

    Returns:
        A `keras.Model`; its output with top is `(batch, classes)`.

    Raises:
        ValueError: If `pooling`, `classes` or `input_shape` is not as above.

    Example:

    >>> spec = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(2, 2, 2))
    >>> model = build(spec, classes=100, classifier_activation=None)
    """
    if pooling not in (None, *_POOLING):
        raise ValueError(f"`pooling` must be None, 'avg' or 'max', got {pooling!r}.")
    images = _images(spec, include_top, input_tensor, input_shape)

    x = STEMS[spec.stem](images, spec.filters[0])
    block = BLOCKS[spec.block]
    stages = zip(spec.filters, spec.blocks_per_stage, strict=True)
    for stage, (filters, blocks) in enumerate(stages, start=2):
        for index in range(1, blocks + 1):
            x = block(
                x,
                filters,
                strides=2 if stage > 2 and index == 1 else 1,
                shortcut=spec.shortcut,
                name=f"conv{stage}_block{index}",
            )

    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        classes = spec.classes if classes is None else classes
        x = _classifier(classes, classifier_activation)(x)
    elif pooling is not None:
        x = _POOLING[pooling](name=f"{pooling}_pool")(x)
    _allow_recursion_through(spec)
    inputs = images if input_tensor is None else keras.utils.get_source_inputs(images)
    return keras.Model(inputs, x, name=name or spec.name)


def _images(
    spec: ResNetSpec,
    include_top: bool,
    input_tensor: Any,
    input_shape: tuple[int | None, ...] | None,
) -> Any:
    """Returns the symbolic images that the network starts from."""
    if input_tensor is not None:
        if keras.utils.is_keras_tensor(input_tensor):
            return input_tensor
        return keras.Input(tensor=input_tensor)
    channels_last = keras.config.image_data_format() == "channels_last"
    if input_shape is None:
        size = spec.input_size if include_top else None
        input_shape = (size, size, 3) if channels_last else (3, size, size)
    input_shape = tuple(input_shape)
    axes = "(height, width, channels)" if channels_last else "(channels, height, width)"
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be {axes}, got {input_shape}.")
    channels = input_shape[-1 if channels_last else 0]
    if not channels or any(size is not None and size < 1 for size in input_shape):
        raise ValueError(
            f"`input_shape` must be {axes} in positive numbers, got {input_shape}."
        )
    return keras.Input(input_shape)


def _allow_recursion_through(spec: ResNetSpec) -> None:
    """Raises Python's recursion limit for networks as deep as ResNet-1202.

    Keras walks a functional graph recursively when it builds, clones and loads it, so
    the limit stays raised. Each weighted layer is followed by at most three others.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 4 * spec.depth))


def _classifier(classes: int, activation: str | None) -> keras.layers.Layer:
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer, got {classes!r}.")
    policy = keras.config.dtype_policy()
    is_mixed = policy.compute_dtype != policy.variable_dtype
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=he_normal(),
        dtype="float32" if is_mixed else None,
        name="predictions",
    )
