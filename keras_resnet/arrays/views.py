"""Views of images that are arrays: `"pad_crop(4)|flip|mixup(0.2)"` in numpy.

The names and meanings are those of docs/augmentation.md. Operations that only the
pipelines have are in `ELSEWHERE`.
"""

import abc
import dataclasses
import math
import re
from typing import Any

import numpy as np
import PIL.Image

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's, RGB in whole levels: what normalisation turns into about zero."""

ELSEWHERE = ("color_jitter", "randaugment", "trivialaugment", "autoaugment")
"""The operations that need `python -m pipelines.train_imagenet`."""

Box = tuple[float, float, float, float]

_ATTEMPTS = 10
_ASPECT_RATIOS = (3 / 4, 4 / 3)
_ERASED_AREAS = (0.02, 0.33)
_ERASED_ASPECT_RATIOS = (0.3, 1 / 0.3)
_EIGENVALUES = np.array([55.4625, 4.7940, 1.1475])
_EIGENVECTORS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


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


def _number(low: float, high: float, **default: Any) -> Any:
    return dataclasses.field(metadata={"low": low, "high": high}, **default)


@dataclasses.dataclass(frozen=True)
class Operation(abc.ABC):
    """One step of an augmentation; its fields are its parameters."""

    @abc.abstractmethod
    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Changes a batch.

        Args:
            images: uint8 `(batch, height, width, 3)`, RGB; of the frame's size in all
                operations but views. May be changed in place but by views.
            rng: Where random numbers come from.
            frame: What views have to fill.

        Returns:
            uint8 `(batch, size, size, 3)`.
        """


class View(Operation):
    """The first step, which gives images the network's size."""


class Mixing(Operation):
    """A step that also mixes labels: each image with the one before it."""

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Changes a batch as `mix` does."""
        return self.mix(images, rng)[0]

    @abc.abstractmethod
    def mix(
        self, images: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixes each image with the one before it.

        Args:
            images: uint8 `(batch, size, size, 3)`.
            rng: Where random numbers come from.

        Returns:
            The images, and float32 `(batch,)`: the share that each label keeps.
        """


@dataclasses.dataclass(frozen=True)
class Center(View):
    """The evaluation view: the shorter side scaled to `resize`, the centre cropped."""

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
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
            view[:] = np.asarray(scaled)[
                top : top + frame.size, left : left + frame.size
            ]
        return views


@dataclasses.dataclass(frozen=True)
class PadCrop(Center):
    """Pads the evaluation view, then crops at random (1512.03385, section 4.2).

    The margin is the mean colour, which normalisation turns into the paper's zeros.

    Args:
        padding: Pixels on each side.
    """

    padding: int = _number(1, 4096, default=4)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Crops the padded images."""
        images = super().__call__(images, rng, frame)
        size, padding = frame.size, self.padding
        padded = np.empty((len(images), *2 * [size + 2 * padding], 3), np.uint8)
        padded[:] = MEAN_COLOUR
        padded[:, padding:-padding, padding:-padding] = images
        corners = rng.integers(2 * padding + 1, size=(len(images), 2))
        return np.stack(
            [
                image[top : top + size, left : left + size]
                for image, (top, left) in zip(padded, corners, strict=True)
            ]
        )


@dataclasses.dataclass(frozen=True)
class ScaleJitterCrop(View):
    """Scales the shorter side at random, then crops (1512.03385, section 3.4).

    Args:
        low: The shortest shorter side in pixels, for crops of 224; other sizes keep
            the proportion.
        high: The longest; every length between is equally likely.
    """

    low: int = _number(224, 10_000, default=256)
    high: int = _number(224, 10_000, default=480)

    def __post_init__(self) -> None:
        _check_order(self)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Scales and crops each image."""
        low, high = (round(frame.size * side / 224) for side in (self.low, self.high))
        lengths = rng.integers(low, high + 1, size=(len(images), 1))
        height, width = images.shape[1:3]
        sides = np.array([width, height]) * lengths // min(height, width)
        begin = rng.integers(sides - frame.size + 1)
        # The crop of the scaled image, as a box of the image as it is.
        ratios = np.array([width, height]) / sides
        boxes = np.hstack([begin * ratios, (begin + frame.size) * ratios])
        # Rounding must not push a box beyond its image.
        boxes = np.minimum(boxes, [width, height, width, height])
        return np.stack(
            [
                frame.scaled(image, (left, upper, right, lower))
                for image, (left, upper, right, lower) in zip(
                    images, boxes, strict=True
                )
            ]
        )


