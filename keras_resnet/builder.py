"""From a spec to a Keras model: stem, stages, head."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnet import blocks, structure
from keras_resnet.conv import Settings, channel_axis, layer_of_rank
from keras_resnet.initializers import INITIALIZERS, Start, own_initializer
from keras_resnet.preprocessing import Preprocessing, Standardize
from keras_resnet.remat import rematerialize
from keras_resnet.spec import ResNetSpec
from keras_resnet.stems import STEMS

_POOLING = {"avg": "GlobalAveragePooling", "max": "GlobalMaxPooling"}
_SPACE = {1: "length", 2: "height, width", 3: "depth, height, width"}


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
    feature_levels: Sequence[str] | None = None,
    output_stride: int | None = None,
    fully_convolutional: bool = False,
    preprocessing: Preprocessing | None = None,
    remat: Sequence[str] = (),
    settings: Settings | None = None,
) -> keras.Model:
    """Builds the functional model that `spec` describes, with new random weights.

    The data format is
    `keras.config.image_data_format()`, the precision `keras.config.dtype_policy()`;
    the class scores are float32 under any mixed-precision policy.

    Args:
        spec: The network, for example `NETWORKS["resnet50"]`.
        include_top: Whether to end with average pooling and the classifier.
        input_tensor: Keras tensor or tensor to use as the images. Defaults to a new
            input.
        input_shape: `(height, width, channels)`, or `(channels, height, width)` with
            channels first; sizes may be None. With `rank=1` it is
            `(length, channels)`, with `rank=3` `(depth, height, width, channels)`.
            Defaults to the published size with three channels, or with any size where
            the model does not end in a pooled classifier.
        pooling: Without top: None gives the last stage's activations
            `(batch, height, width, channels)`, `"avg"` and `"max"` pool them to
            `(batch, channels)`.
        classes: Number of classes. Defaults to that of the spec.
        classifier_activation: Activation of the classifier, None for logits.
        name: Name of the model. Defaults to that of the spec.
        feature_levels: Levels whose activations are the model's outputs, instead of a
            top: a dict from `"conv1"` (the stem before its pooling), `"conv2"`, ... to
            tensors. The attribute `feature_strides` of the new model tells how many
            pixels of the images make one of theirs. In pre-activation networks only the
            last level is normalised and activated.
        output_stride: How many pixels of the images make one of the last stage's; the
            stages that would exceed it dilate their convolutions instead. Defaults to
            that of the spec, 32 for ImageNet's networks.
        fully_convolutional: With top: whether the classifier judges each position, as
            for segmentation. The output is then `(batch, height, width, classes)`.
        preprocessing: How the model is to normalise images of 0 to 255 by itself. None
            if they come normalised.
        remat: Stages, such as `("conv3",)`, whose activations are computed again in the
            backward pass instead of being kept, see `keras_resnet.rematerialize`.
        settings: What all convolutions and batch norms share. Defaults to the paper's.

    Returns:
        A `keras.Model`; its output with top is `(batch, classes)`. Its attribute
        `pyramid_outputs` holds the stages' tensors as KerasHub's detectors and
        segmenters want them of an image encoder, `"P3"` at an eighth of the resolution.

    Raises:
        ValueError: If an argument is not as above.

    Example:

    >>> spec = dataclasses.replace(NETWORKS["resnet20"], blocks_per_stage=(2, 2, 2))
    >>> model = build(spec, classes=100, classifier_activation=None)
    """
    _check_head(spec, include_top, pooling, feature_levels, fully_convolutional)
    settings = settings or Settings()
    if spec.use_bias:
        settings = dataclasses.replace(settings, use_bias=True)
    start = INITIALIZERS[spec.initializer]
    if settings.kernel_initializer is None:
        settings = dataclasses.replace(settings, kernel_initializer=start.convolution)
    is_pooled = include_top and not fully_convolutional and feature_levels is None
    images = _images(spec, is_pooled, input_tensor, input_shape)

    x = images
    if preprocessing is not None:
        x = Standardize.from_preprocessing(preprocessing, name="preprocessing")(x)
    levels = _levels(x, spec, output_stride, settings)
    x = levels[-1]

    if feature_levels is not None:
        names = list(spec.strides)
        x = {level: levels[names.index(level)] for level in feature_levels}
    elif include_top:
        classes = spec.classes if classes is None else classes
        x = _classify(x, classes, classifier_activation, fully_convolutional, start)
    elif pooling is not None:
        x = layer_of_rank(_POOLING[pooling], x)(name=f"{pooling}_pool")(x)

    allow_recursion(spec)
    inputs = images if input_tensor is None else keras.utils.get_source_inputs(images)
    model = keras.Model(inputs, x, name=name or spec.name)
    if remat:
        model = rematerialize(model, remat)
    model.preset = None
    strides = _strides(spec, output_stride)
    if feature_levels is not None:
        model.feature_strides = {level: strides[level] for level in feature_levels}
    # Of stages of one resolution the last: `P3` is an eighth of the images' size.
    model.pyramid_outputs = {
        f"P{stride.bit_length() - 1}": level
        for stride, level in list(zip(strides.values(), levels, strict=True))[1:]
    }
    return model


def allow_recursion(spec: ResNetSpec) -> None:
    """Lets Keras build, clone and load a network as deep as `spec` in this process.

    `build` does so by itself; loading a file of Keras needs it where nothing as deep
    was built before. See `keras_resnet.structure.allow_recursion`.

    Example:

    >>> allow_recursion(keras_resnet.NETWORKS["resnet1202"])
    >>> model = keras.saving.load_model("resnet1202.keras")
    """
    # No weighted layer comes with as many paddings, batch norms, sums and so on.
    structure.allow_recursion(10 * spec.depth)


def _check_head(
    spec: ResNetSpec,
    include_top: bool,
    pooling: str | None,
    feature_levels: Sequence[str] | None,
    fully_convolutional: bool,
) -> None:
    if pooling not in (None, *_POOLING):
        raise ValueError(f"`pooling` must be None, 'avg' or 'max', got {pooling!r}.")
    if fully_convolutional and not (include_top and feature_levels is None):
        raise ValueError(
            "`fully_convolutional=True` is about the classifier, which this model "
            "lacks: set `include_top=True` and leave `feature_levels` out."
        )
    if feature_levels is None:
        return
    if pooling is not None:
        raise ValueError("`pooling` and `feature_levels` exclude each other: give one.")
    unknown = [level for level in feature_levels if level not in spec.strides]
    if unknown or not feature_levels or isinstance(feature_levels, str):
        raise ValueError(
            f"`feature_levels` must list some of "
            f"{', '.join(map(repr, spec.strides))}, got {feature_levels!r}."
        )


def _images(
    spec: ResNetSpec,
    is_pooled: bool,
    input_tensor: Any,
    input_shape: tuple[int | None, ...] | None,
) -> Any:
    """Returns the symbolic images that the network starts from."""
    axes = spec.rank + 2
    if input_tensor is not None:
        if not keras.utils.is_keras_tensor(input_tensor):
            input_tensor = keras.Input(tensor=input_tensor)
        if len(input_tensor.shape) != axes:
            raise ValueError(
                f"`input_tensor` must have {axes} axes with `rank={spec.rank}`, got "
                f"shape {input_tensor.shape}."
            )
        return input_tensor
    channels_last = keras.config.image_data_format() == "channels_last"
    if input_shape is None:
        sizes = (spec.input_size if is_pooled else None,) * spec.rank
        input_shape = (*sizes, 3) if channels_last else (3, *sizes)
    input_shape = tuple(input_shape)
    space = _SPACE[spec.rank]
    expected = f"({space}, channels)" if channels_last else f"(channels, {space})"
    if len(input_shape) != spec.rank + 1:
        raise ValueError(f"`input_shape` must be {expected}, got {input_shape}.")
    _check_channels(input_shape, channels_last, expected)
    channels = input_shape[-1 if channels_last else 0]
    if not channels or any(size is not None and size < 1 for size in input_shape):
        raise ValueError(
            f"`input_shape` must be {expected} in positive numbers, got {input_shape}."
        )
    return keras.Input(input_shape)


def _check_channels(
    shape: tuple[int | None, ...], channels_last: bool, expected: str
) -> None:
    """Refuses what can only be gray or colour images of the other data format."""
    if channels_last:
        (channels, *others), other = shape, "channels_first"
        right = (*others, channels)
    else:
        (*others, channels), other = shape, "channels_last"
        right = (channels, *others)
    are_sizes = set(others) == {None} or all(size and size >= 16 for size in others)
    if channels in (1, 3) and are_sizes:
        raise ValueError(
            f"`input_shape` must be {expected}, got {shape}, where the channels come "
            f"{'first' if channels_last else 'last'}: give {right}, or call "
            f"`keras.config.set_image_data_format({other!r})` before."
        )


def _strides(spec: ResNetSpec, output_stride: int | None) -> dict[str, int]:
    """Returns the strides of the levels where none exceeds `output_stride`."""
    strides = spec.strides
    stem = STEMS[spec.stem].strides
    possible = sorted({stem, *list(strides.values())[1:]})
    if output_stride not in (None, *possible):
        raise ValueError(
            f"`output_stride` of {spec.name!r} must be one of "
            f"{', '.join(map(str, possible))}, got {output_stride!r}."
        )
    limit = output_stride or possible[-1]
    return {level: min(stride, limit) for level, stride in strides.items()}


def _levels(
    x: Any, spec: ResNetSpec, output_stride: int | None, settings: Settings
) -> list[Any]:
    """Returns the activations of the stem before its pooling and of each stage."""
    stem = STEMS[spec.stem]
    unpooled, x = stem.build(
        x,
        spec.stem_filters or spec.filters[0],
        antialias=spec.antialias,
        settings=settings,
    )
    levels = [unpooled]
    block = blocks.BLOCKS[spec.block]
    fields = {field.name for field in dataclasses.fields(spec)}
    options = {field: getattr(spec, field) for field in block.options & fields}
    drop_probabilities = _drop_probabilities(spec)
    del options["stochastic_depth"]

    strides = [stem.strides, *list(_strides(spec, output_stride).values())[1:]]
    full_strides = [stem.strides, *list(spec.strides.values())[1:]]
    for stage, (filters, count) in enumerate(
        zip(spec.filters, spec.blocks_per_stage, strict=True)
    ):
        x = blocks.stage(
            x,
            spec.block,
            filters,
            count,
            strides=strides[stage + 1] // strides[stage],
            shortcut=spec.shortcut,
            name=f"conv{stage + 2}",
            first_shortcut=spec.first_shortcut,
            strided_block=spec.strided_block,
            dilation=full_strides[stage + 1] // strides[stage + 1],
            first_dilation=full_strides[stage] // strides[stage],
            stochastic_depth=drop_probabilities[stage],
            settings=settings,
            **options,
        )
        levels.append(x)
    if block.preactivation:
        x = settings.norm(x, name="post")
        levels[-1] = settings.activate(x, name="post_relu")
    return levels


def _drop_probabilities(spec: ResNetSpec) -> list[list[float]]:
    """Returns each block's, growing linearly with depth (1603.09382, equation 4)."""
    blocks_in_all = sum(spec.blocks_per_stage)
    indices = itertools.count(1)
    return [
        [spec.stochastic_depth * next(indices) / blocks_in_all for _ in range(count)]
        for count in spec.blocks_per_stage
    ]


def _classify(
    x: Any,
    classes: int,
    activation: str | None,
    fully_convolutional: bool,
    start: Start,
) -> Any:
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer, got {classes!r}.")
    policy = keras.config.dtype_policy()
    is_mixed = policy.compute_dtype != policy.variable_dtype
    classifier = keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=own_initializer(start.classifier, "predictions"),
        bias_initializer=start.classifier_bias(x.shape[channel_axis()]),
        dtype="float32" if is_mixed else None,
        name="predictions",
    )
    if not fully_convolutional:
        pool = layer_of_rank("GlobalAveragePooling", x)
        return classifier(pool(name="avg_pool")(x))
    if channel_axis() == -1:
        return classifier(x)
    # A dense layer judges the last axis.
    axes = range(1, len(x.shape) - 1)
    x = keras.layers.Permute((*(axis + 1 for axis in axes), 1), name="to_last")(x)
    x = classifier(x)
    return keras.layers.Permute((len(axes) + 1, *axes), name="to_first")(x)
