"""Views of images that are arrays: the operations' kernels in numpy and Pillow.

A kernel has two parts. The first draws, by the operation's value; the second does what
was drawn, and knows the value no more.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from keras_resnet.training import augmentation as values

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's, RGB in whole levels: what normalisation turns into about zero."""

Box = tuple[float, float, float, float]
Rectangles = tuple[np.ndarray, np.ndarray]
"""Top and left, height and width, both integers `(batch, 2)`."""
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a view has to fill.

    Args:
        size: Height and width in pixels of the view.
        resize: Length in pixels that `center` scales the shorter side to.
        interpolation: `"bilinear"` or `"bicubic"`, both antialiased as in Pillow.

    Example:

    >>> Frame(size=224, resize=256)
    """

    size: int
    resize: int
    interpolation: str = "bilinear"

    @property
    def filter(self) -> PIL.Image.Resampling:
        """Pillow's filter."""
        return PIL.Image.Resampling[self.interpolation.upper()]

    def scaled(self, image: np.ndarray, box: Box) -> np.ndarray:
        """Scales a box of an image to the view.

        Args:
            image: uint8 `(height, width, 3)`.
            box: Left, upper, right and lower edge in pixels of the image.

        Returns:
            uint8 `(size, size, 3)`.
        """
        scaled = PIL.Image.fromarray(image).resize(
            (self.size, self.size), self.filter, box
        )
        return np.asarray(scaled)