@dataclasses.dataclass(frozen=True)
class InceptionCrop(View):
    """Crops at random area and aspect ratio 3:4 to 4:3, then scales (1409.4842).

    Drawn as torchvision's RandomResizedCrop does: ten attempts to fit the image, then
    the largest centred crop within the aspect ratios.

    Args:
        low: Smallest share of the image's area.
        high: Largest share.
    """

    low: float = _number(0.0001, 1, default=0.08)
    high: float = _number(0.0001, 1, default=1.0)

    def __post_init__(self) -> None:
        _check_order(self)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Crops and scales each image."""
        windows = self.windows(len(images), images.shape[1:3], rng)
        return np.stack(
            [
                # Cropped first, so that no pixel around the window plays a part.
                frame.scaled(
                    image[top : top + height, left : left + width],
                    (0, 0, width, height),
                )
                for image, (top, left, height, width) in zip(
                    images, windows, strict=True
                )
            ]
        )

    def windows(
        self, count: int, image: tuple[int, ...], rng: np.random.Generator
    ) -> np.ndarray:
        """Draws windows of images of one size.

        Args:
            count: How many.
            image: Height and width in pixels of the images.
            rng: Where random numbers come from.

        Returns:
            Integers `(count, 4)`: top, left, height and width.
        """
        sides = np.array(image)
        areas = sides.prod() * rng.uniform(self.low, self.high, (count, _ATTEMPTS))
        least, greatest = np.log(_ASPECT_RATIOS) / 2
        half = rng.uniform(least, greatest, (count, _ATTEMPTS))
        # Height and width of each attempt, then what always fits.
        drawn = np.sqrt(areas)[..., None] * np.exp(np.stack([-half, half], axis=-1))
        low, high = _ASPECT_RATIOS
        largest = np.minimum(sides, sides[::-1] * [1 / low, high])
        candidates = np.concatenate(
            [drawn, np.broadcast_to(largest, (count, 1, 2))], axis=1
        )
        candidates = np.maximum(np.round(candidates), 1).astype(int)
        chosen = np.all(candidates <= sides, axis=-1).argmax(axis=1)
        side = candidates[np.arange(count), chosen]
        begin = rng.integers(sides - side + 1)
        begin = np.where((chosen == _ATTEMPTS)[:, None], (sides - side) // 2, begin)
        return np.hstack([begin, side])


@dataclasses.dataclass(frozen=True)
class Flip(Operation):
    """Mirrors half of the images, left to right."""

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Mirrors those whose number is below a half."""
        mirrored = rng.random(len(images)) < 0.5
        return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


@dataclasses.dataclass(frozen=True)
class PcaColour(Operation):
    """Shifts the colours along ImageNet's principal components (section 3.4).

    Each component is added times its eigenvalue and a normal number, one for the whole
    image (Krizhevsky et al., NIPS 2012, section 4.1, which the paper follows).

    Args:
        deviation: Standard deviation of the normal numbers.
    """

    deviation: float = _number(0, 10, default=0.1)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Shifts every pixel of an image alike."""
        weights = self.deviation * rng.standard_normal((len(images), 3)) * _EIGENVALUES
        shifts = (weights @ _EIGENVECTORS.T).astype(np.float32)
        return _levels(images + shifts[:, None, None])


@dataclasses.dataclass(frozen=True)
class RandomErasing(Operation):
    """Covers a rectangle with the mean colour (1708.04896).

    It has 2% to 33% of the image's area and an aspect ratio of 0.3 to 1/0.3; the first
    of ten attempts that fits is taken, and if none does, the image is left as it is.

    Args:
        probability: Share of the images that are changed.
    """

    probability: float = _number(0, 1, default=0.5)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Covers a rectangle of those that are chosen."""
        count = len(images)
        shape = (count, _ATTEMPTS)
        areas = frame.size**2 * rng.uniform(*_ERASED_AREAS, shape)
        least, greatest = np.log(_ERASED_ASPECT_RATIOS)
        ratios = np.exp(rng.uniform(least, greatest, shape))
        sides = np.sqrt(np.stack([areas * ratios, areas / ratios], axis=-1))
        sides = np.round(sides).astype(int)
        fits = np.all(sides < frame.size, axis=-1)
        side = sides[np.arange(count), fits.argmax(axis=1)]
        begin = rng.integers(np.maximum(frame.size - side + 1, 1))
        erased = (rng.random(count) < self.probability) & fits.any(axis=1)
        images = images.copy()
        for image in np.flatnonzero(erased):
            (top, left), (height, width) = begin[image], side[image]
            images[image, top : top + height, left : left + width] = MEAN_COLOUR
        return images


