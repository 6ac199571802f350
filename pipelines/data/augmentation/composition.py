"""Augmentations of training images, done in TensorFlow."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_resnet.preprocessing import Preprocessing
from keras_resnet.training import augmentation as values
from pipelines.data.augmentation import batches, mixing, policies, views
from pipelines.data.images import decode_jpeg
from pipelines.data.preprocessing import prepare, resize_and_crop


class Kernel(NamedTuple):
    """How an operation is done.

    Args:
        draw: Draws for a batch, as `batches` says.
        apply: Does to a batch what was drawn, as `batches` says, or `mixing`.
        draw_window: What a view shows, as `views` says; None for the evaluation view.
        streams: How many streams of each image's seed it draws from.
    """

    draw: Callable[..., Any] = lambda *_: None
    apply: Callable[..., Any] = lambda images, *_: images
    draw_window: Callable[..., tf.Tensor] | None = None
    streams: int = 8


KERNELS: dict[type[values.Operation], Kernel] = {
    values.Center: Kernel(),
    values.PadCrop: Kernel(batches.draw_offsets, batches.shift),
    values.ScaleJitterCrop: Kernel(draw_window=views.draw_jittered),
    values.InceptionCrop: Kernel(draw_window=views.draw_inception),
    values.Flip: Kernel(batches.draw_coins, batches.flip),
    values.PcaColour: Kernel(batches.draw_components, batches.recolour),
    values.ColorJitter: Kernel(policies.choose_color_jitter, policies.apply),
    values.RandAugment: Kernel(policies.choose_randaugment, policies.apply),
    values.TimmRandAugment: Kernel(policies.choose_timm_randaugment, policies.apply),
    values.TrivialAugment: Kernel(
        policies.choose_trivialaugment, policies.apply_on_black
    ),
    values.AutoAugment: Kernel(policies.choose_autoaugment, policies.apply),
    values.RandomErasing: Kernel(batches.draw_erased, batches.cover),
    values.Mixup: Kernel(mixing.draw_shares, mixing.average),
    values.Cutmix: Kernel(mixing.draw_pasted, mixing.cut),
    values.MixupOrCutmix: Kernel(
        mixing.draw_shares_and_pasted, mixing.average_or_cut, streams=16
    ),
    values.Repeat: Kernel(),  # The input pipeline repeats the records.
}
"""Of every operation."""


@dataclasses.dataclass(frozen=True)
class Augmentation(values.Augmentation):
    """Augments images on their way from records to batches.

    Whatever is random is a function of each image's seed; only mixing depends on the
    other images of the batch too.

    Example:

    >>> augmentation = Augmentation.parse("pad_crop(4)|flip")
    >>> augmentation.view(encoded, preprocessing, seed).dtype
    tf.uint8
    """

    def view(
        self, encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
    ) -> tf.Tensor:
        """Decodes one image's view.

        Args:
            encoded: Scalar string tensor, an image that `images.decode` takes.
            preprocessing: The size, the interpolation and the mean colour.
            seed: int64 `(2,)`, the image's own.

        Returns:
            uint8 `(size, size, 3)`, RGB.

        Raises:
            tf.errors.InvalidArgumentError: If the bytes are not an image.
        """
        draw = self._window(preprocessing, seed)
        if draw is None:
            image = prepare(encoded, preprocessing)
        else:
            image = views.decode_window(encoded, draw, preprocessing)
        return tf.ensure_shape(image, [preprocessing.size, preprocessing.size, 3])

    def jpeg_view(
        self, encoded: tf.Tensor, preprocessing: Preprocessing, seed: tf.Tensor
    ) -> tf.Tensor:
        """Does the same for a JPEG, faster, and may fail for anything else."""
        draw = self._window(preprocessing, seed)
        if draw is None:
            image = resize_and_crop(decode_jpeg(encoded), preprocessing)
        else:
            image = views.decode_jpeg_window(encoded, draw, preprocessing)
        return tf.ensure_shape(image, [preprocessing.size, preprocessing.size, 3])

    def on_chunk(
        self, images: tf.Tensor, seeds: tf.Tensor, preprocessing: Preprocessing
    ) -> tf.Tensor:
        """Augments views by the operations that come before mixing.

        Args:
            images: uint8 `(images, size, size, 3)`, from `view`: any of a batch.
            seeds: int64 `(images, 2)`, the seeds that `view` had.
            preprocessing: As for `view`.

        Returns:
            Images of the same shape and type.
        """
        for step, stream in self._before_mixing():
            kernel = KERNELS[type(step)]
            draws = kernel.draw(step, seeds, stream, preprocessing.size)
            images = kernel.apply(images, draws, preprocessing)
        return images

    def on_batch(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        preprocessing: Preprocessing,
        classes: int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixes a batch, and augments it by the operations that come after.

        Args:
            images: uint8 `(batch, size, size, 3)`, from `on_chunk`.
            labels: int64 `(batch,)`.
            seeds: int64 `(batch, 2)`, the seeds that `view` had.
            preprocessing: As for `view`.
            classes: Number of classes.

        Returns:
            The images, of the same shape and type, and the labels: as they came, or if
            `mixes_labels`, float32 `(batch, classes)` with rows that sum to one.
        """
        for step, stream in self._streams()[len(self._before_mixing()) :]:
            kernel = KERNELS[type(step)]
            draws = kernel.draw(step, seeds, stream, preprocessing.size)
            if isinstance(step, values.Mixing):
                own = tf.one_hot(labels, classes)
                others, partners = (
                    tf.roll(rows, self.repeats, axis=0) for rows in (own, images)
                )
                images, kept = kernel.apply(images, partners, draws)
                labels = values.mixed(own, others, kept[:, None])
            else:
                images = kernel.apply(images, draws, preprocessing)
        return images, labels

    def _window(
        self, preprocessing: Preprocessing, seed: tf.Tensor
    ) -> views.DrawWindow | None:
        view = self.operations[0]
        draw = KERNELS[type(view)].draw_window
        if draw is None:
            return None
        return lambda image: draw(view, image, seed, preprocessing.size)

    def _streams(self) -> list[tuple[values.Operation, int]]:
        """The operations, each with the first of its own streams of numbers."""
        ends = itertools.accumulate(
            KERNELS[type(step)].streams for step in self.operations
        )
        return list(zip(self.operations, (0, *ends), strict=False))

    def _before_mixing(self) -> list[tuple[values.Operation, int]]:
        return list(
            itertools.takewhile(
                lambda pair: not isinstance(pair[0], values.Mixing), self._streams()
            )
        )
