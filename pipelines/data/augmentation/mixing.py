"""Mixing of images with others of their batch.

Every image draws its own share, of its own seed, as in `batches`. What applies it takes
the images, their partners and what was drawn, and returns the mixed images and the
share of its own that each label keeps, float32 `(batch,)`.
"""

import tensorflow as tf

from keras_resnet.training import augmentation as values
from pipelines.data.augmentation.batches import Rectangles, paste
from pipelines.data.randomness import beta, integers, uniform

_BETA_STREAMS = 6


def draw_shares(
    operation: values.Mixup, seeds: tf.Tensor, stream: int, size: int
) -> tf.Tensor:
    """Draws what each image keeps of its own."""
    return beta(seeds, operation.alpha, stream)


def average(
    images: tf.Tensor, others: tf.Tensor, shares: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Averages images, by their shares."""
    own, others = (
        tf.cast(tf.reshape(levels, [tf.shape(images)[0], -1]), tf.float32)
        for levels in (images, others)
    )
    mixed = tf.cast(values.mixed(own, others, shares[:, None]) + 0.5, tf.uint8)
    return tf.reshape(mixed, tf.shape(images)), shares


def draw_pasted(
    operation: values.Cutmix, seeds: tf.Tensor, stream: int, size: int
) -> Rectangles:
    """Draws what is pasted, cut off at the image's edges."""
    kept = beta(seeds, operation.alpha, stream)
    side = tf.cast(size * tf.sqrt(1 - kept), tf.int32)[:, None]
    begin = integers(uniform(seeds, 2, stream + _BETA_STREAMS), size) - side // 2
    end = tf.minimum(begin + side, size)
    begin = tf.maximum(begin, 0)
    return begin, end - begin


def cut(
    images: tf.Tensor, others: tf.Tensor, rectangles: Rectangles
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes rectangles, and counts their pixels."""
    pasted = tf.cast(tf.reduce_prod(rectangles[1], axis=1), tf.float32)
    return paste(images, others, rectangles), 1 - pasted / images.shape[1] ** 2


def draw_shares_and_pasted(
    operation: values.MixupOrCutmix, seeds: tf.Tensor, stream: int, size: int
) -> tuple[tf.Tensor, Rectangles]:
    """Draws for both, of which one leaves each image as it is."""
    averaged = uniform(seeds, 1, stream)[:, 0] < 0.5
    shares = draw_shares(values.Mixup(operation.mixup_alpha), seeds, stream + 1, size)
    begin, sides = draw_pasted(
        values.Cutmix(operation.cutmix_alpha), seeds, stream + 1 + _BETA_STREAMS, size
    )
    shares = tf.where(averaged, shares, 1.0)
    return shares, (begin, tf.where(averaged[:, None], 0, sides))


def average_or_cut(
    images: tf.Tensor, others: tf.Tensor, draws: tuple[tf.Tensor, Rectangles]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does both, one after the other."""
    shares, rectangles = draws
    images, kept = average(images, others, shares)
    images, uncovered = cut(images, others, rectangles)
    return images, kept * uncovered