@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
    """Averages two images, with a share of Beta(alpha, alpha) (1710.09412).

    Args:
        alpha: 1 makes every share equally likely, a smaller one favours 0 and 1.
    """

    alpha: float = _number(0.001, 100, default=0.2)

    def mix(
        self, images: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Averages each image with the one before it."""
        kept = rng.beta(self.alpha, self.alpha, len(images)).astype(np.float32)
        own = images.astype(np.float32)
        others = np.roll(own, 1, axis=0)
        return _levels(others + kept[:, None, None, None] * (own - others)), kept


@dataclasses.dataclass(frozen=True)
class Cutmix(Mixing):
    """Pastes a rectangle of another image (1905.04899).

    Its sides are those of the image times the root of a share of Beta(alpha, alpha),
    its centre is anywhere; what lies outside of the image is cut off. Labels are mixed
    by the number of pixels that were pasted.

    Args:
        alpha: As for `Mixup`.
    """

    alpha: float = _number(0.001, 100, default=1.0)

    def mix(
        self, images: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pastes a rectangle of the image before."""
        count, size = images.shape[:2]
        pasted = 1 - rng.beta(self.alpha, self.alpha, (count, 1))
        side = (size * np.sqrt(pasted)).astype(int)
        begin = rng.integers(size, size=(count, 2)) - side // 2
        end = np.minimum(begin + side, size)
        begin = np.maximum(begin, 0)
        mixed = images.copy()
        for image, ((top, left), (bottom, right)) in enumerate(
            zip(begin, end, strict=True)
        ):
            mixed[image, top:bottom, left:right] = images[
                image - 1, top:bottom, left:right
            ]
        share = np.prod(end - begin, axis=1) / size**2
        return mixed, (1 - share).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MixupOrCutmix(Mixing):
    """Gives half of the images `Mixup` and the others `Cutmix`, as timm can.

    Args:
        mixup_alpha: Of `Mixup`.
        cutmix_alpha: Of `Cutmix`.
    """

    mixup_alpha: float = _number(0.001, 100, default=0.2)
    cutmix_alpha: float = _number(0.001, 100, default=1.0)

    def mix(
        self, images: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixes each image in one of the two ways."""
        averaged, averaged_share = Mixup(self.mixup_alpha).mix(images, rng)
        pasted, pasted_share = Cutmix(self.cutmix_alpha).mix(images, rng)
        chosen = rng.random(len(images)) < 0.5
        return (
            np.where(chosen[:, None, None, None], averaged, pasted),
            np.where(chosen, averaged_share, pasted_share),
        )


@dataclasses.dataclass(frozen=True)
class Repeat(Operation):
    """Shows each image several times in a row, differently (1902.05509).

    Args:
        times: How often.
    """

    times: int = _number(1, 64)

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, frame: Frame
    ) -> np.ndarray:
        """Returns the images: whoever draws the order repeats them."""
        return images


OPERATIONS: dict[str, type[Operation]] = {
    "center": Center,
    "pad_crop": PadCrop,
    "scale_jitter_crop": ScaleJitterCrop,
    "inception_crop": InceptionCrop,
    "flip": Flip,
    "pca_colour": PcaColour,
    "random_erasing": RandomErasing,
    "mixup": Mixup,
    "cutmix": Cutmix,
    "mixup_or_cutmix": MixupOrCutmix,
    "repeat": Repeat,
}
"""The operations by name."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A view of images, and what happens to a batch of views.

    Args:
        operations: The view first.

    Example:

    >>> augment = compose("pad_crop(4)|flip|mixup(0.2)")
    >>> images, labels = augment(images, labels, 10, rng, Frame(32, 32))
    """

    operations: tuple[Operation, ...]

    @property
    def repeats(self) -> int:
        """How many views of each image follow one another."""
        return next((op.times for op in self.operations if isinstance(op, Repeat)), 1)

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
            if isinstance(operation, Mixing):
                images, kept = operation.mix(images, rng)
                own = np.eye(classes, dtype=np.float32)[labels]
                others = np.roll(own, 1, axis=0)
                labels = others + kept[:, None] * (own - others)
            else:
                images = operation(images, rng, frame)
        return images, labels


def compose(text: str) -> Augmentation:
    """Makes an augmentation of its name.

    Args:
        text: Operations joined by `|`, each a key of `OPERATIONS` with its parameters
            in parentheses; a parameter left out takes its default. The first is the
            view, at most one mixes labels.

    Returns:
        The augmentation.

    Raises:
        ValueError: If an operation is unknown, is one of `ELSEWHERE`, stands in the
            wrong place or has a parameter out of its range.

    Example:

    >>> compose("pad_crop(4)|flip").operations
    (PadCrop(padding=4), Flip())
    """
    operations = tuple(_operation(part.strip(), text) for part in text.split("|"))
    counts = [
        sum(isinstance(op, kind) for op in operations)
        for kind in (View, Mixing, Repeat)
    ]
    if counts[0] != 1 or not isinstance(operations[0], View):
        views = [name for name, kind in OPERATIONS.items() if issubclass(kind, View)]
        raise ValueError(
            f"The augmentation {text!r} must have one view, and have it first: begin "
            f"with one of {', '.join(views)}."
        )
    if max(counts) > 1:
        raise ValueError(
            f"The augmentation {text!r} mixes labels or repeats images twice: leave "
            "one of these out."
        )
    return Augmentation(operations)


def _operation(part: str, text: str) -> Operation:
    match = re.fullmatch(r"(\w+)\s*(?:\(([^()]*)\))?", part)
    name = match[1] if match else part
    if name in ELSEWHERE:
        raise ValueError(
            f"The augmentation {text!r} has {name!r}, which images in arrays cannot "
            "get: leave it out, or train with `python -m pipelines.train_imagenet`."
        )
    if match is None or name not in OPERATIONS:
        raise ValueError(
            f"{part!r} in the augmentation {text!r} is not one of "
            f"{', '.join(OPERATIONS)} with its parameters, such as 'pad_crop(4)'."
        )
    kind = OPERATIONS[name]
    fields = dataclasses.fields(kind)
    given = [value.strip() for value in (match[2] or "").split(",") if value.strip()]
    required = sum(field.default is dataclasses.MISSING for field in fields)
    if not required <= len(given) <= len(fields):
        names = ", ".join(field.name for field in fields)
        raise ValueError(
            f"{part!r} in the augmentation {text!r} has the wrong number of "
            f"parameters: it takes {f'({names})' if names else 'none'}."
        )
    return kind(
        *(
            _parameter(field, value, part)
            for field, value in zip(fields, given, strict=False)
        )
    )


def _parameter(field: dataclasses.Field, value: str, part: str) -> int | float:
    number: type = field.type  # type: ignore[assignment]
    low, high = field.metadata["low"], field.metadata["high"]
    try:
        parsed = number(value)
    except ValueError:
        parsed = math.nan
    if not low <= parsed <= high:
        kind = "a whole number" if number is int else "a number"
        raise ValueError(
            f"{field.name!r} of {part!r} is {value!r}: give {kind} from {low} to "
            f"{high}."
        )
    return parsed


def _check_order(limits: ScaleJitterCrop | InceptionCrop) -> None:
    if limits.low > limits.high:
        raise ValueError(
            f"{limits} has its limits in the wrong order: give the smaller one first."
        )


def _levels(images: np.ndarray) -> np.ndarray:
    return np.clip(images + 0.5, 0, 255).astype(np.uint8)
