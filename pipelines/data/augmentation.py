"""Training views of an image, by name.

Each function takes `(encoded, preprocessing, seed)`: a scalar string tensor, the
`Preprocessing`, and an int64 tensor `(2,)` which alone decides the view. Each returns
float32 `(size, size, 3)`, RGB in 0..255, not yet normalised.
"""

from collections.abc import Callable

import tensorflow as tf

from pipelines.data.images import decode
from pipelines.data.preprocessing import Preprocessing, prepare, resize_short_side

Augmentation = Callable[[tf.Tensor, Preprocessing, tf.Tensor], tf.Tensor]


def none(
    encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
) -> tf.Tensor:
    """Gives the evaluation view."""
    del seed
    return prepare(encoded, preprocessing)


def pad_crop_flip(
    encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
) -> tf.Tensor:
    """Pads 4 pixels, crops at random and flips half of the time (section 4.2).

    The margin is the mean colour, which normalisation turns into the paper's zeros.
    """
    crop_seed, flip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    mean = tf.constant(preprocessing.mean)
    image = prepare(encoded, preprocessing) - mean
    image = tf.pad(image, [[4, 4], [4, 4], [0, 0]])
    size = preprocessing.size
    image = tf.image.stateless_random_crop(image, [size, size, 3], crop_seed) + mean
    return tf.image.stateless_random_flip_left_right(image, flip_seed)


def scale_jitter_crop_flip(
    encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
) -> tf.Tensor:
    """Scales the shorter side to 256..480 for crops of 224, crops, flips (section 3.4).

    Other sizes keep the paper's proportions.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    size = preprocessing.size
    length = tf.random.stateless_uniform(
        [],
        seeds[0],
        minval=round(size * 256 / 224),
        maxval=round(size * 480 / 224) + 1,
        dtype=tf.int32,
    )
    image = resize_short_side(decode(encoded), length)
    image = tf.image.stateless_random_crop(image, [size, size, 3], seeds[1])
    return tf.image.stateless_random_flip_left_right(image, seeds[2])


def resized_crop_flip(
    encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
) -> tf.Tensor:
    """Crops 8% to 100% of the area at aspect 3:4 to 4:3, scales, flips (1409.4842)."""
    crop_seed, flip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    image = decode(encoded)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=crop_seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    size = preprocessing.size
    image = tf.image.resize(tf.slice(image, begin, extent), [size, size])
    image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    image.set_shape([size, size, 3])
    return image


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": none,
    "pad_crop_flip": pad_crop_flip,
    "scale_jitter_crop_flip": scale_jitter_crop_flip,
    "resized_crop_flip": resized_crop_flip,
}
"""The augmentations by name."""
