"""Augmentation policies: which operations an image gets, and how strong.

They are drawn as in `batches`: indices into `PIXEL_OPERATIONS`, int32 `(batch, count)`,
and the operations' arguments, float32 of the same shape. The operations differ from
image to image, so they run image by image.
"""

from collections.abc import Mapping

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import augmentation as values
from keras_resnet.training.augmentation import (
    IMAGENET_POLICY,
    INCREASING_STRENGTHS,
    STRENGTHS,
    WIDE_STRENGTHS,
    Strength,
)
from pipelines.data.augmentation.pixel_operations import PIXEL_OPERATIONS, Canvas
from pipelines.data.randomness import integers, normal, uniform

_NAMES = list(PIXEL_OPERATIONS)
_ROUNDED = {"nearest": tf.round, "down": tf.floor, "up": tf.math.ceil}


def apply(
    images: tf.Tensor,
    chosen: tuple[tf.Tensor, tf.Tensor],
    preprocessing: Preprocessing,
    blank: tuple[int, int, int] | None = None,
) -> tf.Tensor:
    """Applies to each image what was chosen for it, one after the other.

    Pixels that come from outside have the colour `blank`, or else the mean colour.
    """
    canvas = Canvas(blank or preprocessing.mean_colour, preprocessing.interpolation)
    shape = (preprocessing.size, preprocessing.size, 3)

    def apply_to_one(row: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, indices, arguments = row
        for slot in range(indices.shape[0]):
            image = tf.switch_case(
                indices[slot],
                [
                    lambda name=name, image=image, slot=slot: PIXEL_OPERATIONS[name](
                        image, arguments[slot], canvas
                    )
                    for name in _NAMES
                ],
            )
            image = tf.ensure_shape(image, shape)
        return image

    return tf.map_fn(
        apply_to_one,
        (images, *chosen),
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def apply_on_black(
    images: tf.Tensor, chosen: tuple[tf.Tensor, tf.Tensor], preprocessing: Preprocessing
) -> tf.Tensor:
    """Does the same, leaving pixels that come from outside black."""
    return apply(images, chosen, preprocessing, blank=(0, 0, 0))


def choose_randaugment(
    operation: values.RandAugment, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws operations and signs."""
    draws = uniform(seeds, 2 * operation.layers, stream)
    operations, signs = tf.split(draws, 2, axis=1)
    indices = integers(operations, values.RANDOM_OPERATIONS)
    magnitude = operation.magnitude / values.RANDAUGMENT_MAGNITUDES
    share = tf.fill(tf.shape(signs), magnitude)
    return indices, _arguments(STRENGTHS, indices, share, signs, size)


def choose_timm_randaugment(
    operation: values.TimmRandAugment, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws operations, whether they are applied, magnitudes and signs."""
    draws = uniform(seeds, 3 * operation.layers, stream)
    operations, signs, chances = tf.split(draws, 3, axis=1)
    drawn = tf.constant([_NAMES.index(name) for name in INCREASING_STRENGTHS])
    indices = tf.gather(drawn, integers(operations, len(INCREASING_STRENGTHS)))
    applied = chances < values.TIMM_PROBABILITY
    indices = tf.where(applied, indices, _NAMES.index("identity"))
    noise = operation.deviation * normal(seeds, operation.layers, stream + 1)
    magnitudes = (operation.magnitude + noise) / values.RANDAUGMENT_MAGNITUDES
    share = tf.clip_by_value(magnitudes, 0, 1)
    return indices, _arguments(INCREASING_STRENGTHS, indices, share, signs, size)


def choose_trivialaugment(
    operation: values.TrivialAugment, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws operation, magnitude and sign."""
    operations, magnitudes, signs = tf.split(uniform(seeds, 3, stream), 3, axis=1)
    indices = integers(operations, values.RANDOM_OPERATIONS)
    strongest = values.TRIVIALAUGMENT_MAGNITUDES
    magnitudes = integers(magnitudes, strongest + 1)
    share = tf.cast(magnitudes, tf.float32) / strongest
    return indices, _arguments(WIDE_STRENGTHS, indices, share, signs, size)


def choose_autoaugment(
    operation: values.AutoAugment, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the sub-policy, whether its operations are applied, and signs."""
    row, chances, signs = tf.split(uniform(seeds, 5, stream), [1, 2, 2], axis=1)
    row = integers(row[:, 0], len(IMAGENET_POLICY))
    names, probabilities, magnitudes = zip(
        *(zip(*sub_policy, strict=True) for sub_policy in IMAGENET_POLICY), strict=True
    )
    table = tf.constant([[_NAMES.index(name) for name in pair] for pair in names])
    applied = chances < tf.gather(tf.constant(probabilities), row)
    indices = tf.where(applied, tf.gather(table, row), _NAMES.index("identity"))
    share = tf.gather(tf.constant(magnitudes, tf.float32), row)
    share = share / values.AUTOAUGMENT_MAGNITUDES
    return indices, _arguments(STRENGTHS, indices, share, signs, size)


def choose_color_jitter(
    operation: values.ColorJitter, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws order and factors."""
    order, factors = tf.split(uniform(seeds, 6, stream), 2, axis=1)
    order = tf.argsort(order, axis=1)
    limits = tf.constant(
        [operation.brightness, operation.contrast, operation.saturation]
    )
    indices = [_NAMES.index(name) for name in ("brightness", "contrast", "color")]
    arguments = tf.gather(limits, order) * (2 * factors - 1)
    return tf.gather(tf.constant(indices), order), arguments


def _arguments(
    strengths: Mapping[str, Strength],
    indices: tf.Tensor,
    share: tf.Tensor,
    signs: tf.Tensor,
    size: int,
) -> tf.Tensor:
    """Returns the operations' arguments.

    Args:
        strengths: The table by name.
        indices: int32 `(batch, count)`, into `PIXEL_OPERATIONS`.
        share: float32 likewise: the magnitude between weakest, 0, and strongest, 1.
        signs: float32 likewise, uniform: below a half makes signed ones negative.
        size: Height and width of the images.
    """
    rows = (strengths.get(name, Strength()) for name in _NAMES)
    columns = zip(*rows, strict=True)
    weakest, strongest, is_signed, rounded, is_relative = (
        tf.gather(tf.constant(column), indices) for column in columns
    )
    values = weakest + (strongest - weakest) * share
    values = tf.where(is_relative, values * size, values)
    for name, whole in _ROUNDED.items():
        values = tf.where(rounded == name, whole(values), values)
    return tf.where(is_signed & (signs < 0.5), -values, values)
