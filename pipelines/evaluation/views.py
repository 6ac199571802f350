"""Several views of an image, whose predictions an evaluation averages."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from pipelines.data.preprocessing import (
    centred,
    prepare,
    resize_short_side,
    upright,
)

PAPER_SHORT_SIDES = (224, 256, 384, 480, 640)
"""The scales of the paper's best results (1512.03385, section 3.4)."""


def ten_crop(images: tf.Tensor, size: int) -> tf.Tensor:
    """Crops the four corners and the centre, and mirrors them.

    The paper's "standard 10-crop testing" (section 3.4), of Krizhevsky et al. (NIPS
    2012); the order is that of torchvision's TenCrop.

    Args:
        images: `(batch, height, width, 3)`, both sides at least `size`.
        size: Height and width of the crops.

    Returns:
        `(batch, 10, size, size, 3)` of the same type: upper left, upper right, lower
        left, lower right, centre, and the five mirrored left to right.

    Example:

    >>> ten_crop(tf.zeros([1, 256, 341, 3], tf.uint8), 224).shape
    TensorShape([1, 10, 224, 224, 3])
    """
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    bottom, right = height - size, width - size
    middle = (centred(height, size), centred(width, size))
    starts = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
    crops = tf.stack([images[:, y : y + size, x : x + size] for y, x in starts], axis=1)
    crops = tf.ensure_shape(crops, [images.shape[0], 5, size, size, 3])
    return tf.concat([crops, tf.reverse(crops, [3])], axis=1)


def multi_scale(
    image: tf.Tensor,
    short_sides: Sequence[int] = PAPER_SHORT_SIDES,
    interpolation: str = "bilinear",
) -> list[tf.Tensor]:
    """Scales a whole image several times, for a fully-convolutional evaluation.

    Args:
        image: `(..., height, width, 3)`, in 0..255.
        short_sides: Lengths in pixels to which the shorter side is scaled.
        interpolation: As in `keras_resnet.preprocessing.Preprocessing`.

    Returns:
        For each length, uint8 `(..., height, width, 3)`.

    Example:

    >>> [one.shape[0] for one in multi_scale(decode(tf.io.read_file("wide.jpg")))]
    [224, 256, 384, 480, 640]
    """
    return [resize_short_side(image, side, interpolation) for side in short_sides]


@dataclasses.dataclass(frozen=True)
class Views:
    """How an image is looked at; the probabilities of all views are averaged.

    Args:
        name: What `--views` calls it.
        source: Where it is from.
        crops: 1, the centre, or 10, see `ten_crop`.
        short_sides: If any, the whole image is looked at in these scales instead, given
            for a network whose crop is 224 pixels; another's are in proportion.
        mirror: Whether mirror images are looked at too; `crops=10` has them.

    Example:

    >>> VIEWS["10-crop"].crops
    10
    """

    name: str
    source: str
    crops: int = 1
    short_sides: tuple[int, ...] = ()
    mirror: bool = False

    def prepare(self, encoded: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
        """Decodes an image, as far as that is done image by image.

        Args:
            encoded: Scalar string, an image that `images.decode` takes.
            preprocessing: The sizes, interpolation and orientation.

        Returns:
            uint8 RGB: `(crop, crop, 3)`, `(10, crop, crop, 3)`, or the whole image.

        Raises:
            tf.errors.InvalidArgumentError: If the bytes are not an image.
        """
        if self.short_sides:
            return upright(encoded, preprocessing)
        if self.crops == 1:
            return prepare(encoded, preprocessing)
        scaled = resize_short_side(
            upright(encoded, preprocessing),
            preprocessing.resize,
            preprocessing.interpolation,
        )
        return ten_crop(scaled[None], preprocessing.size)[0]

    def looks(
        self, images: tf.Tensor, preprocessing: Preprocessing
    ) -> Iterator[tf.Tensor]:
        """Yields what a network looks at, uint8 `(batch, height, width, 3)` each.

        Args:
            images: A batch of what `prepare` returned.
            preprocessing: As there.
        """
        if self.short_sides:
            sides = [
                round(side * preprocessing.size / PAPER_CROP)
                for side in self.short_sides
            ]
            looks = multi_scale(images, sides, preprocessing.interpolation)
        else:
            looks = [images] if self.crops == 1 else tf.unstack(images, axis=1)
        for look in looks:
            yield look
            if self.mirror:
                yield tf.reverse(look, [2])

    def logarithms(
        self,
        logits: Callable[[tf.Tensor], tf.Tensor],
        images: tf.Tensor,
        preprocessing: Preprocessing,
    ) -> tf.Tensor:
        """Returns the logarithms of the mean probabilities of the views.

        A residual network judges the mean over all places of a whole image: its
        classifier is linear, so the mean of its scores at every place, as 1312.6229 and
        the paper's section 3.4 have it, is its score of the mean.

        Args:
            logits: Gives float `(batch, classes)` for uint8 images of any size.
            images: A batch of what `prepare` returned.
            preprocessing: As there.

        Returns:
            float64 `(batch, classes)`.
        """
        looked = [
            tf.nn.log_softmax(tf.cast(logits(look), tf.float64))
            for look in self.looks(images, preprocessing)
        ]
        return tf.reduce_logsumexp(looked, axis=0) - math.log(len(looked))


PAPER_CROP = 224

VIEWS = {
    views.name: views
    for views in (
        Views("1-crop", "the centre, as training validates"),
        Views("1-crop-mirrored", "the centre and its mirror image", mirror=True),
        Views("10-crop", "1512.03385, Tables 2 and 3", crops=10),
        Views(
            "multi-scale",
            "1512.03385, Tables 4 and 5 (section 3.4)",
            short_sides=PAPER_SHORT_SIDES,
        ),
        Views(
            "multi-scale-mirrored",
            "the same with mirror images, as 1409.1556, section 3.2",
            short_sides=PAPER_SHORT_SIDES,
            mirror=True,
        ),
    )
}
"""The ways of looking at images."""