def center(images: np.ndarray, draws: None, frame: Frame) -> np.ndarray:
    """Scales and crops with torchvision's sizes."""
    height, width = images.shape[1:3]
    if height == width == frame.size == frame.resize:
        return images
    # The longer side is rounded down.
    sides = [side * frame.resize // min(height, width) for side in (width, height)]
    left, top = (round((side - frame.size) / 2) for side in sides)
    views = np.empty((len(images), frame.size, frame.size, 3), np.uint8)
    for view, image in zip(views, images, strict=True):
        scaled = PIL.Image.fromarray(image).resize(sides, frame.filter)
        view[:] = np.asarray(scaled)[top : top + frame.size, left : left + frame.size]
    return views


def _draw_offsets(
    operation: values.PadCrop, rng: np.random.Generator, shape: Shape, frame: Frame
) -> np.ndarray:
    """Draws top and left of crops, seen from those of the images."""
    drawn = rng.integers(2 * operation.padding + 1, size=(shape[0], 2))
    return drawn - operation.padding


def _shift(images: np.ndarray, offsets: np.ndarray, frame: Frame) -> np.ndarray:
    images = center(images, None, frame)
    size, margin = frame.size, np.abs(offsets).max()
    padded = np.empty((len(images), *2 * [size + 2 * margin], 3), np.uint8)
    padded[:] = MEAN_COLOUR
    padded[:, margin : margin + size, margin : margin + size] = images
    return np.stack(
        [
            image[top : top + size, left : left + size]
            for image, (top, left) in zip(padded, margin + offsets, strict=True)
        ]
    )


def _draw_boxes(
    operation: values.ScaleJitterCrop,
    rng: np.random.Generator,
    shape: Shape,
    frame: Frame,
) -> np.ndarray:
    """Draws left, upper, right and lower edge in pixels of the image as it is."""
    count, height, width = shape[:3]
    low, high = (
        round(frame.size * side / 224) for side in (operation.low, operation.high)
    )
    lengths = rng.integers(low, high + 1, size=(count, 1))
    sides = np.array([width, height]) * lengths // min(height, width)
    begin = rng.integers(sides - frame.size + 1)
    ratios = np.array([width, height]) / sides
    boxes = np.hstack([begin * ratios, (begin + frame.size) * ratios])
    # Rounding must not push a box beyond its image.
    return np.minimum(boxes, [width, height, width, height])


def _scale_boxes(images: np.ndarray, boxes: np.ndarray, frame: Frame) -> np.ndarray:
    return np.stack(
        [
            frame.scaled(image, (left, upper, right, lower))
            for image, (left, upper, right, lower) in zip(images, boxes, strict=True)
        ]
    )


def _draw_windows(
    operation: values.InceptionCrop,
    rng: np.random.Generator,
    shape: Shape,
    frame: Frame,
) -> np.ndarray:
    """Draws windows of images of one size.

    Args:
        operation: The limits of the area.
        rng: Where random numbers come from.
        shape: Of the images, `(batch, height, width, 3)`.
        frame: Plays no part.

    Returns:
        Integers `(batch, 4)`: top, left, height and width.
    """
    count, sides, attempts = shape[0], np.array(shape[1:3]), values.ATTEMPTS
    shares = rng.uniform(operation.low, operation.high, (count, attempts))
    areas = sides.prod() * shares
    low, high = values.CROPPED_ASPECT_RATIOS
    half = rng.uniform(np.log(low) / 2, np.log(high) / 2, (count, attempts))
    # Height and width of each attempt, then what always fits.
    drawn = np.sqrt(areas)[..., None] * np.exp(np.stack([-half, half], axis=-1))
    largest = np.minimum(sides, sides[::-1] * [1 / low, high])
    candidates = np.concatenate(
        [drawn, np.broadcast_to(largest, (count, 1, 2))], axis=1
    )
    candidates = np.maximum(np.round(candidates), 1).astype(int)
    chosen = np.all(candidates <= sides, axis=-1).argmax(axis=1)
    side = candidates[np.arange(count), chosen]
    begin = rng.integers(sides - side + 1)
    begin = np.where((chosen == attempts)[:, None], (sides - side) // 2, begin)
    return np.hstack([begin, side])


def _scale_windows(images: np.ndarray, windows: np.ndarray, frame: Frame) -> np.ndarray:
    return np.stack(
        [
            # Cropped first, so that no pixel around the window plays a part.
            frame.scaled(
                image[top : top + height, left : left + width], (0, 0, width, height)
            )
            for image, (top, left, height, width) in zip(images, windows, strict=True)
        ]
    )


def _draw_coins(
    operation: values.Flip, rng: np.random.Generator, shape: Shape, frame: Frame
) -> np.ndarray:
    return rng.random(shape[0]) < 0.5


def _flip(images: np.ndarray, mirrored: np.ndarray, frame: Frame) -> np.ndarray:
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def _draw_components(
    operation: values.PcaColour, rng: np.random.Generator, shape: Shape, frame: Frame
) -> np.ndarray:
    return operation.deviation * rng.standard_normal((shape[0], 3))


def _recolour(images: np.ndarray, components: np.ndarray, frame: Frame) -> np.ndarray:
    shifts = (components * values.EIGENVALUES) @ np.transpose(values.EIGENVECTORS)
    return _levels(images + shifts.astype(np.float32)[:, None, None])


def _draw_erased(
    operation: values.RandomErasing,
    rng: np.random.Generator,
    shape: Shape,
    frame: Frame,
) -> Rectangles:
    """Draws rectangles, without pixels where nothing is erased."""
    count, attempts = shape[0], (shape[0], values.ATTEMPTS)
    areas = frame.size**2 * rng.uniform(*values.ERASED_AREAS, attempts)
    least, greatest = np.log(values.ERASED_ASPECT_RATIOS)
    ratios = np.exp(rng.uniform(least, greatest, attempts))
    sides = np.sqrt(np.stack([areas * ratios, areas / ratios], axis=-1))
    sides = np.round(sides).astype(int)
    fits = np.all(sides < frame.size, axis=-1)
    side = sides[np.arange(count), fits.argmax(axis=1)]
    begin = rng.integers(np.maximum(frame.size - side + 1, 1))
    erased = (rng.random(count) < operation.probability) & fits.any(axis=1)
    return begin, np.where(erased[:, None], side, 0)


def _cover(images: np.ndarray, rectangles: Rectangles, frame: Frame) -> np.ndarray:
    colour = np.array(MEAN_COLOUR, np.uint8)
    return _paste(images, np.broadcast_to(colour, images.shape), rectangles)


def _draw_shares(
    operation: values.Mixup, rng: np.random.Generator, shape: Shape, frame: Frame
) -> np.ndarray:
    return rng.beta(operation.alpha, operation.alpha, shape[0]).astype(np.float32)


def _average(
    images: np.ndarray, others: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    own = images.astype(np.float32)
    levels = values.mixed(own, others.astype(np.float32), shares[:, None, None, None])
    return _levels(levels), shares


def _draw_pasted(
    operation: values.Cutmix, rng: np.random.Generator, shape: Shape, frame: Frame
) -> Rectangles:
    count, size = shape[:2]
    pasted = 1 - rng.beta(operation.alpha, operation.alpha, (count, 1))
    side = (size * np.sqrt(pasted)).astype(int)
    begin = rng.integers(size, size=(count, 2)) - side // 2
    end = np.minimum(begin + side, size)
    begin = np.maximum(begin, 0)
    return begin, end - begin


def _cut(
    images: np.ndarray, others: np.ndarray, rectangles: Rectangles
) -> tuple[np.ndarray, np.ndarray]:
    share = np.prod(rectangles[1], axis=1) / images.shape[1] ** 2
    return _paste(images, others, rectangles), (1 - share).astype(np.float32)


def _draw_shares_and_pasted(
    operation: values.MixupOrCutmix,
    rng: np.random.Generator,
    shape: Shape,
    frame: Frame,
) -> tuple[np.ndarray, Rectangles]:
    """Draws for both, of which one leaves each image as it is."""
    shares = _draw_shares(values.Mixup(operation.mixup_alpha), rng, shape, frame)
    begin, sides = _draw_pasted(
        values.Cutmix(operation.cutmix_alpha), rng, shape, frame
    )
    averaged = rng.random(shape[0]) < 0.5
    shares = np.where(averaged, shares, np.float32(1))
    return shares, (begin, np.where(averaged[:, None], 0, sides))


def _average_or_cut(
    images: np.ndarray, others: np.ndarray, draws: tuple[np.ndarray, Rectangles]
) -> tuple[np.ndarray, np.ndarray]:
    shares, rectangles = draws
    images, kept = _average(images, others, shares)
    images, uncovered = _cut(images, others, rectangles)
    return images, kept * uncovered


def _paste(
    images: np.ndarray, source: np.ndarray, rectangles: Rectangles
) -> np.ndarray:
    """Copies a rectangle of each source to the same place of its image."""
    images = images.copy()
    begin, sides = rectangles
    for image in np.flatnonzero(sides.all(axis=1)):
        (top, left), (height, width) = begin[image], sides[image]
        place = image, slice(top, top + height), slice(left, left + width)
        images[place] = source[place]
    return images


def _levels(images: np.ndarray) -> np.ndarray:
    return np.clip(images + 0.5, 0, 255).astype(np.uint8)


class Kernel(NamedTuple):
    """How an operation is done.

    Args:
        apply: Of images, draws and frame makes images. Of a mixing operation, makes
            images, and the share that each label keeps, float32 `(batch,)`, of images,
            their partners and draws.
        draw: Of operation, generator, the images' shape and frame makes draws.
    """

    apply: Callable[..., Any]
    draw: Callable[..., Any] = lambda *_: None


KERNELS: dict[type[values.Operation], Kernel] = {
    values.Center: Kernel(center),
    values.PadCrop: Kernel(_shift, _draw_offsets),
    values.ScaleJitterCrop: Kernel(_scale_boxes, _draw_boxes),
    values.InceptionCrop: Kernel(_scale_windows, _draw_windows),
    values.Flip: Kernel(_flip, _draw_coins),
    values.PcaColour: Kernel(_recolour, _draw_components),
    values.RandomErasing: Kernel(_cover, _draw_erased),
    values.Mixup: Kernel(_average, _draw_shares),
    values.Cutmix: Kernel(_cut, _draw_pasted),
    values.MixupOrCutmix: Kernel(_average_or_cut, _draw_shares_and_pasted),
}
"""The operations that images in arrays can get; whoever draws the order repeats."""


@dataclasses.dataclass(frozen=True)
class Augmentation(values.Augmentation):
    """Augments batches of images that are arrays.

    Raises:
        ValueError: If an operation has no kernel here.

    Example:

    >>> augment = Augmentation.parse("pad_crop(4)|flip|mixup(0.2)")
    >>> images, labels = augment(images, labels, 10, rng, Frame(32, 32))
    """

    def __post_init__(self) -> None:
        known = (*KERNELS, values.Repeat)
        for name, kind in values.OPERATIONS.items():
            if kind not in known and kind in map(type, self.operations):
                raise ValueError(
                    f"images in arrays cannot get the augmentation {name!r}; leave it "
                    "out, or train with `python -m pipelines.train_imagenet`"
                )

    def __call__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: int,
        rng: np.random.Generator,
        frame: Frame,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments a batch.

        Args:
            images: uint8 `(batch, height, width, 3)`, RGB; left as they are.
            labels: Integers `(batch,)`.
            classes: Number of classes.
            rng: Where random numbers come from.
            frame: What the view has to fill.

        Returns:
            The views, uint8 `(batch, size, size, 3)`, and the labels: as they came, or
            float32 `(batch, classes)` with rows that sum to one where they are mixed.
        """
        for operation in self.operations:
            if isinstance(operation, values.Repeat):
                continue
            kernel = KERNELS[type(operation)]
            draws = kernel.draw(operation, rng, images.shape, frame)
            if isinstance(operation, values.Mixing):
                own = np.eye(classes, dtype=np.float32)[labels]
                others, partners = (
                    np.roll(rows, self.repeats, axis=0) for rows in (own, images)
                )
                images, kept = kernel.apply(images, partners, draws)
                labels = values.mixed(own, others, kept[:, None])
            else:
                images = kernel.apply(images, draws, frame)
        return images, labels
